package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
)

// exchange is one request of a dialect and what is to be answered.
type exchange struct {
	name   string
	method string // POST where empty
	path   string
	header map[string]string // beside Content-Type: application/json, which an empty one takes away
	body   string
	status int
	want   string // in the answer, of which requestIds are cut out
}

var requestIDs = regexp.MustCompile(`req_[0-9a-f]{32}`)

func (w *world) do(t *testing.T, e exchange) (status int, header http.Header, body string) {
	t.Helper()
	method := e.method
	if method == "" {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+w.addr+e.path, strings.NewReader(e.body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for name, value := range e.header {
		r.Header.Del(name)
		if value != "" {
			r.Header.Set(name, w.keys.Replace(value))
		}
	}
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %v", e.name, err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(content)
}

func (w *world) exchange(t *testing.T, e exchange) {
	t.Helper()
	status, _, body := w.do(t, e)
	if status != e.status || !strings.Contains(requestIDs.ReplaceAllString(body, "ID"), e.want) {
		t.Errorf("%s: %d %s, want %d %s", e.name, status, body, e.status, e.want)
	}
}

// shown is a conversation as people look at it.
func (w *world) shown(t *testing.T, conversation string) (lines []string) {
	t.Helper()
	messages, _, err := w.store.Messages(t.Context(), project, conversation, collector.Page{Size: 1000})
	if err != nil {
		return []string{err.Error()}
	}
	for _, m := range messages {
		line := fmt.Sprintf("%d %s: %s", m.Index, m.Role, m.Content)
		switch m.Vote {
		case collector.VoteUp:
			line += " +" + m.Comment
		case collector.VoteDown:
			line += " -" + m.Comment
		}
		lines = append(lines, line)
	}
	return lines
}

func (w *world) conversation(t *testing.T, id string) collector.Conversation {
	t.Helper()
	all, _, err := w.store.Conversations(t.Context(), project, collector.Page{Size: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("no conversation %q", id)
	panic("unreachable")
}

func (w *world) totals(t *testing.T) collector.Totals {
	t.Helper()
	totals, err := w.store.Totals(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	return totals
}

// dump is everything that the project shows, for comparing stores that were told the same.
func (w *world) dump(t *testing.T) string {
	t.Helper()
	all, _, err := w.store.Conversations(t.Context(), project, collector.Page{Size: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	for _, c := range all {
		messages, _, err := w.store.Messages(t.Context(), project, c.ID, collector.Page{Size: 1000})
		if err := errors.Join(err, encoder.Encode(c), encoder.Encode(messages)); err != nil {
			t.Fatal(err)
		}
	}
	return text.String()
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\nwant %q", what, got, want)
	}
}

// anyOrder sends exchanges in order to one server, and in other orders, some of them twice, to others. All must show the same.
func anyOrder(t *testing.T, exchanges []exchange) {
	t.Helper()
	first := newWorld(t)
	for _, e := range exchanges {
		first.exchange(t, e)
	}
	want := first.dump(t)
	for n := range uint64(8) {
		r := rand.New(rand.NewPCG(7, n))
		told := slices.Clone(exchanges)
		for range len(exchanges) / 2 {
			told = append(told, exchanges[r.IntN(len(exchanges))])
		}
		r.Shuffle(len(told), func(i, j int) { told[i], told[j] = told[j], told[i] })
		w := newWorld(t)
		for _, e := range told {
			w.exchange(t, e)
		}
		if got := w.dump(t); got != want {
			t.Errorf("order %d:\n got %s\nwant %s", n, got, want)
		}
	}
}

// full is a store that takes nothing.
type full struct {
	collector.Store
	err error
}

func (f full) Append(context.Context, string, collector.Batch) (collector.Appended, error) {
	return collector.Appended{}, f.err
}

// A store that is busy, or fails, makes every client come again, and says no more than that; what was refused is counted.
func TestDialectsPassOnThatTheStoreIsBusyOrFails(t *testing.T) {
	for name, e := range map[string]exchange{
		"acro":   tell("", twoLines),
		"agnost": turn("e1", 0, `"args":"hello"`),
		"otlp":   exported(t, "/v1/traces", traces(chatSpans()...)),
	} {
		for err, want := range map[error]int{collector.ErrBusy: http.StatusTooManyRequests, errors.New("disk /var/align is full"): http.StatusServiceUnavailable} {
			w := newWorld(t)
			w.store.Store = full{w.store.Store, err}
			status, header, body := w.do(t, e)
			if status != want || header.Get("Retry-After") != "1" || strings.Contains(body, "disk") || body == "" {
				t.Errorf("%s: %d %s, Retry-After %q; want %d", name, status, body, header.Get("Retry-After"), want)
			}
			if told := strings.Contains(w.log.String(), "disk /var/align is full"); told != (want == http.StatusServiceUnavailable) {
				t.Errorf("%s: the operator is told of the disk: %v", name, told)
			}
			if counts := w.server.IngestedByDialect()[name]; counts.Refused[want] != 1 || counts.Requests != 0 {
				t.Errorf("%s: counts %+v", name, counts)
			}
		}
	}
}

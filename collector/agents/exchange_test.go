package agents

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"
)

// canned answers every request with the same body.
type canned struct {
	mediaType string
	body      func() io.Reader
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return nil, err
		}
		r.Body.Close()
	}
	return &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Header: http.Header{"Content-Type": {c.mediaType}},
		Body: io.NopCloser(c.body()), Request: r}, nil
}

func cannedAgent(streams bool, body func() io.Reader) *Agent {
	c := newCompletions("http://127.0.0.1/v1", "")
	c.model, c.stream, c.maxBytes = "m", streams, 1<<10
	mediaType := "application/json"
	if streams {
		mediaType = "text/event-stream"
	}
	c.client = &http.Client{Transport: canned{mediaType, body}}
	return &Agent{name: "a", label: "a", timeout: time.Minute, backend: c}
}

// Whatever comes of an agent, it is an answer within bounds or a failure with a kind, and the pieces make the text.
func FuzzAnswer(f *testing.F) {
	f.Add(true, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n")
	f.Add(true, "event: x\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":3,\"id\":\"t\"}]},\"finish_reason\":\"stop\"}]}\r\n\r\n")
	f.Add(true, "data: {\"error\":{\"message\":\"x\"}}\n\n")
	f.Add(false, `{"choices":[{"message":{"content":"hi","tool_calls":[{"id":"t"}]},"finish_reason":"length"}],"usage":{"prompt_tokens":-1}}`)
	f.Add(false, "\xff{}")
	f.Fuzz(func(t *testing.T, streams bool, body string) {
		agent := cannedAgent(streams, func() io.Reader { return strings.NewReader(body) })
		said := ""
		answer, err := agent.Ask(t.Context(), Request{Messages: []string{"x"}}, func(piece string) error {
			said += piece
			return nil
		})
		if failure, ok := errors.AsType[*Failure](err); err != nil && (!ok || failure.Kind == "" || failure.Agent != "a" || !answer.Incomplete) {
			t.Fatalf("%v (%+v)", err, answer)
		}
		if err == nil && answer.Text == "" || len(answer.Text) > 1<<10 || len(answer.ToolCalls) > maxToolCalls || !utf8.ValidString(answer.Text) || !utf8.ValidString(answer.Model) {
			t.Fatalf("%+v", answer)
		}
		if streams && said != answer.Text || !streams && said != "" {
			t.Fatalf("said %q, answer %q", said, answer.Text)
		}
	})
}

// How the bytes of a stream are cut by the network says nothing.
func TestStreamIsReadTheSameHoweverItIsCut(t *testing.T) {
	const body = ": hello\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi \"}}]}\r\n\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"you\"}}]}\n\ndata: [DONE]\n\n"
	for name, cut := range map[string]func(io.Reader) io.Reader{"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "with its end": iotest.DataErrReader} {
		agent := cannedAgent(true, func() io.Reader { return cut(strings.NewReader(body)) })
		answer, err := agent.Ask(t.Context(), Request{Messages: []string{"x"}}, func(string) error { return nil })
		if err != nil || answer.Text != "hi you" {
			t.Errorf("%s: %+v, %v", name, answer, err)
		}
	}
}

// Comments keep a stream alive and are no answer: they must neither add up to a limit nor hold memory.
func TestKeepAlivesDoNotCount(t *testing.T) {
	body := strings.Repeat(": keep-alive\n\n", 100_000) + "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n"
	answer, err := cannedAgent(true, func() io.Reader { return strings.NewReader(body) }).Ask(t.Context(), Request{Messages: []string{"x"}}, func(string) error { return nil })
	if err != nil || answer.Text != "hi" {
		t.Errorf("%+v, %v", answer, err)
	}
}

func TestRequestIsLetGoOnceItIsSentAndNotBefore(t *testing.T) {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "http://127.0.0.1", bytes.NewReader([]byte("request")))
	if err != nil {
		t.Fatal(err)
	}
	held := holdBody(r)
	held.release()
	first, err := io.ReadAll(r.Body)
	if err != nil || string(first) != "request" {
		t.Errorf("released while it is sent: %q, %v", first, err)
	}
	again, err := r.GetBody() // a connection that was closed before anything was written
	if err != nil {
		t.Fatal(err)
	}
	second, err := io.ReadAll(again)
	if err != nil || string(second) != "request" {
		t.Errorf("sent again: %q, %v", second, err)
	}
	held.release()
	if held.text != nil {
		t.Error("it is held after it was sent")
	}
}

func TestRetryAfterIsReadInBothForms(t *testing.T) {
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"7": 7 * time.Second, "0": 0, "-5": 0, "99999999999": time.Hour, "soon": 0, "": 0,
		"Sat, 14 Mar 2026 12:00:30 GMT": 30 * time.Second, "Sat, 14 Mar 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(header, now); got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	}
}

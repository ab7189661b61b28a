package align

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// TestMain refuses to dial: tests of this package talk to collectors in memory only.
func TestMain(m *testing.M) {
	http.DefaultTransport.(*http.Transport).DialContext = func(_ context.Context, _, addr string) (net.Conn, error) {
		panic("a test dialled " + addr)
	}
	os.Exit(m.Run())
}

// request is one request as a recorder got it.
type request struct {
	at     time.Time
	id     string
	body   []byte
	events []*ingestionv1alpha.Event
	header http.Header
}

// answer is what a recorder says to a request.
type answer struct {
	status int // 0: 200
	err    error
	header http.Header
	body   string
	takes  time.Duration // before anything is said
	hangs  bool          // nothing is ever said
	loses  bool          // the events are taken, the answer is not heard
}

// recorder is a RoundTripper that keeps what it gets and answers as told.
type recorder struct {
	answer func(n int, r request) answer // nil: 200 to everything

	mu       sync.Mutex // guards all below
	requests []request
	accepted []*ingestionv1alpha.Event
}

func (rec *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	req.Body.Close()
	if err != nil {
		return nil, err
	}
	if int64(len(body)) != req.ContentLength {
		return nil, fmt.Errorf("body has %d bytes, Content-Length says %d", len(body), req.ContentLength)
	}
	plain := body
	if req.Header.Get("Content-Encoding") == "gzip" {
		unzip, err := gzip.NewReader(bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		if plain, err = io.ReadAll(unzip); err != nil {
			return nil, err
		}
	}
	var msg ingestionv1alpha.CollectEventsRequest
	if err := proto.Unmarshal(plain, &msg); err != nil {
		return nil, err
	}
	r := request{at: time.Now(), id: msg.RequestId, body: body, events: msg.Events, header: req.Header}
	rec.mu.Lock()
	n := len(rec.requests)
	rec.requests = append(rec.requests, r)
	say := rec.answer
	rec.mu.Unlock()

	var a answer
	if say != nil {
		a = say(n, r)
	}
	if a.hangs {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	if a.takes > 0 && await(req.Context(), nil, a.takes) != nil {
		return nil, req.Context().Err()
	}
	a.status = cmp.Or(a.status, 200)
	if a.err == nil && a.status/100 == 2 || a.loses {
		rec.mu.Lock()
		rec.accepted = append(rec.accepted, msg.Events...)
		rec.mu.Unlock()
	}
	if a.loses {
		return nil, io.ErrUnexpectedEOF
	}
	if a.err != nil {
		return nil, a.err
	}
	if a.header == nil {
		a.header = http.Header{}
	}
	return &http.Response{StatusCode: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

func (rec *recorder) all() []request {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]request(nil), rec.requests...)
}

func (rec *recorder) delivered() []*ingestionv1alpha.Event {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	return append([]*ingestionv1alpha.Event(nil), rec.accepted...)
}

// sizes are the events of each request.
func (rec *recorder) sizes() (sizes []int) {
	for _, r := range rec.all() {
		sizes = append(sizes, len(r.events))
	}
	return sizes
}

// newClient returns a client wired to rec.
func newClient(t testing.TB, rec *recorder, change func(*Config)) *Client {
	t.Helper()
	cfg := Config{ProjectID: "p1", APIKey: "key-secret", Logger: discard, HTTPClient: &http.Client{Transport: rec}}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func say(t testing.TB, c *Client, session string, index int) {
	t.Helper()
	err := c.CreateMessage(context.Background(), Message{SessionID: session, Index: index, Role: RoleUser, Content: fmt.Sprint("message ", index)})
	if err != nil {
		t.Fatal(err)
	}
}

func checkInvariant(t testing.TB, s Stats) {
	t.Helper()
	if s.Accepted != s.Delivered+s.dropped()+s.Pending {
		t.Errorf("accepted %d ≠ delivered %d + dropped %v + pending %d", s.Accepted, s.Delivered, s.Dropped, s.Pending)
	}
}

func TestEveryCallReachesTheCollectorOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, nil)
		ctx := context.Background()
		start := time.Now()
		for _, err := range []error{
			c.IdentifyUser(ctx, User{ID: "u1", DisplayName: "Ada", Email: "ada@example.com", IP: "192.0.2.1", CountryCode: "kr", Properties: Properties{"plan": "pro"}}),
			c.OpenSession(ctx, Session{ID: "s1", UserID: "u1", Title: "Orders"}),
			c.CreateMessage(ctx, Message{SessionID: "s1", Index: 1, Role: RoleUser, Content: "Where is my order?"}),
			c.CreateMessage(ctx, Message{SessionID: "s1", Index: 2, Role: RoleAssistant, Content: "On its way."}),
			c.CreateMessageFeedback(ctx, MessageFeedback{SessionID: "s1", Index: 2, Type: ThumbsUp, Comment: "quick"}),
			c.CreateSessionFeedback(ctx, SessionFeedback{SessionID: "s1", Type: ThumbsDown}),
			c.CloseSession(ctx, SessionEnd{SessionID: "s1"}),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(ctx); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("Close of a healthy client took %v", waited)
		}
		var got []string
		for _, e := range rec.delivered() {
			got = append(got, e.Type)
		}
		want := "[user_recognize session_open message_create message_create feedback_create feedback_create session_close]"
		if fmt.Sprint(got) != want {
			t.Errorf("got  %v\nwant %v", got, want)
		}
		user := rec.delivered()[0].Properties.GetUserProperties()
		if user.GetUserLocation().GetCountryCode() != "KR" || user.UserIp != "" {
			t.Errorf("country must be upper case and beat the ip: %v", user)
		}
		if h := rec.all()[0].header; h.Get("Authorization") != "Bearer key-secret" || h.Get("Content-Type") != "application/proto" {
			t.Errorf("headers %v", h)
		}
	})
}

func TestBatchesAreCutByCount(t *testing.T) { // AL-4
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.BatchEvents = 50 })
		for i := range 120 {
			say(t, c, "s1", i+1)
		}
		if err := c.Flush(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(rec.sizes()); got != "[50 50 20]" {
			t.Errorf("requests of %s events", got)
		}
		for i, e := range rec.delivered() {
			if got := e.Properties.GetMessageProperties().MessageIndexHint; got != int32(i+1) {
				t.Fatalf("event %d has index %d", i, got)
			}
		}
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func TestErrClosedAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, &recorder{}, nil)
		ctx := context.Background()
		if err := errors.Join(c.Close(ctx), c.Close(ctx)); err != nil {
			t.Fatal(err)
		}
		checkClosed(t, c)
	})
}

func checkClosed(t *testing.T, c *Client) {
	t.Helper()
	ctx := context.Background()
	for name, err := range map[string]error{
		"IdentifyUser":          c.IdentifyUser(ctx, User{ID: "u"}),
		"OpenSession":           c.OpenSession(ctx, Session{ID: "s", UserID: "u"}),
		"CreateMessage":         c.CreateMessage(ctx, Message{SessionID: "s", Index: 1, Role: RoleUser, Content: "x"}),
		"CloseSession":          c.CloseSession(ctx, SessionEnd{SessionID: "s"}),
		"CreateMessageFeedback": c.CreateMessageFeedback(ctx, MessageFeedback{SessionID: "s", Index: 1, Type: ThumbsUp}),
		"CreateSessionFeedback": c.CreateSessionFeedback(ctx, SessionFeedback{SessionID: "s", Type: ThumbsUp}),
		"Flush":                 c.Flush(ctx),
		"Wait":                  c.Wait(ctx),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

func TestZeroClientIsInert(t *testing.T) {
	checkClosed(t, &Client{})
	checkClosed(t, nil)
	var c Client
	if err := c.Close(context.Background()); err != nil {
		t.Error(err)
	}
	if s := c.Stats(); s.Accepted != 0 {
		t.Error(s)
	}
	if err := c.Health(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

package aligntest_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/openalign/align/aligntest"
)

func TestHealthyServerAnswersAsTheProtocolSays(t *testing.T) {
	srv := aligntest.NewServer(t)
	got := send(t, srv, batchOf(user("u1")))
	if got.err != nil || got.status != http.StatusOK || got.body != "" {
		t.Errorf("answer = %d %q, %v; want 200 and an empty body", got.status, got.body, got.err)
	}
	if typ := got.header.Values("Content-Type"); !slices.Equal(typ, []string{"application/proto"}) {
		t.Errorf("Content-Type = %q, want application/proto", typ)
	}
}

func TestBubbleEndsCleanWhenCleanupCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		mustSend(t, srv, user("u1")) // leaves a connection open: synctest fails the test if it outlives the bubble
	})
}

func TestBubbleEndsCleanWithARequestUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		srv.Always(aligntest.Hang())
		go send(t, srv, batchOf(user("u1")))
		synctest.Wait()
	})
}

func TestCloseReleasesHangingRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		srv.Script(aligntest.Hang(), aligntest.Hang().Unread(), aligntest.Slow(time.Hour))
		start := time.Now()
		var requests sync.WaitGroup
		for range 3 {
			requests.Go(func() {
				if got := send(t, srv, batchOf(user("u1"))); got.err == nil {
					t.Errorf("answer = %d, want an error", got.status)
				}
			})
		}
		synctest.Wait()
		srv.Close()
		requests.Wait()
		if elapsed := time.Since(start); elapsed != 0 {
			t.Errorf("Close took %v, want no time", elapsed)
		}
	})
}

func TestCloseTwiceAndAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		mustSend(t, srv, user("u1"))
		var closes sync.WaitGroup
		for range 4 {
			closes.Go(srv.Close)
		}
		closes.Wait()
		srv.Close()
		if got := len(srv.Events()); got != 1 {
			t.Errorf("%d events after Close, want 1", got)
		}
	})
}

func TestClosedServerCannotBeDialled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		srv.Close()
		if got := send(t, srv, batchOf(user("u1"))); !errors.Is(got.err, net.ErrClosed) {
			t.Errorf("err = %v, want net.ErrClosed", got.err)
		}
	})
}

func TestClosedHandlerBreaksTheConnection(t *testing.T) {
	srv := aligntest.NewServer(t)
	tcp := httptest.NewServer(srv)
	defer tcp.Close()
	srv.Close()
	got := do(tcp.Client(), newRequest(t, tcp.URL, marshal(t, batchOf(user("u1")))))
	if got.err == nil {
		t.Errorf("answer = %d, want an error", got.status)
	}
}

func TestServesOverTCP(t *testing.T) {
	srv := aligntest.NewServer(t)
	tcp := httptest.NewServer(srv)
	defer tcp.Close()
	srv.Script(aligntest.ResetAfter(), aligntest.ResetBefore())
	batch := marshal(t, batchOf(user("u1")))
	for _, want := range []int{0, 0, http.StatusOK} {
		if got := do(tcp.Client(), newRequest(t, tcp.URL, batch)); got.status != want {
			t.Errorf("status = %d (%v), want %d", got.status, got.err, want)
		}
	}
	if got := len(srv.Events()); got != 1 {
		t.Errorf("%d events, want 1", got)
	}
}

func TestHangOverTCPEndsWhenTheClientLeaves(t *testing.T) {
	srv := aligntest.NewServer(t)
	tcp := httptest.NewServer(srv)
	defer tcp.Close() // would wait for a handler that hangs
	srv.Always(aligntest.Hang().Unread())
	client := tcp.Client()
	client.Timeout = 10 * time.Millisecond
	if _, err := client.Do(newRequest(t, tcp.URL, marshal(t, batchOf(user("u1"))))); err == nil {
		t.Error("answered, want a timeout")
	}
}

func TestGzipIsUnderstood(t *testing.T) {
	srv := aligntest.NewServer(t)
	var body bytes.Buffer
	w := gzip.NewWriter(&body)
	if _, err := w.Write(marshal(t, batchOf(user("u1")))); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r := newRequest(t, srv.URL, body.Bytes())
	r.Header.Set("Content-Encoding", "gzip")
	r.ContentLength = -1 // compressed on the fly
	if got := do(srv.HTTPClient(), r); got.status != http.StatusOK {
		t.Fatalf("status = %d, %v; want 200", got.status, got.err)
	}
	if got := srv.User("u1").ID; got != "u1" {
		t.Errorf("user = %q, want u1", got)
	}
}

func TestClientThatLeavesHalfwayIsNoViolation(t *testing.T) {
	srv := aligntest.NewServer(t)
	whole := marshal(t, batchOf(user("u1")))
	r := newRequest(t, srv.URL, whole)
	r.Body = io.NopCloser(io.MultiReader(bytes.NewReader(whole[:9]), iotest.ErrReader(errors.New("gone"))))
	if got := do(srv.HTTPClient(), r); got.err == nil {
		t.Errorf("answer = %d, want an error", got.status)
	}
	srv.Close()
	if r := srv.Requests(); len(r) != 1 || r[0].ID != "" || r[0].Status != 0 {
		t.Errorf("requests = %+v, want one of which nothing is known", r)
	}
}

func TestRequestsTellWhatCameIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		srv.Script(aligntest.Status(503))
		start := time.Now()
		batch := batchOf(user("u1"), message("s1", 1, "hi"))
		send(t, srv, batch)
		time.Sleep(time.Second)
		send(t, srv, batch)

		requests := srv.Requests()
		if len(requests) != 2 {
			t.Fatalf("%d requests, want 2", len(requests))
		}
		for i, want := range []struct {
			fault  string
			status int
		}{{"Status(503)", 503}, {"OK()", 200}} {
			got := requests[i]
			if got.Number != i+1 || got.Attempt != i+1 || got.ID != batch.GetRequestId() {
				t.Errorf("request %d: number, attempt, id = %d, %d, %q", i+1, got.Number, got.Attempt, got.ID)
			}
			if got.Fault.String() != want.fault || got.Status != want.status {
				t.Errorf("request %d: fault, status = %v, %d; want %s, %d", i+1, got.Fault, got.Status, want.fault, want.status)
			}
			if !bytes.Equal(got.Body, marshal(t, batch)) || !slices.Equal(ids(got.Events), idsOf(batch.GetEvents()...)) {
				t.Errorf("request %d: body or events are not those sent", i+1)
			}
			if got := got.Header.Get("Authorization"); got != "Bearer secret-key" {
				t.Errorf("request %d: Authorization = %q", i+1, got)
			}
		}
		want := []time.Time{start, start.Add(time.Second)}
		if got := srv.AttemptTimes(); !slices.EqualFunc(got, want, time.Time.Equal) {
			t.Errorf("attempt times = %v, want %v", got, want)
		}
	})
}

func TestEventsAreThoseAcknowledgedOnceInOrder(t *testing.T) {
	srv := aligntest.NewServer(t)
	a, b, c := user("u1"), message("s1", 1, "hi"), message("s1", 2, "hello")
	srv.Script(aligntest.Status(500))
	send(t, srv, batchOf(a, b))
	mustSend(t, srv, b)
	mustSend(t, srv, a, b, c)
	if got, want := ids(srv.Events()), idsOf(b, a, c); !slices.Equal(got, want) {
		t.Errorf("events = %v, want %v", got, want)
	}
	if got, want := ids(srv.Seen()), idsOf(a, b, c); !slices.Equal(got, want) {
		t.Errorf("seen = %v, want %v", got, want)
	}
	if got := srv.Seen()[1].Deliveries; got != 3 {
		t.Errorf("deliveries of b = %d, want 3", got)
	}
}

func TestWhatIsReturnedIsACopy(t *testing.T) {
	srv := aligntest.NewServer(t)
	m := message("s1", 1, "hi")
	m.Properties.CustomProperties = map[string]*Custom{"lang": {StringValue: "en"}}
	mustSend(t, srv, m)

	srv.Events()[0].Proto().Type = "changed"
	srv.Session("s1").Messages[0].Properties["lang"] = "changed"
	r := srv.Requests()[0]
	r.Body[0], r.Events[0].ID = 0, "changed"
	r.Header.Set("Content-Type", "changed")

	r = srv.Requests()[0]
	if r.Body[0] == 0 || r.Events[0].ID == "changed" || r.Header.Get("Content-Type") == "changed" {
		t.Error("a change to a Request changed the record")
	}
	if srv.Events()[0].Proto().GetType() == "changed" {
		t.Error("a change to an Event changed the record")
	}
	if srv.Session("s1").Messages[0].Properties["lang"] == "changed" {
		t.Error("a change to a Session changed the record")
	}
}

func TestZeroEventHasNoProto(t *testing.T) {
	if got := (aligntest.Event{}).Proto(); got != nil {
		t.Errorf("Proto = %v, want nil", got)
	}
}

func TestConcurrentUse(t *testing.T) {
	srv := aligntest.NewServer(t)
	srv.Respond(aligntest.Flap(1, aligntest.Status(503)))
	const senders, each = 8, 10
	var running sync.WaitGroup
	for range senders {
		running.Go(func() {
			for range each {
				batch := batchOf(user(newID()))
				for send(t, srv, batch).status != http.StatusOK {
				}
				srv.Events()
				srv.Requests()
				srv.Users()
			}
		})
	}
	running.Wait()
	if got := len(srv.Events()); got != senders*each {
		t.Errorf("%d events, want %d", got, senders*each)
	}
}

func TestPanicInRespondFailsTheTest(t *testing.T) {
	tb := &failures{TB: t}
	srv := aligntest.NewServer(tb)
	srv.Respond(func(aligntest.Request) aligntest.Fault { panic("oops") })
	if got := send(t, srv, batchOf(user("u1"))); got.err == nil {
		t.Errorf("answer = %d, want an error", got.status)
	}
	srv.Close()
	if got := tb.String(); !strings.Contains(got, "Respond panicked: oops") {
		t.Errorf("failures = %q, want the panic", got)
	}
}

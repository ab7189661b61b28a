package aligntest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align/aligntest"
)

// TestFaults plays each fault once and looks at both ends of it: what the client gets and what the server keeps.
func TestFaults(t *testing.T) {
	const minute = time.Minute // when the client gives up
	for _, test := range []struct {
		name         string // as the fault prints
		fault        aligntest.Fault
		status       int // what the client gets; zero if no answer
		body         string
		broken       bool // the client gets an error
		took         time.Duration
		stored       bool
		acknowledged bool
	}{
		{name: "OK()", fault: aligntest.OK(), status: 200, stored: true, acknowledged: true},
		{name: "OK()", fault: aligntest.Fault{}, status: 200, stored: true, acknowledged: true},
		{name: "Status(202)", fault: aligntest.Status(202), status: 202, stored: true, acknowledged: true},
		{name: "Status(204)", fault: aligntest.Status(204), status: 204, stored: true, acknowledged: true},
		{name: "Status(302)", fault: aligntest.Status(302), status: 302, body: `"unknown"`},
		{name: "Status(400)", fault: aligntest.Status(400), status: 400, body: `{"code":"invalid_argument","message":"aligntest: Bad Request"}`},
		{name: "Status(413)", fault: aligntest.Status(413), status: 413, body: `"resource_exhausted"`},
		{name: "Status(413).Unread()", fault: aligntest.Status(413).Unread(), status: 413, body: `"resource_exhausted"`},
		{name: "Status(503)", fault: aligntest.Status(503), status: 503, body: `"unavailable"`},
		{name: "Status(500).Storing()", fault: aligntest.Status(500).Storing(), status: 500, stored: true},
		{name: "Status(500).Body(4 bytes)", fault: aligntest.Status(500).Body("oops"), status: 500, body: "oops"},
		{name: "Slow(7s)", fault: aligntest.Slow(7 * time.Second), status: 200, took: 7 * time.Second, stored: true, acknowledged: true},
		{name: "Slow(2m0s)", fault: aligntest.Slow(2 * minute), broken: true, took: minute},
		{name: "Slow(2m0s).Storing()", fault: aligntest.Slow(2 * minute).Storing(), broken: true, took: minute, stored: true},
		{name: "Status(503).Delay(3s)", fault: aligntest.Status(503).Delay(3 * time.Second), status: 503, took: 3 * time.Second, body: "unavailable"},
		{name: "Hang()", fault: aligntest.Hang(), broken: true, took: minute},
		{name: "Hang().Storing()", fault: aligntest.Hang().Storing(), broken: true, took: minute, stored: true},
		{name: "Hang().Unread()", fault: aligntest.Hang().Unread(), broken: true, took: minute},
		{name: "ResetBefore()", fault: aligntest.ResetBefore(), broken: true},
		{name: "ResetBefore().Delay(1s)", fault: aligntest.ResetBefore().Delay(time.Second), broken: true, took: time.Second},
		{name: "ResetAfter()", fault: aligntest.ResetAfter(), broken: true, stored: true},
		{name: "HalfAnswer()", fault: aligntest.HalfAnswer(), status: 200, broken: true, body: "half of the answer, and then noth", stored: true, acknowledged: true},
		{name: "Garbage()", fault: aligntest.Garbage(), status: 200, body: "\xff\xff\x00<!doctype html>", stored: true, acknowledged: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := aligntest.NewServer(t)
				srv.Script(test.fault)
				start := time.Now()
				client := srv.HTTPClient()
				client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
				batch := batchOf(user("u1"), message("s1", 1, "hi"))
				got := do(client, newRequest(t, srv.URL, marshal(t, batch)))

				if got.status != test.status || (got.err != nil) != test.broken {
					t.Errorf("answer = %d, %v; want %d, broken %t", got.status, got.err, test.status, test.broken)
				}
				if !strings.Contains(got.body, test.body) {
					t.Errorf("body = %q, want it to contain %q", got.body, test.body)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
				synctest.Wait() // for the server to see that the client has left
				if test.fault.String() != test.name {
					t.Errorf("prints as %q", test.fault)
				}
				if n := len(stored(srv)); n != count(test.stored) {
					t.Errorf("%d events stored, want %d", n, count(test.stored))
				}
				if n := len(srv.Events()); n != count(test.acknowledged) {
					t.Errorf("%d events acknowledged, want %d", n, count(test.acknowledged))
				}
				if r := srv.Requests()[0]; r.Status != test.status {
					t.Errorf("recorded status = %d, want %d", r.Status, test.status)
				}

				// The fault is over, and whatever it did the next attempt settles.
				if again := send(t, srv, batch); again.status != http.StatusOK {
					t.Errorf("second attempt = %d, %v; want 200", again.status, again.err)
				}
				if got, want := ids(srv.Events()), idsOf(batch.GetEvents()...); !slices.Equal(got, want) {
					t.Errorf("events = %v, want %v", got, want)
				}
			})
		})
	}
}

// count says how many of the two events of TestFaults.
func count(all bool) int {
	if all {
		return 2
	}
	return 0
}

func TestUnreadBodyStaysUnknown(t *testing.T) {
	for _, fault := range []aligntest.Fault{aligntest.ResetBefore(), aligntest.Status(413).Unread()} {
		t.Run(fault.String(), func(t *testing.T) {
			srv := aligntest.NewServer(t)
			srv.Script(fault)
			send(t, srv, batchOf(user("u1")))
			srv.Close()
			if r := srv.Requests()[0]; r.ID != "" || r.Body != nil || r.Events != nil || r.Attempt != 0 {
				t.Errorf("request = %+v, want nothing of its body", r)
			}
			if seen := srv.Seen(); len(seen) != 0 {
				t.Errorf("seen = %v, want nothing", seen)
			}
		})
	}
}

// A large body does not fit into buffers on the way: an unread one holds the client up while it writes.
func TestHangUnreadEndsForAClientThatWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		srv.Script(aligntest.Hang().Unread())
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r := newRequest(t, srv.URL, marshal(t, batchOf(message("s1", 1, strings.Repeat("x", 1<<20)))))
		start := time.Now()
		got := do(srv.HTTPClient(), r.WithContext(ctx))
		if !errors.Is(got.err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("err = %v after %v, want the deadline after 5 s", got.err, time.Since(start))
		}
	})
}

func TestHalfAnswerBreaksWhileTheBodyIsRead(t *testing.T) {
	srv := aligntest.NewServer(t)
	srv.Script(aligntest.HalfAnswer())
	if got := send(t, srv, batchOf(user("u1"))); !errors.Is(got.err, io.ErrUnexpectedEOF) {
		t.Errorf("err = %v, want io.ErrUnexpectedEOF", got.err)
	}
}

func TestResetOfAKeptConnectionIsRepeatedByNetHTTP(t *testing.T) {
	srv := aligntest.NewServer(t)
	mustSend(t, srv, user("u1")) // leaves a connection
	srv.Script(aligntest.ResetAfter(), aligntest.Status(503))
	r := newRequest(t, srv.URL, marshal(t, batchOf(user("u2"))))
	r.Header["Idempotency-Key"] = nil // as package align does
	if got := do(srv.HTTPClient(), r); got.status != 503 {
		t.Errorf("answer = %d, %v; want 503", got.status, got.err)
	}
	if got := srv.Requests()[2].Attempt; got != 2 {
		t.Errorf("attempt = %d, want 2", got)
	}
}

func TestRetryAfterComesInBothForms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // time begins at 2000-01-01 00:00:00 UTC
		srv := aligntest.NewServer(t)
		for _, test := range []struct {
			fault aligntest.Fault
			want  string
		}{
			{aligntest.Status(503), ""},
			{aligntest.Status(503).RetryAfter(7 * time.Second), "7"},
			{aligntest.Status(429).RetryAfter(1500 * time.Millisecond), "2"},
			{aligntest.Status(429).RetryAfter(0), "0"},
			{aligntest.Status(503).RetryAfterDate(90 * time.Second), "Sat, 01 Jan 2000 00:01:30 GMT"},
			{aligntest.Status(503).RetryAfterDate(-time.Hour), "Fri, 31 Dec 1999 23:00:00 GMT"},
			{aligntest.Status(503).RetryAfterDate(100 * time.Millisecond), "Sat, 01 Jan 2000 00:00:01 GMT"},
			// The date is counted from the answer, not from the request.
			{aligntest.Status(503).RetryAfterDate(time.Second).Delay(10 * time.Second), "Sat, 01 Jan 2000 00:00:11 GMT"},
		} {
			srv.Script(test.fault)
			if got := send(t, srv, batchOf(user("u1"))); got.header.Get("Retry-After") != test.want {
				t.Errorf("%v: Retry-After = %q, want %q", test.fault, got.header.Get("Retry-After"), test.want)
			}
		}
	})
}

func TestHeaderIsAdded(t *testing.T) {
	srv := aligntest.NewServer(t)
	plain := aligntest.Status(307)
	srv.Script(plain.Header("Location", "http://elsewhere.test/"), plain)
	client := srv.HTTPClient()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, want := range []string{"http://elsewhere.test/", ""} {
		got := do(client, newRequest(t, srv.URL, marshal(t, batchOf(user("u1")))))
		if got.header.Get("Location") != want {
			t.Errorf("Location = %q (%v), want %q", got.header.Get("Location"), got.err, want)
		}
	}
}

func TestScriptComesBeforeRespond(t *testing.T) {
	srv := aligntest.NewServer(t)
	srv.Always(aligntest.Status(500))
	srv.Script(aligntest.Repeat(2, aligntest.Status(503))...)
	srv.Script(aligntest.OK())
	var got []int
	for range 5 {
		got = append(got, send(t, srv, batchOf(user("u1"))).status)
	}
	srv.Respond(nil)
	got = append(got, send(t, srv, batchOf(user("u1"))).status)
	if want := []int{503, 503, 200, 500, 500, 200}; !slices.Equal(got, want) {
		t.Errorf("answers = %v, want %v", got, want)
	}
}

func TestRespondSeesTheRequest(t *testing.T) {
	srv := aligntest.NewServer(t)
	var got aligntest.Request
	srv.Respond(func(r aligntest.Request) aligntest.Fault {
		got = r
		srv.Requests() // it may use the server
		return aligntest.OK()
	})
	batch := batchOf(user("u1"), message("s1", 1, "hi"))
	send(t, srv, batch)
	if got.ID != batch.GetRequestId() || got.Attempt != 1 || len(got.Body) == 0 {
		t.Errorf("request = %+v", got)
	}
	if !slices.Equal(ids(got.Events), idsOf(batch.GetEvents()...)) || got.Events[1].Content != "hi" {
		t.Errorf("events = %+v", got.Events)
	}
}

func TestFlapAlternates(t *testing.T) {
	srv := aligntest.NewServer(t)
	srv.Respond(aligntest.Flap(2, aligntest.Status(503)))
	var got []int
	for range 6 {
		got = append(got, send(t, srv, batchOf(user("u1"))).status)
	}
	if want := []int{503, 503, 200, 200, 503, 503}; !slices.Equal(got, want) {
		t.Errorf("answers = %v, want %v", got, want)
	}
}

func TestPoisonRefusesWholeBatches(t *testing.T) {
	srv := aligntest.NewServer(t)
	srv.Respond(aligntest.Poison(aligntest.Status(422), func(e aligntest.Event) bool { return e.SessionID == "s7" }))
	good, bad := message("s1", 1, "hi"), message("s7", 1, "hi")
	if got := send(t, srv, batchOf(good, bad)).status; got != 422 {
		t.Errorf("status = %d, want 422", got)
	}
	mustSend(t, srv, good)
	if got, want := ids(srv.Events()), idsOf(good); !slices.Equal(got, want) {
		t.Errorf("events = %v, want %v", got, want)
	}
}

func TestImpossibleFaultsPanic(t *testing.T) {
	for name, make := range map[string]func(){
		"Status(100)": func() { aligntest.Status(100) },
		"Status(600)": func() { aligntest.Status(600) },
		"Flap(0)":     func() { aligntest.Flap(0, aligntest.OK()) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s did not panic", name)
				}
			}()
			make()
		}()
	}
}

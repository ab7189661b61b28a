package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align/aligntest"
)

func call(t *testing.T, srv *aligntest.Server) (answer string) {
	t.Helper()
	client := srv.Client(t)
	req := httptest.NewRequest("POST", "/", strings.NewReader("user=u1&message=Hello?"))
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := httptest.NewRecorder()
	handler(client)(w, req)
	return w.Body.String()
}

func TestEverythingHasArrivedWithTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		start := time.Now()
		if got := call(t, srv); got != "You said: Hello?\n" {
			t.Errorf("answered %q", got)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v for a batch to fill", waited)
		}
		sessions := srv.Sessions() // nothing was flushed, nothing closed
		if len(sessions) != 1 || sessions[0].Transcript() != "user: Hello?\nassistant: You said: Hello?\n" || sessions[0].UserID != "u1" {
			t.Errorf("arrived: %v", sessions)
		}
	})
}

func TestAnswerDoesNotWaitForACollectorThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		srv.Always(aligntest.Status(503))
		start := time.Now()
		if got := call(t, srv); got != "You said: Hello?\n" {
			t.Errorf("answered %q", got)
		}
		if waited := time.Since(start); waited != patience {
			t.Errorf("waited %v", waited)
		}
		srv.Always(aligntest.OK())
	})
}

package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

func TestSignalEndsTheProgramWithEverythingDelivered(t *testing.T) {
	srv := aligntest.NewServer(t)
	first := make(chan bool)
	arrived := sync.OnceFunc(func() { close(first) })
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		srv.ServeHTTP(w, r)
		arrived()
	}))
	defer collector.Close()
	t.Setenv("ALIGNAI_HOST", collector.URL)
	t.Setenv("ALIGNAI_PROJECT_ID", aligntest.ProjectID)
	t.Setenv("ALIGNAI_API_KEY", aligntest.APIKey)

	ended := make(chan bool)
	go func() {
		main()
		close(ended)
	}()
	select {
	case <-first: // main listens for signals by now
	case <-ended:
		t.Fatal("main ended by itself")
	}
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if err := self.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	<-ended
	session := srv.Session("counting")
	if n := len(session.Messages); n == 0 || session.Messages[n-1].Index != n {
		t.Errorf("%d messages arrived, not all", n)
	}
	if !session.Closed || session.CloseReason != align.CloseShutdown {
		t.Errorf("closed %v, %s", session.Closed, session.CloseReason)
	}
}

func TestCollectorThatIsAwayHoldsTheProgramNoLongerThanItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		srv.Always(aligntest.Hang())
		client := srv.Client(t)
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		work(ctx, client)

		var out strings.Builder
		start := time.Now()
		err := shutdown(client, &out, 5*time.Second)
		if waited := time.Since(start); waited != 5*time.Second {
			t.Errorf("took %v", waited)
		}
		if _, ok := errors.AsType[*align.DeliveryError](err); !ok || !strings.Contains(out.String(), "were lost") {
			t.Errorf("%v\n%s", err, &out)
		}
	})
}

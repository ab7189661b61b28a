package chatpage

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

func stateOf(at *chat) state {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.state
}

// An agent that takes its time is not somebody who walked away.
func TestSlowAnswersAreWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := aligntest.NewServer(t)
		p := &Page{idle: DefaultIdle}
		p.client = server.Client(t, func(cfg *align.Config) {
			cfg.IdleTimeout, cfg.BeforeSend = p.idle, p.chats.note
		})
		at := p.chats.of("ada")
		answer, err := p.client.Converse(t.Context(), align.Conversation{ID: at.id, UserID: at.user}, []string{"Think."},
			func(_ context.Context, run *align.Run) (string, error) {
				defer p.keepAlive(run)()
				time.Sleep(10 * time.Minute)
				if stateOf(at) != idle {
					t.Errorf("while the agent thinks the conversation is %d, want idle", stateOf(at))
				}
				return "Thought.", nil
			})
		if err != nil || answer.Unrecorded != nil || p.client.Stats().Incomplete > 0 {
			t.Errorf("answer %+v, %v; %d incomplete", answer, err, p.client.Stats().Incomplete)
		}
		if stateOf(at) != open {
			t.Errorf("after the answer the conversation is %d, want open", stateOf(at))
		}
		time.Sleep(DefaultIdle + time.Second)
		synctest.Wait()
		if stateOf(at) != idle {
			t.Errorf("after a silence the conversation is %d, want idle", stateOf(at))
		}
	})
}

func TestTheQuietestMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c chats
		first := c.of("0")
		second := c.of("1")
		for i := range maxChats {
			time.Sleep(time.Second)
			c.of(fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		if c.of("0") != first {
			t.Error("one of as many as there may be is gone")
		}
		if c.of("new"); len(c.byVisitor) != maxChats || len(c.byID) != maxChats {
			t.Errorf("%d and %d conversations are kept, want %d", len(c.byVisitor), len(c.byID), maxChats)
		}
		if c.of("0") != first {
			t.Error("one that was used a moment ago is gone")
		}
		if c.of("1") == second {
			t.Error("the quietest is still there")
		}
	})
}

func TestSpokenDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30 * time.Second: "30 seconds", time.Second: "one second", time.Minute: "one minute", 90 * time.Second: "90 seconds", 10 * time.Minute: "10 minutes",
		1500 * time.Millisecond: "1.5s",
	} {
		if got := spoken(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

package conversations

import (
	"context"
	"errors"
	"sync"
)

// turns puts those who want to speak in one conversation in order: first come, first served. A conversation in which nobody
// does takes no memory. The zero value is ready to use.
type turns struct {
	mu    sync.Mutex
	lines map[place]*line // guarded by mu
}

// place names a conversation.
type place struct{ project, conversation string }

type line struct {
	members int           // who speaks, and who waits; guarded by turns.mu
	turn    chan struct{} // cap 1: full while somebody speaks. Go lets those who wait to send in by their order.
}

// maxInLine bounds those who wait in one conversation, so that it cannot keep all others from chatting.
const maxInLine = 100

var errLongLine = errors.New("conversations: the line is too long")

// take waits for the turn, or for the end of ctx; where too many wait already, it does not. Whoever got it must leave.
func (t *turns) take(ctx context.Context, at place) (leave func(), err error) {
	t.mu.Lock()
	l := t.lines[at]
	if l == nil {
		l = &line{turn: make(chan struct{}, 1)}
		if t.lines == nil {
			t.lines = map[place]*line{}
		}
		t.lines[at] = l
	}
	if l.members > maxInLine {
		t.mu.Unlock()
		return nil, errLongLine
	}
	l.members++
	t.mu.Unlock()
	select {
	case l.turn <- struct{}{}:
		return func() {
			<-l.turn
			t.gone(at, l)
		}, nil
	case <-ctx.Done():
		t.gone(at, l)
		return nil, ctx.Err()
	}
}

func (t *turns) gone(at place, l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.members--; l.members == 0 {
		delete(t.lines, at)
	}
}

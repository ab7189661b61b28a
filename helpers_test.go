package align

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
)

var (
	discard = slog.New(slog.DiscardHandler)
	bg      = context.Background()
)

// logBuffer is what a logger writes to and a test reads while it does.
type logBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

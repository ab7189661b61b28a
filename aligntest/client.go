package aligntest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/openalign/align"
)

// What [Server.Config] is filled with.
const (
	ProjectID = "test"
	APIKey    = "test-key"
)

// closeTimeout is how long a test that is over waits for a client's last events. Only a server that a fault keeps from
// answering needs it, and there nobody looks at them any more.
const closeTimeout = time.Second

// Client starts a server and returns it with a client that is wired to it. Both are closed when the test ends. In an
// example function pass nil, and close first the client and then the server yourself.
func Client(t testing.TB) (*align.Client, *Server) {
	s := NewServer(t)
	s.t.Helper()
	return s.Client(s.t), s
}

// Client returns a client that is wired to the server, with [Server.Config] as changed by configure. It is closed when
// the test ends, which may be a subtest of the one that made the server. Close it earlier to look at what Close returns.
func (s *Server) Client(t testing.TB, configure ...func(*align.Config)) *align.Client {
	if t == nil {
		t = exampleTB{}
	}
	t.Helper()
	cfg := s.Config()
	for _, change := range configure {
		change(&cfg)
	}
	client, err := align.New(cfg)
	if err != nil {
		t.Fatalf("aligntest: %v", err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout) // t.Context() has ended by now
		defer cancel()
		if err := client.Close(ctx); err != nil {
			t.Logf("aligntest: closing the client at the end of the test: %v", err)
		}
	})
	return client
}

// Config returns the configuration of a client that is wired to the server, for an app that makes its own client. The
// client logs to the test's log, and must be closed before the test ends.
func (s *Server) Config() align.Config {
	return align.Config{
		ProjectID:  ProjectID,
		APIKey:     APIKey,
		Host:       s.URL,
		HTTPClient: s.HTTPClient(),
		Logger:     slog.New(slog.NewTextHandler(logWriter{s}, nil)),
	}
}

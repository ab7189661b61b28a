package main

import (
	"context"
	"io"
	"log"
	"time"

	"github.com/posthog/posthog-go"
)

var posthogPeer = &peer{
	name:     "posthog",
	module:   "github.com/posthog/posthog-go",
	slow:     true,
	defaults: "defaults: batches of 250, a full channel makes the caller wait",
	tuned:    "batches of 500, flushed every 100 ms, 100 idle connections",
	open:     openPosthog,
	route:    "/batch/",
	answer:   answer{200, "application/json", `{"status":"Ok"}`},
	decode:   decodePosthog,
}

type posthogClient struct{ posthog.Client }

func openPosthog(s setup) (client, error) {
	// Without a PersonalApiKey nothing polls for feature flags.
	cfg := posthog.Config{Endpoint: s.URL, Logger: posthog.StdLogger(log.New(io.Discard, "", 0))}
	if s.Tuned {
		cfg.BatchSize = 500
		cfg.Interval = 100 * time.Millisecond
		// It sends each batch from a goroutine of its own: let it keep their connections.
		cfg.Transport = localTransport(100)
	}
	c, err := posthog.NewWithConfig("bench", cfg)
	return posthogClient{c}, err
}

// record blocks while the channel of 100 is full. Batches are lost only when a thousand requests are under way.
func (c posthogClient) record(m *message) error {
	return c.Enqueue(posthog.Capture{
		DistinctId: m.session,
		Event:      "message",
		Properties: posthog.Properties{
			"index":   m.index,
			"role":    m.role,
			"content": m.content,
			"model":   m.model,
			"channel": m.channel,
			"variant": m.variant,
		},
	})
}

// close waits for every request.
func (c posthogClient) close(context.Context) error { return c.Close() }

func decodePosthog(body []byte, emit func(*event)) error {
	return parseBatch(body, "distinct_id", emit)
}

package main

import (
	"context"
	"io"
	"log"
	"time"

	"gopkg.in/segmentio/analytics-go.v3"
)

var segmentPeer = &peer{
	name:     "segment",
	module:   "gopkg.in/segmentio/analytics-go.v3",
	slow:     true,
	defaults: "defaults: batches of 250, a full channel makes the caller wait",
	tuned:    "batches of 500, flushed every 100 ms, 100 idle connections",
	open:     openSegment,
	route:    "/v1/batch",
	answer:   answer{200, "application/json", `{"success": true}`},
	decode:   decodeSegment,
}

type segmentClient struct{ analytics.Client }

func openSegment(s setup) (client, error) {
	cfg := analytics.Config{Endpoint: s.URL, Logger: analytics.StdLogger(log.New(io.Discard, "", 0))}
	if s.Tuned {
		cfg.BatchSize = 500
		cfg.Interval = 100 * time.Millisecond
		cfg.Transport = localTransport(100) // as for posthog, which grew out of this client
	}
	c, err := analytics.NewWithConfig("bench", cfg)
	return segmentClient{c}, err
}

// record blocks while the channel of 100 is full. Batches are lost only when a thousand requests are under way.
func (c segmentClient) record(m *message) error {
	return c.Enqueue(analytics.Track{
		UserId: m.session,
		Event:  "message",
		Properties: analytics.Properties{
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
func (c segmentClient) close(context.Context) error { return c.Close() }

func decodeSegment(body []byte, emit func(*event)) error { return parseBatch(body, "userId", emit) }

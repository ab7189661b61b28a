package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"time"

	"github.com/getsentry/sentry-go"
	"github.com/valyala/fastjson"
)

var sentryPeer = &peer{
	name:     "sentry",
	module:   "github.com/getsentry/sentry-go",
	slow:     true,
	serial:   true,
	defaults: "defaults, as logs: batches of 100 from a buffer of 1000 that drops the oldest when full, without a word to the caller",
	tuned:    "the same (neither can be set), the caller flushes every 500 events",
	open:     openSentry,
	route:    "/api/1/envelope/",
	answer:   answer{200, "application/json", `{}`},
	decode:   decodeSentry,
}

type sentryClient struct {
	*sentry.Client
	logger sentry.Logger
}

// Logs are what Sentry carries in batches; an error event is a request of its own.
func openSentry(s setup) (client, error) {
	c, err := sentry.NewClient(sentry.ClientOptions{
		Dsn:           strings.Replace(s.URL, "://", "://bench@", 1) + "/1",
		HTTPTransport: localTransport(0),
		Release:       "bench", // else it looks for one in the environment and in git
		ServerName:    "bench",
	})
	if err != nil {
		return nil, err
	}
	ctx := sentry.SetHubOnContext(context.Background(), sentry.NewHub(c, sentry.NewScope()))
	sc := sentryClient{c, sentry.NewLogger(ctx)}
	if s.Tuned {
		return &windowed{flusher: sc, size: 500}, nil
	}
	return sc, nil
}

// record never blocks and never fails.
func (c sentryClient) record(m *message) error {
	c.logger.Info().
		String("session", m.session).
		Int("index", m.index).
		String("role", m.role).
		String("model", m.model).
		String("channel", m.channel).
		String("variant", m.variant).
		Emit(m.content)
	return nil
}

func (c sentryClient) flush(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Minute)
		defer cancel()
	}
	if !c.FlushWithContext(ctx) {
		return errors.New("sentry: flush timed out")
	}
	return nil
}

func (c sentryClient) close(ctx context.Context) error {
	err := c.flush(ctx)
	c.Close()
	return err
}

// decodeSentry reads an envelope: a header, then for each item a header and a payload, a line each.
func decodeSentry(body []byte, emit func(*event)) error {
	_, rest, _ := bytes.Cut(body, []byte("\n"))
	for len(rest) > 0 {
		var header, payload []byte
		header, rest, _ = bytes.Cut(rest, []byte("\n"))
		payload, rest, _ = bytes.Cut(rest, []byte("\n"))
		if !bytes.Contains(header, []byte(`"log"`)) { // a report about what the client dropped
			continue
		}
		err := parseJSON(payload, func(v *fastjson.Value) {
			for _, item := range v.GetArray("items") {
				attribute := func(name string) []byte { return item.GetStringBytes("attributes", name, "value") }
				emit(&event{
					session: attribute("session"),
					index:   item.GetInt("attributes", "index", "value"),
					role:    attribute("role"),
					content: item.GetStringBytes("body"),
					model:   attribute("model"),
					channel: attribute("channel"),
					variant: attribute("variant"),
				})
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

package main

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/launchdarkly/go-sdk-common/v3/ldcontext"
	"github.com/launchdarkly/go-sdk-common/v3/ldlog"
	"github.com/launchdarkly/go-sdk-common/v3/ldtime"
	"github.com/launchdarkly/go-sdk-common/v3/ldvalue"
	ldevents "github.com/launchdarkly/go-sdk-events/v3"
	"github.com/valyala/fastjson"
)

var launchdarklyPeer = &peer{
	name:       "launchdarkly",
	module:     "github.com/launchdarkly/go-sdk-events/v3",
	compresses: true,
	defaults:   "the Go server SDK's: 10,000 events, flushed every 5 s; drops when full, without a word to the caller",
	tuned:      "20,000 events, asked to flush every 500, the caller waits for that every 10,000",
	open:       openLaunchDarkly,
	route:      "/bulk",
	answer:     answer{202, "", ""},
	decode:     decodeLaunchDarkly,
}

type launchdarklyClient struct {
	ldevents.EventProcessor
	every int64 // ask for a flush every so many events; 0: never
	count *atomic.Int64
}

func openLaunchDarkly(s setup) (client, error) {
	sender := ldevents.NewServerSideEventSender(ldevents.EventSenderConfiguration{
		BaseURI:           s.URL,
		Loggers:           ldlog.NewDisabledLoggers(),
		EnableCompression: s.Gzip,
	}, "bench")
	// This module has no defaults of its own: these are the ones of go-server-sdk. No DiagnosticsManager: nothing but
	// these events is sent.
	cfg := ldevents.EventsConfiguration{
		Capacity:         10_000,
		FlushInterval:    5 * time.Second,
		UserKeysCapacity: 1000,
		EventSender:      sender,
		Loggers:          ldlog.NewDisabledLoggers(),
	}
	c := launchdarklyClient{count: new(atomic.Int64)}
	if s.Tuned {
		cfg.Capacity = 20_000
		cfg.FlushInterval = 100 * time.Millisecond
		// It knows no batch size: a flush sends everything there is. Asked every 500 events it sends that many, or more
		// while its five workers are busy.
		c.every = 500
	}
	c.EventProcessor = ldevents.NewDefaultEventProcessor(cfg)
	if s.Tuned {
		return &windowed{flusher: c, size: 10_000}, nil
	}
	return c, nil
}

// record never blocks and never fails.
func (c launchdarklyClient) record(m *message) error {
	c.RecordCustomEvent(ldevents.CustomEventData{
		BaseEvent: ldevents.BaseEvent{
			CreationDate: ldtime.UnixMillisNow(),
			Context:      ldevents.Context(ldcontext.New(m.session)),
		},
		Key: "message",
		Data: ldvalue.ObjectBuildWithCapacity(6).
			SetInt("index", m.index).
			SetString("role", m.role).
			SetString("content", m.content).
			SetString("model", m.model).
			SetString("channel", m.channel).
			SetString("variant", m.variant).
			Build(),
	})
	if c.every > 0 && c.count.Add(1)%c.every == 0 {
		c.Flush()
	}
	return nil
}

// flush returns when everything has been handed to a worker. FlushBlocking alone hangs when there is nothing to send or no
// worker is free: so there is always something to send, and it is asked until it succeeds.
func (c launchdarklyClient) flush(ctx context.Context) error {
	for ctx.Err() == nil {
		c.RecordIdentifyEvent(ldevents.IdentifyEventData{
			BaseEvent: ldevents.BaseEvent{CreationDate: ldtime.UnixMillisNow(), Context: ldevents.Context(ldcontext.New("flush"))},
		})
		if c.FlushBlocking(20 * time.Millisecond) {
			return nil
		}
	}
	return ctx.Err()
}

// close flushes first: Close gives up what no worker is free for. It waits for the workers.
func (c launchdarklyClient) close(ctx context.Context) error {
	if err := c.flush(ctx); err != nil {
		return err
	}
	return c.Close()
}

func decodeLaunchDarkly(body []byte, emit func(*event)) error {
	return parseJSON(body, func(v *fastjson.Value) {
		for _, item := range v.GetArray() {
			if string(item.GetStringBytes("kind")) != "custom" { // an index event: a context seen for the first time
				continue
			}
			e := eventOf(item.Get("data"))
			e.session = item.GetStringBytes("context", "key")
			emit(&e)
		}
	})
}

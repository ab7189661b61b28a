package main

import (
	"context"
	"errors"
	"log/slog"
	"os"

	"github.com/openalign/align"
	"google.golang.org/protobuf/encoding/protowire"
)

var alignPeer = &peer{
	name:       "align",
	compresses: true,
	defaults:   "defaults, with OverflowBlock: a full buffer makes the caller wait",
	tuned:      "batches of 500, 4 senders, OverflowBlock; 32 senders behind a slow network",
	open:       openAlign,
	route:      "/ingestion.v1alpha.IngestionService/CollectEvents",
	answer:     answer{200, "application/proto", ""},
	decode:     decodeAlign,
}

type alignClient struct {
	*align.Client
	spool string // directory to remove in the end
}

func openAlign(s setup) (client, error) {
	cfg := align.Config{
		ProjectID: "bench", APIKey: "bench", Host: s.URL,
		// The default, OverflowReject, is for apps that would rather lose an event than wait. Here all must arrive.
		Overflow:    align.OverflowBlock,
		Compression: align.CompressionNone, // what the default comes to on loopback
		Logger:      slog.New(slog.DiscardHandler),
	}
	if s.Gzip {
		cfg.Compression = align.CompressionGzip
	}
	if s.Tuned {
		cfg.BatchEvents = 500 // the default, as it happens
		cfg.Senders = 4
		if s.Delay {
			cfg.Senders = 32 // 500 events every 20 ms from each sender would be 25,000 events/s
		}
	}
	if s.Spool {
		dir, err := os.MkdirTemp("", "align-bench-")
		if err != nil {
			return nil, err
		}
		cfg.SpoolDir = dir
	}
	c, err := align.New(cfg)
	return alignClient{c, cfg.SpoolDir}, err
}

func (c alignClient) record(m *message) error {
	return c.CreateMessage(context.Background(), align.Message{
		SessionID: m.session,
		Index:     m.index,
		Role:      align.Role(m.role),
		Content:   m.content,
		Properties: align.Properties{
			"model":   m.model,
			"channel": m.channel,
			"variant": m.variant,
		},
	})
}

func (c alignClient) flush(ctx context.Context) error { return c.Flush(ctx) }

func (c alignClient) close(ctx context.Context) error {
	err := c.Close(ctx)
	if c.spool != "" {
		err = errors.Join(err, os.RemoveAll(c.spool))
	}
	return err
}

var roleBytes = [][]byte{[]byte("user"), []byte("assistant")}

// decodeAlign walks ingestion.v1alpha.CollectEventsRequest; field numbers are those of proto/ingestion/v1alpha.
func decodeAlign(body []byte, emit func(*event)) error {
	return fields(body, func(n protowire.Number, _ uint64, request []byte) error {
		if n != 2 { // events
			return nil
		}
		var e event
		err := fields(request, func(n protowire.Number, _ uint64, ev []byte) error {
			if n != 4 { // properties
				return nil
			}
			return fields(ev, func(n protowire.Number, _ uint64, p []byte) error {
				switch n {
				case 2: // message_properties
					return fields(p, func(n protowire.Number, v uint64, b []byte) error {
						switch n {
						case 1:
							e.session = b
						case 3:
							e.index = int(v)
						case 4:
							e.role = roleBytes[(v-1)&1]
						case 5:
							e.content = b
						}
						return nil
					})
				case 10: // custom_properties
					return decodeAlignProperty(p, &e)
				}
				return nil
			})
		})
		emit(&e)
		return err
	})
}

func decodeAlignProperty(entry []byte, e *event) error {
	var key, value []byte
	err := fields(entry, func(n protowire.Number, _ uint64, b []byte) error {
		if n == 1 {
			key = b
			return nil
		}
		return fields(b, func(_ protowire.Number, _ uint64, text []byte) error { value = text; return nil })
	})
	e.set(string(key), value)
	return err
}

package main

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"google.golang.org/protobuf/encoding/protowire"
)

var otelPeer = &peer{
	name:       "otel",
	module:     "go.opentelemetry.io/otel/sdk/log",
	serial:     true,
	compresses: true,
	defaults:   "defaults: batches of 512 from a queue of 2048 that drops the oldest when full, without a word to the caller",
	tuned:      "batches of 500 from a queue of 20,000, exported every 100 ms, the caller flushes every 10,000 events",
	open:       openOTel,
	route:      "/v1/logs",
	answer:     answer{200, "application/x-protobuf", ""},
	decode:     decodeOTel,
}

type otelClient struct {
	provider *sdklog.LoggerProvider
	logger   log.Logger
}

func openOTel(s setup) (client, error) {
	compression := otlploghttp.NoCompression
	if s.Gzip {
		compression = otlploghttp.GzipCompression
	}
	exporter, err := otlploghttp.New(context.Background(),
		otlploghttp.WithEndpointURL(s.URL+"/v1/logs"),
		otlploghttp.WithCompression(compression),
		// The exporter's own client cannot be kept from leaving the machine; this one is set up the same.
		otlploghttp.WithHTTPClient(&http.Client{Transport: localTransport(0), Timeout: 10 * time.Second}))
	if err != nil {
		return nil, err
	}
	var options []sdklog.BatchProcessorOption
	if s.Tuned {
		options = append(options,
			sdklog.WithExportMaxBatchSize(500),
			sdklog.WithExportInterval(100*time.Millisecond),
			sdklog.WithMaxQueueSize(20_000))
	}
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter, options...)))
	c := otelClient{provider, provider.Logger("bench")}
	if s.Tuned {
		// A queue as large as the load would lose nothing either, but costs a gigabyte and twice the CPU.
		return &windowed{flusher: c, size: 10_000}, nil
	}
	return c, nil
}

// record never blocks and never fails.
func (c otelClient) record(m *message) error {
	var r log.Record
	r.SetTimestamp(time.Now())
	r.SetEventName("message")
	r.SetBody(attribute.StringValue(m.content))
	r.AddAttributes(
		attribute.String("session", m.session),
		attribute.Int("index", m.index),
		attribute.String("role", m.role),
		attribute.String("model", m.model),
		attribute.String("channel", m.channel),
		attribute.String("variant", m.variant),
	)
	c.logger.Emit(context.Background(), r)
	return nil
}

func (c otelClient) flush(ctx context.Context) error { return c.provider.ForceFlush(ctx) }
func (c otelClient) close(ctx context.Context) error { return c.provider.Shutdown(ctx) }

// decodeOTel walks opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest.
func decodeOTel(body []byte, emit func(*event)) error {
	return fields(body, func(_ protowire.Number, _ uint64, resource []byte) error { // resource_logs
		return fields(resource, func(n protowire.Number, _ uint64, scope []byte) error {
			if n != 2 { // scope_logs
				return nil
			}
			return fields(scope, func(n protowire.Number, _ uint64, record []byte) error {
				if n != 2 { // log_records
					return nil
				}
				return decodeLogRecord(record, emit)
			})
		})
	})
}

func decodeLogRecord(record []byte, emit func(*event)) error {
	var e event
	err := fields(record, func(n protowire.Number, _ uint64, b []byte) error {
		switch n {
		case 5: // body
			return fields(b, func(_ protowire.Number, _ uint64, text []byte) error { e.content = text; return nil })
		case 6: // attributes
			var key, text []byte
			var number uint64
			err := fields(b, func(n protowire.Number, _ uint64, b []byte) error {
				if n == 1 {
					key = b
					return nil
				}
				return fields(b, func(_ protowire.Number, v uint64, b []byte) error { number, text = v, b; return nil })
			})
			if string(key) == "index" {
				e.index = int(number)
			} else {
				e.set(string(key), text)
			}
			return err
		}
		return nil
	})
	emit(&e)
	return err
}

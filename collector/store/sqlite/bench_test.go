package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const benchBatch = 50 // events of one request

// benchFacts is one request: two sessions of which one is opened, with 240 bytes a message.
func benchFacts(n int) []collector.Fact {
	const text = "Where is my order? I have waited for it since Monday, and the tracking page has not moved at all. " +
		"Could you please look at it, and tell me when it comes? It was a present, and I would rather not come with empty hands on Sunday."
	now := time.Unix(1_790_000_000, 0).Add(time.Duration(n) * time.Millisecond)
	facts := make([]collector.Fact, benchBatch)
	for i := range facts {
		e := &ingestionv1alpha.Event{
			Id:         fmt.Sprintf("%012x7000%08x%08x", now.UnixMilli(), n*2654435761&0xffffffff, i),
			CreateTime: timestamppb.New(now),
		}
		session := fmt.Sprintf("session-%d-%d", n, i%2)
		switch i {
		case 0:
			e.Type = collector.TypeSessionOpen
			e.Properties = &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
				SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{
					SessionId: session, UserId: fmt.Sprintf("user-%d", n%1000), AssistantId: "support"}}}
		default:
			e.Type = collector.TypeMessageCreate
			e.Properties = &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
				MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{
					SessionId: session, MessageIndexHint: int32(i + 1), MessageRole: 1, MessageContent: text}}}
		}
		facts[i] = collector.Fact{ID: e.Id, Event: e, Time: now, ReceiveTime: now}
	}
	return facts
}

// BenchmarkAppend stores requests of 50 events from 64 clients: facts and all views, every request durable.
func BenchmarkAppend(b *testing.B) {
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "align.db"))
	if err != nil {
		b.Fatal(err)
	}
	batches := make(chan []collector.Fact, 64)
	go func() {
		for n := range b.N {
			batches <- benchFacts(n)
		}
		close(batches)
	}()
	b.ReportAllocs()
	b.ResetTimer()
	var clients sync.WaitGroup
	for range 64 {
		clients.Go(func() {
			for facts := range batches {
				if _, err := s.Append(context.Background(), "shop", collector.Batch{Facts: facts}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	clients.Wait()
	b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "events/s")
	b.StopTimer()
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkInsertFacts is what [BenchmarkAppend] is measured against: one loop that inserts the rows of the same facts,
// and nothing else, in transactions of 500 or 5000.
func BenchmarkInsertFacts(b *testing.B) {
	for _, size := range []int{500, 5000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			w, err := newWriter(b.Context(), filepath.Join(b.TempDir(), "align.db"))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; {
				tx, err := w.conn.BeginTx(context.Background(), nil)
				if err != nil {
					b.Fatal(err)
				}
				for range min(size/benchBatch, b.N-n) {
					rows, _, err := encode(benchFacts(n))
					if err != nil {
						b.Fatal(err)
					}
					for _, r := range rows {
						if _, err := exec(w.facts.one, "shop", r.id, r.kind, r.time, r.receive, r.event, int(r.clock)); err != nil {
							b.Fatal(err)
						}
					}
					n++
				}
				if err := tx.Commit(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*benchBatch)/b.Elapsed().Seconds(), "events/s")
			b.StopTimer()
			if err := w.close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

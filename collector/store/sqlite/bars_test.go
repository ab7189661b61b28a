package sqlite

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/openalign/align/collector"
)

// How large the benchmarks of this file get. The defaults are for CI, which runs each benchmark once to see that it works;
// the tables in CONTRIBUTING.md were made with
//
//	go test ./store/sqlite -run '^$' -bench 'BareLoop|Reads' -benchtime 1x -events 200000 -messages 10000000 -timeout 1h
var (
	benchEvents   = flag.Int("events", 10_000, "events of BenchmarkIngestAgainstBareLoop")
	benchMessages = flag.Int("messages", 10_000, "most messages of BenchmarkReadsAsTheFileGrows")
)

const benchClients = 64

// BenchmarkIngestAgainstBareLoop stores the same events twice in one run, by turns so that both see the same machine: as
// requests of 50 events from 64 clients, and in a bare loop that inserts their rows in transactions of 500 and keeps no
// views. It reports
//
//	events/s   of the store
//	%bare      that, in percent of the bare loop's rows/s
//	p99/p99    the 99th percentile of answers, over that of the bare loop's commits
//	idle/bare  one request on an idle store, over one bare commit of the same rows (medians)
func BenchmarkIngestAgainstBareLoop(b *testing.B) {
	const turns = 5
	for range b.N {
		s, err := Open(b.Context(), filepath.Join(b.TempDir(), "align.db"))
		if err != nil {
			b.Fatal(err)
		}
		bare, err := newWriter(b.Context(), filepath.Join(b.TempDir(), "bare.db"))
		if err != nil {
			b.Fatal(err)
		}
		requests := max(*benchEvents/benchBatch/turns, benchClients)
		var stored, inserted time.Duration
		var answers, commits []time.Duration
		for turn := range turns {
			batches := make([][]collector.Fact, requests)
			for i := range batches {
				batches[i] = benchFacts(turn*requests + i)
			}
			took, each := appendAll(b, s, batches)
			stored, answers = stored+took, append(answers, each...)
			if err := s.DigestAll(b.Context()); err != nil { // or the bare loop shares the machine with what is left to do
				b.Fatal(err)
			}
			took, each = insertAll(b, bare, batches, 500)
			inserted, commits = inserted+took, append(commits, each...)
		}
		var idle, single []time.Duration
		for i := range 100 {
			batch := [][]collector.Fact{benchFacts(turns*requests + i)}
			_, each := appendAll(b, s, batch)
			idle = append(idle, each...)
			_, each = insertAll(b, bare, batch, benchBatch)
			single = append(single, each...)
		}
		b.ReportMetric(float64(turns*requests*benchBatch)/stored.Seconds(), "events/s")
		b.ReportMetric(100*inserted.Seconds()/stored.Seconds(), "%bare")
		b.ReportMetric(quantile(answers, .99).Seconds()/quantile(commits, .99).Seconds(), "p99/p99")
		b.ReportMetric(quantile(idle, .5).Seconds()/quantile(single, .5).Seconds(), "idle/bare")
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		if err := bare.close(); err != nil {
			b.Fatal(err)
		}
	}
}

// appendAll stores batches from many clients, and returns how long that took in all and for each.
func appendAll(b *testing.B, s *Store, batches [][]collector.Fact) (took time.Duration, each []time.Duration) {
	work := make(chan int, len(batches))
	for i := range batches {
		work <- i
	}
	close(work)
	each = make([]time.Duration, len(batches))
	var clients sync.WaitGroup
	start := time.Now()
	for range min(benchClients, len(batches)) {
		clients.Go(func() {
			for i := range work {
				from := time.Now()
				if _, err := s.Append(context.Background(), "shop", collector.Batch{Facts: batches[i]}); err != nil {
					b.Error(err)
				}
				each[i] = time.Since(from)
			}
		})
	}
	clients.Wait()
	return time.Since(start), each
}

// insertAll is the bare loop.
func insertAll(b *testing.B, w *writer, batches [][]collector.Fact, size int) (took time.Duration, commits []time.Duration) {
	start := time.Now()
	for len(batches) > 0 {
		n := min(size/benchBatch, len(batches))
		from := time.Now()
		tx, err := w.conn.BeginTx(context.Background(), nil)
		if err != nil {
			b.Fatal(err)
		}
		for _, facts := range batches[:n] {
			rows, _, err := encode(facts)
			if err != nil {
				b.Fatal(err)
			}
			for _, r := range rows {
				if _, err := exec(w.facts.one, "shop", r.id, r.kind, r.time, r.receive, r.event, int(r.clock)); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := tx.Commit(); err != nil {
			b.Fatal(err)
		}
		commits = append(commits, time.Since(from))
		batches = batches[n:]
	}
	return time.Since(start), commits
}

func quantile(d []time.Duration, q float64) time.Duration {
	slices.Sort(d)
	return d[int(q*float64(len(d)-1))]
}

// BenchmarkReadsAsTheFileGrows reads from a file of 100 thousand messages, then of ten times as many, and so on: what is
// asked for must cost the same. It reports medians:
//
//	newest50-µs   a page of the 50 newest conversations
//	session-µs    the messages of one conversation
//	session/bare  that, over a bare indexed read of the same rows
func BenchmarkReadsAsTheFileGrows(b *testing.B) {
	for range b.N {
		file := filepath.Join(b.TempDir(), "align.db")
		s, err := Open(b.Context(), file)
		if err != nil {
			b.Fatal(err)
		}
		messages, requests := 0, 0
		for want := min(100_000, *benchMessages); want <= *benchMessages; want *= 10 {
			for messages < want {
				batches := make([][]collector.Fact, min(500, (want-messages)/(benchBatch-1)+1))
				for i := range batches {
					batches[i] = benchFacts(requests + i)
				}
				appendAll(b, s, batches)
				requests, messages = requests+len(batches), messages+len(batches)*(benchBatch-1)
			}
			name := fmt.Sprintf("@%d", want)
			b.ReportMetric(micros(b, func(int) error {
				list, _, err := s.Conversations(b.Context(), "shop", collector.Page{Size: 50})
				if err == nil && len(list) != 50 {
					err = fmt.Errorf("%d conversations", len(list))
				}
				return err
			}), "newest50-µs"+name)
			session := func(i int) string { return fmt.Sprintf("session-%d-1", i*7919%requests) }
			readOne := func(i int) error {
				list, _, err := s.Messages(b.Context(), "shop", session(i), collector.Page{})
				if err == nil && len(list) != benchBatch/2 {
					err = fmt.Errorf("%d messages", len(list))
				}
				return err
			}
			bare, err := s.read.db.PrepareContext(b.Context(), `SELECT idx, role, content, time FROM messages WHERE project = ? AND session_id = ? ORDER BY idx`)
			if err != nil {
				b.Fatal(err)
			}
			readBare := func(i int) error {
				rows, err := bare.QueryContext(b.Context(), "shop", session(i))
				if err != nil {
					return err
				}
				for rows.Next() {
					var (
						index, at     int64
						role, content string
					)
					if err := rows.Scan(&index, &role, &content, &at); err != nil {
						return err
					}
				}
				return closeRows(rows)
			}
			micros(b, readOne) // the first to ask waits for the disk
			read, base := micros(b, readOne), micros(b, readBare)
			if err := bare.Close(); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(read, "session-µs"+name)
			b.ReportMetric(read/base, "session/bare"+name)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// micros returns the median of many calls, in microseconds.
func micros(b *testing.B, call func(i int) error) float64 {
	each := make([]time.Duration, 200)
	for i := range each {
		from := time.Now()
		if err := call(i); err != nil {
			b.Fatal(err)
		}
		each[i] = time.Since(from)
	}
	return float64(quantile(each, .5).Nanoseconds()) / 1e3
}

package main

import (
	"flag"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/store/sqlite"
)

// restartFacts is how many facts a collector restarts with. CONTRIBUTING.md has the figure for a million.
var restartFacts = flag.Int("facts", 5_000, "facts of BenchmarkRestartAfterKill")

// BenchmarkRestartAfterKill kills the collector without warning, and reports how long it takes from its start until it says
// that it is ready, with all there is in its log still to be taken in.
func BenchmarkRestartAfterKill(b *testing.B) {
	data := b.TempDir()
	fill(b, filepath.Join(data, "align.db"), *restartFacts)
	for range b.N {
		b.StopTimer()
		p := startServe(b, data)
		l := newLoad(p.url, createKey(b, data), 0, killClients, 1000)
		l.waitForSome(b)
		if err := p.Process.Kill(); err != nil {
			b.Fatal(err)
		}
		_ = p.Wait()
		l.end()
		b.StartTimer()
		start := time.Now()
		p = startServe(b, data) // which asks /readyz
		b.ReportMetric(time.Since(start).Seconds()*1e3, "ms/restart")
		b.StopTimer()
		_ = p.Process.Kill()
		_ = p.Wait()
		b.StartTimer()
	}
}

// fill stores so many facts, 20 messages a session.
func fill(b *testing.B, file string, facts int) {
	b.Helper()
	store, err := sqlite.Open(b.Context(), file)
	if err != nil {
		b.Fatal(err)
	}
	for n := 0; n < facts; {
		var batch collector.Batch
		for range 5000 {
			event := messageEvent(fmt.Sprint("session-", n/20), 1+n%20)
			batch.Facts = append(batch.Facts, collector.Fact{ID: event.Id, Event: event, Time: event.CreateTime.AsTime(), ReceiveTime: time.Now()})
			n++
		}
		if _, err := store.Append(b.Context(), "shop", batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		b.Fatal(err)
	}
}

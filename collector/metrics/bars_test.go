//go:build unix

package metrics

import (
	"context"
	"flag"
	"syscall"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/worlds"
)

// benchMessages is how large the benchmark's project is.
var benchMessages = flag.Int("messages", 20_000, "messages of the month that is measured")

// BenchmarkMonth computes metrics of a month. Beside the time it took, which depends on who else is on the machine, it
// reports the time of processors; where there are two or more, half of that is what it takes alone.
func BenchmarkMonth(b *testing.B) {
	s := newStore(b)
	messages := 0
	for seed := uint64(1); messages < *benchMessages; seed++ {
		err := worlds.Append(seed, 5000, func(batch collector.Batch) error {
			for _, f := range batch.Facts {
				messages += int(truth(f.Event.GetType() == collector.TypeMessageCreate))
			}
			_, err := s.Append(context.Background(), "shop", batch)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	start := time.Now()
	if err := s.DigestAll(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("the digests took %s more", time.Since(start))
	e := &Engine{Store: s, now: onDay(60)}
	for name, q := range map[string]Query{
		"all metrics":            {Scope: Scope{From: onDay(-1), To: onDay(40)}},
		"without users":          {Scope: Scope{From: onDay(-1), To: onDay(40)}, Names: []string{"bot_handled_rate", "thumbs_up_rate", "response_latency", "abandonment_rate"}},
		"all by assistant":       {Scope: Scope{From: onDay(-1), To: onDay(40)}, GroupBy: "assistant"},
		"deflection by end, day": {Scope: Scope{From: onDay(-1), To: onDay(40), ByEnd: true}, Names: []string{"deflection_rate"}, GroupBy: "day"},
	} {
		b.Run(name, func(b *testing.B) {
			before := cpu(b)
			for b.Loop() {
				if _, err := e.Get(b.Context(), "shop", q); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
			b.ReportMetric(float64(messages), "messages")
		})
	}
}

// cpu is the time of processors that the process has had.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package dashboard_test

import (
	"flag"
	"fmt"
	"net/http"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/dashboard"
)

// benchMessages is how large the benchmark gets; CI only looks whether it works.
var benchMessages = flag.Int("messages", 10_000, "messages of BenchmarkOverview")

// BenchmarkOverview renders the overview of 30 days that hold so many messages, in conversations of ten, over HTTP, and beside
// it a page that reads nothing but who is signed in. It reports
//
//	ms        for the overview
//	ms-404    for the other page
//	bytes     of the overview
func BenchmarkOverview(b *testing.B) {
	w := newWorld(b, dashboard.Options{})
	now := time.Now().Add(-time.Hour)
	conversations := *benchMessages / 10
	for n := range conversations {
		session, user := fmt.Sprintf("c%07d", n), fmt.Sprintf("u%d", n%5000)
		at := now.Add(-30 * 24 * time.Hour * time.Duration(n) / time.Duration(conversations)).Add(time.Hour)
		w.opened(session, user, "", at)
		for i := range int32(10) {
			at = at.Add(10 * time.Second)
			m := w.said(session, i+1, []string{"user", "assistant"}[i%2], "Where is my order, and when will it be here?", at)
			if i%2 == 1 {
				m.Latency, m.Success = durationpb.New(time.Duration(200+n*7919%4000)*time.Millisecond), new(true)
			}
		}
		if n%5 == 0 {
			w.voted(session, 2, user, []string{"thumbs_up", "thumbs_down"}[n%2], "", at)
		}
		if len(w.facts) > 5000 {
			w.append(b)
		}
	}
	w.append(b)
	if err := w.store.DigestAll(b.Context()); err != nil { // words are not looked for
		b.Fatal(err)
	}
	client := w.browser().signIn(w.key(collector.ScopeRead))
	timed := func(path string, want int) (took time.Duration, size int) {
		b.Helper()
		start := time.Now()
		status, body := client.get(path)
		if status != want {
			b.Fatalf("%s: %d", path, status)
		}
		return time.Since(start), len(body)
	}
	for b.Loop() {
		took, size := timed("/dashboard/", http.StatusOK)
		b.ReportMetric(float64(took.Microseconds())/1000, "ms")
		b.ReportMetric(float64(size), "bytes")
		took, _ = timed("/dashboard/nothing", http.StatusNotFound)
		b.ReportMetric(float64(took.Microseconds())/1000, "ms-404")
	}
}

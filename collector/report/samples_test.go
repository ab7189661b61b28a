package report

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/internal/worlds"
	"github.com/openalign/align/collector/metrics"
	"github.com/openalign/align/collector/store/sqlite"
)

// The percentiles that are judged are those that are shown: the samples are the ones that metrics count.
func TestLatenciesAreJudgedByWhatMetricsCount(t *testing.T) {
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "align.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	err = worlds.Append(8, 900, func(b collector.Batch) error {
		_, err := store.Append(context.Background(), "shop", b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.DigestAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	m := &maker{engine: &metrics.Engine{Store: store}, store: store, opts: Options{Project: "shop", Worst: DefaultWorst}}
	m.now.scope = metrics.Scope{From: worlds.Start.AddDate(0, 0, 20), To: worlds.Start.AddDate(0, 0, 40)}
	m.then.scope = metrics.Scope{From: worlds.Start, To: worlds.Start.AddDate(0, 0, 20)}
	for _, part := range []func(context.Context) error{m.numbers, m.digests} {
		if err := part(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if m.seen.testMode == 0 || m.seen.nameless == 0 || m.seen.against == 0 {
		t.Fatalf("a world without what this is about: %+v", m.seen)
	}
	for _, p := range []*period{&m.now, &m.then} {
		spread := p.period.Values[figures.Latency].Distribution
		if spread.N == 0 || len(p.samples) != spread.N {
			t.Fatalf("%d samples, metrics have %d", len(p.samples), spread.N)
		}
		for percent, want := range map[int]*float64{50: spread.P50, 95: spread.P95} {
			if got, low, high, ok := rankInterval(percent, p.samples); !ok || got != *want || low > got || high < got {
				t.Errorf("p%d is %v (%v to %v, %v), metrics say %v", percent, got, low, high, ok, *want)
			}
		}
	}
}

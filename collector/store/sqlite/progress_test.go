package sqlite

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/worlds"
)

func TestLongWorkTellsHowFarItHasCome(t *testing.T) {
	dir := t.TempDir()
	s := openTest(t, filepath.Join(dir, "align.db"))
	facts := 0
	err := worlds.Append(3, 500, func(b collector.Batch) error {
		facts += len(b.Facts)
		_, err := s.Append(t.Context(), "shop", b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if facts < 2*toldEvery {
		t.Fatalf("%d facts are too few for this", facts)
	}
	const nothing = -1
	for name, c := range map[string]struct {
		do    func(told func(done, total int64)) error
		total int64 // 0 is any
		times int   // that it is told, at least
	}{
		"replay": {func(told func(done, total int64)) error {
			_, err := s.Replay(collector.WithProgress(t.Context(), told))
			return err
		}, int64(facts), 3},
		"erase": {func(told func(done, total int64)) error {
			_, err := s.Erase(collector.WithProgress(t.Context(), told), "shop", "nobody", "test")
			return err
		}, int64(facts), 3},
		"erase in a project without facts": {func(told func(done, total int64)) error {
			_, err := s.Erase(collector.WithProgress(t.Context(), told), "other", "nobody", "test")
			return err
		}, nothing, 1},
		"backup": {func(told func(done, total int64)) error {
			return s.Backup(collector.WithProgress(t.Context(), told), filepath.Join(dir, "copy.db"))
		}, 0, 1},
	} {
		var dones, totals []int64
		if err := c.do(func(done, total int64) { dones, totals = append(dones, done), append(totals, total) }); err != nil {
			t.Fatal(err)
		}
		if len(dones) < c.times || !slices.IsSorted(dones) {
			t.Errorf("%s: told %v", name, dones)
			continue
		}
		last, total := dones[len(dones)-1], totals[0]
		if c.total > 0 && total != c.total || c.total == nothing && total != 0 || c.total == 0 && total < 100_000 || len(slices.Compact(totals)) != 1 {
			t.Errorf("%s: of %v, want %d", name, totals, c.total)
		}
		if last > total || last < total*9/10 {
			t.Errorf("%s: ends at %d of %d", name, last, total)
		}
	}
}

package collector_test

import (
	"slices"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// Places are greater than any index, and in order of time, then turn, then part, at the ends of time too.
func TestPlacesAreInOrder(t *testing.T) {
	type place = ingestionv1alpha.EventProperties_MessageProperties_Place
	noon := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	at := func(d time.Duration, turn string, part int32) int64 {
		return collector.Place(&place{Turn: turn, Part: part}, noon.Add(d))
	}
	ascending := []int64{
		at(-50*365*24*time.Hour, "a", 0),
		at(0, "a", 0), at(0, "a", 1), at(0, "a", 255), at(0, "a", 256),
		at(2*time.Millisecond, "a", 0), at(2*time.Millisecond, "a", 1000),
		at(time.Hour, "b", 0),
		at(80*365*24*time.Hour, "b", 0),
	}
	if !slices.IsSorted(ascending) || len(slices.Compact(slices.Clone(ascending))) != len(ascending) {
		t.Errorf("not ascending: %d", ascending)
	}
	if got := collector.Place(&place{Part: -7}, time.Time{}); got < collector.FirstPlace {
		t.Errorf("place %d is an index", got)
	}
	if far := collector.Place(&place{Part: 1<<31 - 1}, time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)); far < collector.FirstPlace {
		t.Errorf("place %d in the far future", far)
	}
	// The messages of a turn stand together, whichever other turn has the same time.
	turns := []int64{at(0, "a", 0), at(0, "b", 0), at(0, "a", 1), at(0, "b", 1), at(0, "a", 2), at(0, "b", 2)}
	byTurn := slices.Clone(turns)
	slices.Sort(byTurn)
	if !slices.Contains([]int64{turns[4], turns[5]}, byTurn[2]) {
		t.Errorf("turns are mixed: %d", byTurn)
	}
}

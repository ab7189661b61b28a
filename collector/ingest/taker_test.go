package ingest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/openalign/align/collector/ingest"
)

// Ids of events whose clients give none: the same for the same words, a UUID, in order of time.
func TestEventIDSaysTheSameForTheSame(t *testing.T) {
	noon := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	id := ingest.EventID(noon, "a", "b")
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != 32 || parsed.Version() != 8 || parsed.Variant() != uuid.RFC4122 {
		t.Errorf("%s: %v, version %d", id, err, parsed.Version())
	}
	if again := ingest.EventID(noon, "a", "b"); again != id {
		t.Errorf("%s and %s for the same", id, again)
	}
	for _, other := range []string{ingest.EventID(noon, "ab"), ingest.EventID(noon, "a", "b", ""), ingest.EventID(noon, "b", "a"), ingest.EventID(time.Time{}, "a", "b")} {
		if other == id {
			t.Errorf("%s for something else", other)
		}
	}
	if later := ingest.EventID(noon.Add(time.Millisecond), "a", "b"); strings.Compare(later, id) <= 0 {
		t.Errorf("%s is later than %s and not after it", later, id)
	}
	if before := ingest.EventID(time.Unix(-1e9, 0), "a"); len(before) != 32 {
		t.Errorf("%s before 1970", before)
	}
}

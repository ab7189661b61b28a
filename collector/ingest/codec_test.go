package ingest

import (
	"slices"
	"testing"

	"github.com/openalign/align/collector"
)

// It needs the inside: Connect uses a body's memory again when it pleases.
func TestNothingTakenSharesMemoryWithTheBody(t *testing.T) {
	const request = `{"events":[{"id":"bad"},{"id":"e1","type":"session_close","properties":{"sessionProperties":{"sessionId":"s1"}}}]}`
	body := []byte(request)
	var in intake
	if err := (codec{name: "json", split: splitJSON, decode: decodeJSON}).Unmarshal(body, &in); err != nil {
		t.Fatal(err)
	}
	copy(body, slices.Repeat([]byte{'x'}, len(body)))
	aside, fact := in.batch.SetAside[0], in.batch.Facts[0]
	if string(aside.Raw) != `{"id":"bad"}` || aside.EventID != "bad" || fact.ID != "e1" || fact.Event.GetType() != collector.TypeSessionClose {
		t.Errorf("set aside %s, %q; fact %v", aside.EventID, aside.Raw, fact.Event)
	}
}

func TestRoomIsGivenBack(t *testing.T) {
	r := newRoom()
	for _, keep := range []int64{0, 5, 15, 30} {
		s, err := r.take(t.Context(), 10)
		if err == nil {
			err = s.takeLarge(t.Context(), 20)
		}
		if err != nil {
			t.Fatal(err)
		}
		s.keep(keep)
		if s.small+s.large != keep {
			t.Errorf("kept %d and %d, want %d", s.small, s.large, keep)
		}
		s.keep(0)
		s.keep(0)
	}
	if !r.small.TryAcquire(smallRoom) || !r.large.TryAcquire(largeRoom) {
		t.Error("not all of it came back")
	}
}

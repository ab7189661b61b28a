package align

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// bufferModel is a buffer as simple as it can be: slices of events, copied about.
type bufferModel struct {
	waiting, flying           []modelEvent
	accepted, delivered, full uint64
	dropped                   uint64
}

type modelEvent struct {
	name string
	size int
}

func (m *bufferModel) totals() (events, bytes int) {
	for _, e := range slices.Concat(m.flying, m.waiting) {
		events++
		bytes += e.size
	}
	return events, bytes
}

// FuzzBuffer plays operations on a buffer and on its model: what comes out must be the same events in the same order,
// and the counts must agree, with small limits, so that everything overflows all the time.
func FuzzBuffer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 2, 0, 0, 1, 3, 1, 2}, uint8(0))
	f.Add(bytes.Repeat([]byte{0x10, 0x90, 1, 0xf0, 3, 1, 2, 0x20, 0, 1, 4}, 10), uint8(2))
	f.Add(bytes.Repeat([]byte{0xf8, 0xf0, 0xe0}, 40), uint8(2))
	f.Fuzz(func(t *testing.T, ops []byte, overflow uint8) {
		policy := OverflowReject
		if overflow%2 == 1 {
			policy = OverflowDropOldest
		}
		cfg := Config{BufferEvents: 20, BufferBytes: 300_000, BatchEvents: 6, BatchBytes: 100_000, Senders: 1, Overflow: policy}
		b, m := newBuffer(&cfg), &bufferModel{}
		now := time.Unix(0, 0)
		for n, op := range ops {
			now = now.Add(time.Second)
			switch op & 7 {
			default: // push; the high bits choose a size from tiny to larger than a segment
				e := modelEvent{name: fmt.Sprint("event", n)}
				entry := modelEntry(e.name, int(op>>3)*int(op>>3)*120)
				e.size = len(entry)
				_, err := b.push(bg, 0, entry, now, nil)
				for policy == OverflowDropOldest && len(m.waiting) > 0 && !m.fits(e, &cfg) {
					m.waiting = m.waiting[1:]
					m.dropped++
				}
				if fits := m.fits(e, &cfg); fits != (err == nil) {
					t.Fatalf("op %d: %v, the model says fits: %v", n, err, fits)
				} else if fits {
					m.waiting = append(m.waiting, e)
					m.accepted++
				} else {
					m.full++
				}
			case 1: // cut
				if len(m.flying) > 0 || len(m.waiting) == 0 {
					continue
				}
				limit := int(op>>3) + 1
				got := b.cut(0, limit, "id")
				size := 0
				for len(m.waiting) > 0 && len(m.flying) < min(limit, cfg.BatchEvents) && (len(m.flying) == 0 || size+m.waiting[0].size <= cfg.BatchBytes) {
					size += m.waiting[0].size
					m.flying = append(m.flying, m.waiting[0])
					m.waiting = m.waiting[1:]
				}
				checkBatch(t, got, m.flying)
			case 2: // delivered
				if len(m.flying) > 0 {
					b.delivered(0)
					m.delivered += uint64(len(m.flying))
					m.flying = nil
				}
			case 3: // put back
				if len(m.flying) > 0 {
					b.putBack(0)
					m.waiting = slices.Concat(m.flying, m.waiting)
					m.flying = nil
				}
			case 4: // drop
				if len(m.flying) > 0 {
					before := b.stats().Dropped[DropRejected]
					b.drop(0, DropRejected, nil, func(got []Drop) {
						if len(got) != len(m.flying) || b.stats().Dropped[DropRejected] != before {
							t.Fatalf("op %d: told of %d drops, want %d, before any is settled", n, len(got), len(m.flying))
						}
					})
					m.dropped += uint64(len(m.flying))
					m.flying = nil
				}
			}
			if f := b.lanes[0].flying; f != nil { // still the same bytes, whatever was pushed since
				checkBatch(t, f, m.flying)
			}
			s := b.stats()
			events, size := m.totals()
			if int(s.Pending) != events || int(s.PendingBytes) != size || s.Accepted != m.accepted || s.Delivered != m.delivered || s.Full != m.full || s.dropped() != m.dropped {
				t.Fatalf("op %d: %+v, the model has %d events, %d bytes, %+v", n, s, events, size, m)
			}
		}
		b.close()
		if lost := b.abandon(); len(lost) != len(m.flying)+len(m.waiting) {
			t.Fatalf("abandoned %d, want %d", len(lost), len(m.flying)+len(m.waiting))
		}
		checkInvariant(t, b.stats())
		if s := b.stats(); s.Pending != 0 || s.PendingBytes != 0 {
			t.Fatalf("%+v", s)
		}
	})
}

func (m *bufferModel) fits(e modelEvent, cfg *Config) bool {
	events, size := m.totals()
	return events < cfg.BufferEvents && size+e.size <= cfg.BufferBytes
}

// modelEntry is an entry with an id and some filling.
func modelEntry(name string, filling int) []byte {
	b, at := beginMessage(nil, fieldEvents, 0)
	b = appendString(b, fieldEventID, name)
	b = protowire.AppendTag(b, 99, protowire.BytesType)
	b = protowire.AppendBytes(b, bytes.Repeat([]byte{name[len(name)-1]}, filling))
	return endMessage(b, at)
}

func checkBatch(t *testing.T, got *batch, want []modelEvent) {
	t.Helper()
	data := bytes.Join(got.chunks, nil)
	if got.bytes != len(data) || got.events != len(want) {
		t.Fatalf("batch of %d events and %d bytes, has %d bytes, want %d events", got.events, got.bytes, len(data), len(want))
	}
	for _, e := range want {
		if len(data) == 0 {
			t.Fatal("batch too short")
		}
		size := entrySize(data)
		id, _, _ := describe(data[:size])
		if id != e.name || size != e.size {
			t.Fatalf("got %s of %d bytes, want %s of %d", id, size, e.name, e.size)
		}
		data = data[size:]
	}
}

func TestSegmentsAreReused(t *testing.T) {
	cfg := Config{BufferEvents: 10_000, BufferBytes: 64 << 20, BatchEvents: 500, BatchBytes: 512 << 10, Senders: 1}
	b := newBuffer(&cfg)
	entry := modelEntry("x", 1000)
	round := func() {
		for range 500 {
			if _, err := b.push(bg, 0, entry, time.Time{}, nil); err != nil {
				t.Fatal(err)
			}
		}
		b.cut(0, 500, "id")
		b.delivered(0)
	}
	round()
	if n := testing.AllocsPerRun(20, round); n > 30 { // the batch and its lists; half a megabyte is eight segments
		t.Errorf("%v allocations for a batch", n)
	}
	if n := len(b.free); n > 9 {
		t.Errorf("%d segments kept for batches of eight", n)
	}
}

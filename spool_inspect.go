package align

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
)

// SpoolInfo is what [InspectSpool] finds in a spool.
type SpoolInfo struct {
	// Dir is the directory.
	Dir string
	// LockedBy is the process id of the client that has the directory, 0 if none has or it cannot be told.
	LockedBy int
	// Segments are the files with events, in the order they will be sent.
	Segments []SpoolSegment
	// Events counts the events that wait for delivery, EventBytes their bytes, ByType them by type.
	Events     int
	EventBytes int64
	ByType     map[EventType]int
	// Oldest and Newest are when the first and the last of them were recorded. Zero when there is none.
	Oldest, Newest time.Time
	// Corrupt counts the events that cannot be read, as far as can be told.
	Corrupt int
	// OpenSessions counts the sessions that are followed, to be closed when they go quiet.
	OpenSessions int
	// DiskBytes is the size of all files of the spool.
	DiskBytes int64
}

// SpoolSegment is one file of a spool.
type SpoolSegment struct {
	Name         string    // of the file
	Created      time.Time // when it came into use
	Lane         int       // the sender that wrote it
	Bytes        int64     // of the file
	Events       int       // waiting
	Acknowledged int       // events the collector has already
	Corrupt      int       // events that cannot be read
	process      uint32
	number       uint64
}

// InspectSpool reads a [Config.SpoolDir] and changes nothing. A client may have it meanwhile; then some of what is found
// may be delivered by the time it is returned. A spool of a format that this package does not know is an
// [ErrSpoolVersion].
func InspectSpool(dir string) (*SpoolInfo, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, &SpoolError{"open", err}
	}
	info := &SpoolInfo{Dir: dir, ByType: make(map[EventType]int)}
	if path := filepath.Join(dir, lockName); isLocked(path) {
		info.LockedBy, _ = strconv.Atoi(holder(path))
	}
	sessions := newIdleTracker(time.Now())
	var journal []SpoolSegment
	for _, e := range entries {
		if _, ok := segmentNumber(e.Name()); !ok || !e.Type().IsRegular() {
			continue
		}
		s := SpoolSegment{Name: e.Name()}
		var c segmentContent
		size, err := readSegmentFile(filepath.Join(dir, e.Name()), &c, func(i int, entry []byte) {
			if c.kind == kindEvents && i >= c.noted {
				info.add(entry)
			}
		})
		switch {
		case errors.Is(err, fs.ErrNotExist): // delivered meanwhile
			continue
		case errors.Is(err, ErrSpoolVersion):
			return nil, fmt.Errorf("align: spool: %s in %s: %w", e.Name(), dir, err)
		case err != nil && !errors.Is(err, errNoSegment) && !errors.Is(err, errBadHeader):
			return nil, &SpoolError{"open", err}
		}
		info.DiskBytes += size
		s.Bytes, s.Created, s.Lane, s.process, s.number = size, c.created, int(c.lane), c.epoch, c.number
		s.Events, s.Acknowledged, s.Corrupt = c.events-c.acked, c.acked, c.corrupt
		switch {
		case c.number != 0 && c.kind == kindSessions:
			journal = append(journal, s)
		case s.Events > 0 || s.Corrupt > 0:
			info.Segments = append(info.Segments, s)
			info.Events += s.Events
			info.EventBytes += int64(c.end - c.from)
			info.Corrupt += s.Corrupt
		}
	}
	inOrder(info.Segments)
	inOrder(journal)
	for _, s := range journal {
		var c segmentContent
		readSegmentFile(filepath.Join(dir, s.Name), &c, func(_ int, record []byte) { sessions.replay(record, time.Now()) }) // best effort
	}
	info.OpenSessions = sessions.open
	return info, nil
}

func inOrder(segments []SpoolSegment) {
	slices.SortFunc(segments, func(a, b SpoolSegment) int {
		return compareSegments(a.process, a.number, b.process, b.number)
	})
}

func (i *SpoolInfo) add(entry []byte) {
	id, kind, _ := describe(entry)
	i.ByType[kind]++
	if at := recordedAt(id); !at.IsZero() {
		if i.Oldest.IsZero() || at.Before(i.Oldest) {
			i.Oldest = at
		}
		if at.After(i.Newest) {
			i.Newest = at
		}
	}
}

// recordedAt reads the time from an event id, zero if it has none.
func recordedAt(id string) time.Time {
	b, err := hex.DecodeString(id)
	if err != nil {
		return time.Time{}
	}
	u, err := uuid.FromBytes(b)
	if err != nil || u.Version() != 7 {
		return time.Time{}
	}
	sec, nsec := u.Time().UnixTime()
	return time.Unix(sec, nsec)
}

// Entries are the events that wait for delivery, in the order they will be sent, each as it goes on the wire: an entry of
// CollectEventsRequest.events, tag and length included. It reads one file at a time. An error ends it.
func (i *SpoolInfo) Entries() iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, s := range i.Segments {
			var c segmentContent
			var entries [][]byte // of one file, whose bytes are in memory anyhow
			_, err := readSegmentFile(filepath.Join(i.Dir, s.Name), &c, func(n int, entry []byte) {
				if n >= c.noted {
					entries = append(entries, entry)
				}
			})
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoSegment) || errors.Is(err, errBadHeader) {
				continue // delivered meanwhile, or unreadable
			}
			if err != nil {
				yield(nil, &SpoolError{"open", err})
				return
			}
			if c.number != s.number || c.epoch != s.process {
				continue // delivered, and the file used again
			}
			for _, entry := range entries {
				if !yield(entry, nil) {
					return
				}
			}
		}
	}
}

// readSegmentFile reads a segment without mapping it: a client may be at work on the file.
func readSegmentFile(path string, c *segmentContent, visit func(i int, entry []byte)) (size int64, err error) {
	data, err := readWhole(path)
	if err != nil {
		return 0, err
	}
	return int64(len(data)), readSegment(data, c, visit)
}

// readWhole reads a segment file. An entry is stored before its frame, so it must be read after it: the file is read twice,
// and of the first time the frames count. If the file came into other use meanwhile it is read again.
func readWhole(path string) ([]byte, error) {
	for range 3 {
		frames, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if len(frames) != len(data) || len(data) < headerBytes+frameBytes || bytes.Equal(frames, data) {
			return data, nil
		}
		from, end := len(frames)-frameBytes, 0
		for from >= headerBytes+end+frameBytes { // up to the first frame that is none: the end of the table, or torn
			next := int64(binary.LittleEndian.Uint32(frames[from:]))
			if next <= int64(end) || next > int64(from-headerBytes) {
				break
			}
			from, end = from-frameBytes, int(next)
		}
		copy(data[from:], frames[from:])
		now, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		number := func(b []byte) string { return string(b[numberAt:min(numberAt+8, len(b))]) }
		if number(frames) == number(data) && len(now) == len(data) && number(now) == number(data) {
			return data, nil
		}
	}
	return nil, fs.ErrNotExist // delivered again and again
}

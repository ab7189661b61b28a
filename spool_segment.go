package align

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// A segment file is a header, a data region that grows up from it, and a frame table that grows down from the file's
// end. The data region holds entries back to back, the very bytes that go on the wire. Each has a frame of eight bytes:
// where it ends in the region, and a CRC-32C of the entry mixed with that end and the segment's number. An entry is stored
// first and its frame after it, so a process that dies in between leaves no entry. A frame of zeros ends the table; it is
// stored with each frame, because a file that is used again has old bytes there.
//
//	 0  magic "ALIGNSEG"            48  acknowledged u32, its complement u32
//	 8  version u32, epoch u32      64  batch: request_id [32]byte, first u32, events u32, checksum u32
//	16  number u64                 256  data region
//	24  lane u32, kind u32           …
//	32  created, Unix ns i64         …  frame table
//	40  checksum of 0 to 40 u32    end
//
// Numbers are little-endian. A segment of number zero is a spare, made ahead of its use. The number is stored last when a
// segment comes into use and first when it goes out of it, and is not part of the header's checksum: so there is no
// moment at which a process that dies leaves half a header that counts.
const (
	segmentMagic   = "ALIGNSEG"
	segmentVersion = 1
	segmentSuffix  = ".seg"
	corruptSuffix  = ".corrupt" // behind the name of a file that nothing can be read of

	headerBytes = 256
	frameBytes  = 8
	pageBytes   = 4 << 10

	numberAt   = 16
	createdEnd = 40
	ackedAt    = 48
	batchAt    = 64
	batchID    = 32 // bytes of a request_id
)

// segmentKind says what the entries of a segment are.
type segmentKind uint32

const (
	kindEvents   segmentKind = iota
	kindSessions             // records of the session journal
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the part of a frame's checksum that depends on the entry alone, so that it needs no lock.
func checksum(entry []byte) uint32 { return crc32.Update(0, castagnoli, entry) }

// newFrame is the frame of an entry that ends at end. What is left in a file from its earlier use has another number, so
// it does not pass for an entry.
func newFrame(sum uint32, end int, number uint64) uint64 {
	place := uint64(end)*0x9e3779b97f4a7c15 ^ number*0xd6e8feb86659fd93
	return uint64(sum^uint32(place>>32))<<32 | uint64(uint32(end))
}

// segmentHeader is what a segment says of itself.
type segmentHeader struct {
	epoch   uint32 // counts the processes that wrote to the directory
	number  uint64 // the order of segments within an epoch
	lane    uint32
	kind    segmentKind
	created time.Time
}

// encode writes a header without its number.
func (h *segmentHeader) encode() []byte {
	b := make([]byte, 0, headerBytes)
	b = append(b, segmentMagic...)
	b = binary.LittleEndian.AppendUint32(b, segmentVersion)
	b = binary.LittleEndian.AppendUint32(b, h.epoch)
	b = binary.LittleEndian.AppendUint64(b, 0)
	b = binary.LittleEndian.AppendUint32(b, h.lane)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.kind))
	b = binary.LittleEndian.AppendUint64(b, uint64(h.created.UnixNano()))
	b = binary.LittleEndian.AppendUint32(b, headerSum(b))
	return b[:headerBytes] // no acknowledgement, no batch
}

func headerSum(b []byte) uint32 {
	return crc32.Update(checksum(b[:numberAt]), castagnoli, b[numberAt+8:createdEnd])
}

// ackedField is how many events from the start of a segment need not be sent any more.
func ackedField(events int) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(events))
	return binary.LittleEndian.AppendUint32(b, ^uint32(events))
}

// batchRecord is the request that events of a segment went in last.
type batchRecord struct {
	id            string
	first, events int // the first of them, counted from the segment's start
}

func (r *batchRecord) encode(number uint64) []byte {
	b := make([]byte, batchID, batchID+12)
	copy(b, r.id)
	b = binary.LittleEndian.AppendUint32(b, uint32(r.first))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.events))
	return binary.LittleEndian.AppendUint32(b, newBatchSum(b, number))
}

func newBatchSum(b []byte, number uint64) uint32 {
	return uint32(newFrame(checksum(b), len(b), number) >> 32)
}

// decodeBatch returns nil when there is no intact record.
func decodeBatch(b []byte, number uint64) *batchRecord {
	body, sum := b[:batchID+8], binary.LittleEndian.Uint32(b[batchID+8:])
	if sum != newBatchSum(body, number) || body[0] == 0 {
		return nil
	}
	return &batchRecord{
		id:     string(body[:batchID]),
		first:  int(binary.LittleEndian.Uint32(body[batchID:])),
		events: int(binary.LittleEndian.Uint32(body[batchID+4:])),
	}
}

var (
	errNoSegment   = errors.New("not a segment")      // there is nothing in the file, or nothing of ours
	errBadHeader   = errors.New("its header is torn") // there is something, but what?
	errSegmentFull = errors.New("align: segment is full")
)

// versionError is a segment of a format this client does not know.
type versionError struct{ version uint32 }

func (e *versionError) Error() string {
	return fmt.Sprintf("format version %d, this client knows %d", e.version, segmentVersion)
}

func (e *versionError) Unwrap() error { return ErrSpoolVersion }

// segmentContent is what readSegment has found.
type segmentContent struct {
	segmentHeader
	batch   *batchRecord
	acked   int // of events
	noted   int // what the segment says of acked, however many events there are
	events  int // intact, from the start
	end     int // where they end in the data region
	from    int // where the first of them that is not acknowledged begins
	corrupt int // events behind those, as far as the frame table tells
}

// readSegment reads a segment from memory into c, each intact entry passed to visit, if there is one. It trusts nothing
// in there. When reading faults, c says how far it got.
func readSegment(mem []byte, c *segmentContent, visit func(i int, entry []byte)) error {
	*c = segmentContent{}
	if len(mem) < headerBytes+frameBytes {
		return errNoSegment
	}
	if string(mem[:len(segmentMagic)]) != segmentMagic {
		if c.corrupt = countFrames(mem, 0, 0); c.corrupt > 0 {
			return errBadHeader
		}
		return errNoSegment
	}
	if version := binary.LittleEndian.Uint32(mem[8:]); version != segmentVersion {
		return &versionError{version}
	}
	number := binary.LittleEndian.Uint64(mem[numberAt:])
	if number == 0 {
		return nil
	}
	if binary.LittleEndian.Uint32(mem[createdEnd:]) != headerSum(mem) {
		c.corrupt = countFrames(mem, 0, 0)
		return errBadHeader
	}
	c.segmentHeader = segmentHeader{
		epoch:   binary.LittleEndian.Uint32(mem[12:]),
		number:  number,
		lane:    binary.LittleEndian.Uint32(mem[24:]),
		kind:    segmentKind(binary.LittleEndian.Uint32(mem[28:])),
		created: time.Unix(0, int64(binary.LittleEndian.Uint64(mem[32:]))),
	}
	if n := binary.LittleEndian.Uint32(mem[ackedAt:]); binary.LittleEndian.Uint32(mem[ackedAt+4:]) == ^n {
		c.noted = int(n)
	}
	c.batch = decodeBatch(mem[batchAt:batchAt+batchID+12], c.number)
	data := mem[headerBytes:]
	for {
		at := len(mem) - frameBytes*(c.events+1)
		if at < headerBytes+c.end {
			return nil
		}
		frame := binary.LittleEndian.Uint64(mem[at:])
		if frame == 0 {
			return nil
		}
		end := int(uint32(frame))
		if end <= c.end || end > at-headerBytes || newFrame(checksum(data[c.end:end]), end, c.number) != frame ||
			c.kind == kindEvents && !isEntry(data[c.end:end]) {
			c.corrupt = countFrames(mem, c.events, c.end)
			return nil
		}
		if visit != nil {
			visit(c.events, data[c.end:end])
		}
		c.end = end
		if c.events++; c.events <= c.noted {
			c.acked, c.from = c.events, c.end
		}
	}
}

// countFrames returns how many frames there seem to be from the one of that index on, in a segment whose data reaches at
// least to end.
func countFrames(mem []byte, index, end int) (n int) {
	for at := len(mem) - frameBytes*(index+1); at >= headerBytes+end && binary.LittleEndian.Uint64(mem[at:]) != 0; at -= frameBytes {
		n++
	}
	return n
}

// isEntry reports whether b is one entry of CollectEventsRequest.events and nothing else.
func isEntry(b []byte) bool {
	number, typ, tag := protowire.ConsumeTag(b)
	if tag != 1 || number != fieldEvents || typ != protowire.BytesType {
		return false
	}
	_, n := protowire.ConsumeBytes(b[tag:])
	return tag+n == len(b)
}

// segmentFile is the file a segment lies in. The buffer's lock guards it.
type segmentFile struct {
	segmentHeader
	name     string
	bytes    int       // of the file
	events   int       // written, since the segment's start
	end      int       // of the data
	first    uint64    // the lane's sequence number of the first event
	file     spoolFile // nil while not mapped
	mem      []byte    // nil while not mapped
	shared   bool      // what is stored in mem is in the file at once
	pins     int       // uses that keep the file mapped: as a lane's tail, in flight, being synced
	dirty    bool      // there is something to sync
	suspect  bool      // reading it failed: to be checked before anything of it is sent
	surplus  bool      // to be unmapped
	tries    int       // to open it that failed in a row
	resend   *batchRecord
	storedTo int // what the header says is acknowledged
}

// capacity is the largest entry that a new segment of that many bytes takes.
func capacity(bytes int) int { return bytes - headerBytes - frameBytes }

// fileBytes is the size of a file for one entry.
func fileBytes(entry int) int {
	return (entry + headerBytes + frameBytes + pageBytes - 1) / pageBytes * pageBytes
}

// room is the largest entry that still fits.
func (f *segmentFile) room() int {
	return capacity(f.bytes) - f.end - frameBytes*f.events
}

// put stores one entry, then its frame.
func (f *segmentFile) put(entry []byte, sum uint32) error {
	if f.room() < len(entry) {
		return errSegmentFull
	}
	end := f.end + len(entry)
	frame, at := newFrame(sum, end, f.number), f.bytes-frameBytes*(f.events+1)
	next := max(at-frameBytes, headerBytes+end) // the table's end, as far as there is room for one
	if !guard(func() {
		copy(f.mem[headerBytes+f.end:], entry)
		clear(f.mem[next:at])
		binary.LittleEndian.PutUint64(f.mem[at:], frame)
	}) {
		return errFault
	}
	if !f.shared {
		if err := f.file.writeAt(entry, headerBytes+f.end); err != nil {
			return err
		}
		if err := f.file.writeAt(f.mem[next:at+frameBytes], next); err != nil {
			f.file.writeAt(make([]byte, at+frameBytes-next), next) // if it can be helped, half a frame is not left behind
			return err
		}
	}
	f.end = end
	f.events++
	return nil
}

// store puts bytes into the header.
func (f *segmentFile) store(p []byte, at int) error {
	if !guard(func() { copy(f.mem[at:], p) }) {
		return errFault
	}
	if !f.shared {
		return f.file.writeAt(p, at)
	}
	return nil
}

// begin stores the header of a segment that comes into use.
func (f *segmentFile) begin() error {
	if err := f.store(f.encode(), 0); err != nil {
		return err
	}
	return f.store(binary.LittleEndian.AppendUint64(nil, f.number), numberAt)
}

// clear makes a segment whose events are all settled a spare again.
func (f *segmentFile) clear() error {
	f.segmentHeader = segmentHeader{}
	if err := f.store(make([]byte, 8), numberAt); err != nil {
		return err
	}
	if err := f.store(make([]byte, frameBytes), f.bytes-frameBytes); err != nil {
		return err
	}
	f.events, f.end, f.storedTo, f.resend = 0, 0, 0, nil
	return nil
}

// errFault is what touching a mapped file says when there is nothing behind the memory.
var errFault = errors.New("align: the spool's file was cut short or cannot be read")

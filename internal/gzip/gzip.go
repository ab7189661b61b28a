// Package gzip compresses request bodies: a few hundred kilobytes each, events that are much alike, at a speed that
// matters more than the last per cent of size. It answers one question, how to write gzip (RFC 1952) with DEFLATE
// (RFC 1951) inside in one quick pass; reading is the standard library's.
//
// A Writer looks for each run of bytes in one place only, the last where the same four bytes hashed to the same slot, and
// takes what it finds. Each block of 64 KiB then gets Huffman codes of its own, or is stored if they do not make it
// smaller.
package gzip

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

const (
	window    = 32 << 10 // how far back DEFLATE can point
	blockSize = 64<<10 - 1
	minMatch  = 4 // DEFLATE knows three, but those hardly pay
	maxMatch  = 258
	tableBits = 15
	overread  = 8 // bytes that a load may read behind the last

	// maxOrigin is where positions begin anew, far from where they would not fit.
	maxOrigin = 1 << 30
)

// Writer compresses one body after the other. Its zero value is ready for Begin. It holds some 400 KiB and is not safe
// for concurrent use.
type Writer struct {
	out  bitWriter
	crc  uint32
	size uint32 // of the body so far, modulo 2³²: the trailer's ISIZE

	// buf holds up to a window of what is already written, and from start to end the block that is being gathered.
	buf        [window + blockSize + overread]byte
	start, end int
	// origin is the position of buf[0]. Positions begin behind a window, so an empty slot is out of every byte's reach.
	origin int
	table  [1 << tableBits]uint32 // the last position of each hash

	matches []match
	codes   codes
}

// match is so many literals, then length bytes copied from so far back; or, at the end of a block, literals alone.
type match struct {
	literals         uint32
	length, distance uint16
}

// Begin starts a body, which is appended to dst. What another body has left unfinished is forgotten.
func (w *Writer) Begin(dst []byte) {
	w.out = bitWriter{b: append(dst, 0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 4, 0xff)} // deflate; no name, no time; fastest; any system
	w.crc, w.size = 0, 0
	w.start, w.end = 0, 0
	w.forget()
}

// forget makes everything in buf out of reach.
func (w *Writer) forget() {
	clear(w.table[:])
	w.origin = window + 1
}

// Write adds to the body. It keeps nothing of p.
func (w *Writer) Write(p []byte) {
	w.size += uint32(len(p))
	w.crc = crc32.Update(w.crc, crc32.IEEETable, p)
	for len(p) > 0 {
		if w.end-w.start == blockSize {
			w.block(false)
			w.slide()
		}
		n := copy(w.buf[w.end:w.start+blockSize], p)
		w.end += n
		p = p[n:]
	}
}

// End finishes the body and returns dst of Begin with all of it appended.
func (w *Writer) End() []byte {
	w.block(true)
	out := w.out.bytes()
	w.out = bitWriter{}
	out = binary.LittleEndian.AppendUint32(out, w.crc)
	return binary.LittleEndian.AppendUint32(out, w.size)
}

// slide moves the window to the front of buf, so that there is room for another block behind it.
func (w *Writer) slide() {
	keep := min(w.end, window)
	copy(w.buf[:], w.buf[w.end-keep:w.end])
	w.origin += w.end - keep
	w.start, w.end = keep, keep
	if w.origin > maxOrigin {
		w.forget()
	}
}

// block writes what was gathered as one block.
func (w *Writer) block(last bool) {
	w.findMatches()
	data := w.buf[w.start:w.end]
	w.codes.make(data, w.matches)
	if w.codes.bits >= storedBits(len(data)) {
		w.out.stored(data, last)
		return
	}
	w.out.block(data, w.matches, &w.codes, last)
}

// findMatches parses the block into matches.
func (w *Writer) findMatches() {
	matches := w.matches[:0]
	buf, origin := &w.buf, uint32(w.origin)
	literal := w.start // the first that no match covers
	for at := w.start; ; {
		from := 0
		for {
			if at+minMatch > w.end {
				w.matches = append(matches, match{literals: uint32(w.end - literal)})
				return
			}
			four := binary.LittleEndian.Uint32(buf[at:])
			slot := &w.table[hash(four)]
			position := origin + uint32(at)
			distance := position - *slot
			*slot = position
			if distance <= window {
				from = at - int(distance)
				if binary.LittleEndian.Uint32(buf[from:]) == four {
					break
				}
			}
			at += 1 + (at-literal)>>6 // what has not matched for long may not at all: look less closely
		}
		for at > literal && from > 0 && buf[at-1] == buf[from-1] {
			at, from = at-1, from-1
		}
		length := w.matchLength(at, from)
		matches = appendMatches(matches, at-literal, length, at-from)
		at += length
		literal = at
		if at+minMatch <= w.end { // what begins just before the end is likely to be met again
			four := binary.LittleEndian.Uint32(buf[at-1:])
			w.table[hash(four)] = origin + uint32(at-1)
		}
	}
}

// appendMatches adds literals and a match of any length, in as many pieces as DEFLATE needs.
func appendMatches(matches []match, literals, length, distance int) []match {
	for length > maxMatch {
		piece := min(maxMatch, length-minMatch)
		matches = append(matches, match{uint32(literals), uint16(piece), uint16(distance)})
		literals, length = 0, length-piece
	}
	return append(matches, match{uint32(literals), uint16(length), uint16(distance)})
}

// matchLength is how many bytes at one place of the block are the same as at another in front of it.
func (w *Writer) matchLength(at, from int) (n int) {
	limit := w.end - at
	for n+8 <= limit {
		differ := binary.LittleEndian.Uint64(w.buf[at+n:]) ^ binary.LittleEndian.Uint64(w.buf[from+n:])
		if differ != 0 {
			return n + bits.TrailingZeros64(differ)>>3
		}
		n += 8
	}
	for n < limit && w.buf[at+n] == w.buf[from+n] {
		n++
	}
	return n
}

// hash spreads four bytes over the table; the factor is the golden ratio's.
func hash(four uint32) uint32 { return four * 0x9e3779b1 >> (32 - tableBits) }

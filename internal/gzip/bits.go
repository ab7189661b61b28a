package gzip

import (
	"encoding/binary"
	"slices"
)

// bitWriter appends bits to bytes, the lowest first, as DEFLATE has them.
type bitWriter struct {
	b       []byte
	pending uint64 // bits that do not make a byte yet: fewer than eight, after flush
	n       uint
}

// put adds up to 56 bits in all before flush has to come.
func (w *bitWriter) put(c code) {
	w.pending |= uint64(c.bits) << w.n
	w.n += uint(c.n)
}

// flush writes whole bytes.
func (w *bitWriter) flush() {
	for ; w.n >= 8; w.n -= 8 {
		w.b = append(w.b, byte(w.pending))
		w.pending >>= 8
	}
}

// bytes ends the last byte and returns all.
func (w *bitWriter) bytes() []byte {
	w.n = (w.n + 7) &^ 7
	w.flush()
	return w.b
}

// storedBits is what a block takes that is stored as it is, at most.
func storedBits(size int) int { return 3 + 7 + 8*(4+size) }

// stored writes a block as it is.
func (w *bitWriter) stored(data []byte, last bool) {
	w.put(blockKind(0, last))
	w.b = w.bytes()
	w.b = binary.LittleEndian.AppendUint16(w.b, uint16(len(data)))
	w.b = binary.LittleEndian.AppendUint16(w.b, ^uint16(len(data)))
	w.b = append(w.b, data...)
}

// blockKind begins a block: 0 is stored, 2 has codes of its own.
func blockKind(kind uint32, last bool) code {
	kind <<= 1
	if last {
		kind |= 1
	}
	return code{kind, 3}
}

// block writes a block in its codes.
func (w *bitWriter) block(data []byte, matches []match, c *codes, last bool) {
	w.put(blockKind(2, last))
	w.header(&c.header)
	b := slices.Grow(w.b, c.bits/8+2*8) // eight bytes are stored at a time
	at := len(b)
	b = b[:cap(b)]
	pending, n := w.pending, w.n
	for _, m := range matches {
		literals := data[:m.literals]
		for ; len(literals) >= 3; literals = literals[3:] { // of at most 15 bits each, with at most 7 pending
			for _, l := range literals[:3] {
				x := &c.literal[l]
				pending |= uint64(x.bits) << (n & 63) // the compiler need not think of 64 and more
				n += uint(x.n)
			}
			binary.LittleEndian.PutUint64(b[at:], pending)
			at += int(n >> 3)
			pending >>= n & 56
			n &= 7
		}
		for _, l := range literals {
			x := &c.literal[l]
			pending |= uint64(x.bits) << (n & 63)
			n += uint(x.n)
		}
		binary.LittleEndian.PutUint64(b[at:], pending)
		at += int(n >> 3)
		pending >>= n & 56
		n &= 7
		data = data[int(m.literals)+int(m.length):]
		if m.length == 0 {
			continue
		}
		length, s := &c.match[m.length], distanceOf(m.distance) // 20 bits and 28, with at most 7 pending
		pending |= uint64(length.bits) << (n & 63)
		n += uint(length.n)
		distance := &c.distance[s]
		pending |= (uint64(distance.bits) | uint64(m.distance-distanceBase[s])<<(distance.n&63)) << (n & 63)
		n += uint(distance.n + distanceExtra[s])
		binary.LittleEndian.PutUint64(b[at:], pending)
		at += int(n >> 3)
		pending >>= n & 56
		n &= 7
	}
	w.b, w.pending, w.n = b[:at], pending, n
	w.put(c.literal[endOfBlock])
	w.flush()
}

// header writes which codes the block has.
func (w *bitWriter) header(h *header) {
	w.put(code{uint32(h.literals - 257), 5})
	w.put(code{uint32(h.distances - 1), 5})
	w.put(code{uint32(h.codesStated - 4), 4})
	w.flush()
	for _, s := range lengthOrder[:h.codesStated] {
		w.put(code{uint32(h.codes[s].n), 3})
		w.flush()
	}
	for _, s := range h.symbols {
		w.put(h.codes[s.symbol])
		w.put(code{uint32(s.times), repeatExtra[s.symbol]})
		w.flush()
	}
}

package gzip

import (
	"math/bits"
	"slices"
)

// How the symbols of a block become bits: RFC 1951, 3.2.2 to 3.2.7.

const (
	endOfBlock      = 256
	lengthSymbol    = 257 // the first of 29
	literalSymbols  = 286
	distanceSymbols = 30
	maxCode         = 15 // bits of a code
	maxLengthCode   = 7  // bits of a code for the lengths of codes
)

// lengthExtra and distanceExtra are how many bits follow each symbol to say which length or distance of its range it is.
var (
	lengthExtra   = [29]uint8{0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0}
	distanceExtra = [distanceSymbols]uint8{
		0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13,
	}
	lengthBase   [29]uint16
	distanceBase [distanceSymbols]uint16
	lengthOf     [maxMatch + 1]uint8 // the symbol of each length, from lengthSymbol on
	nearOf       [257]uint8          // the symbol of each distance up to 256
	farOf        [256]uint8          // the symbol of greater ones, by what (distance-1)/128 is
)

func init() {
	at := 3
	for s, extra := range lengthExtra {
		lengthBase[s] = uint16(at)
		for range 1 << extra {
			if at <= maxMatch {
				lengthOf[at] = uint8(s)
			}
			at++
		}
		if at == maxMatch+1 {
			at-- // 258 has a symbol of its own
		}
	}
	at = 1
	for s, extra := range distanceExtra {
		distanceBase[s] = uint16(at)
		next := at + 1<<extra
		for d := at; d < next && d <= 256; d++ {
			nearOf[d] = uint8(s)
		}
		for far := (at - 1) >> 7; far < (next-1)>>7; far++ {
			farOf[far] = uint8(s)
		}
		at = next
	}
}

// distanceOf is the symbol of a distance.
func distanceOf(distance uint16) uint8 {
	if distance <= 256 {
		return nearOf[distance]
	}
	return farOf[(distance-1)>>7]
}

// code is the bits of a symbol, in the order in which they are written, and how many.
type code struct {
	bits uint32
	n    uint8
}

// codes are those of one block.
type codes struct {
	literal  [literalSymbols]code
	distance [distanceSymbols]code
	header   header
	bits     int // that the block takes

	literalCount  [literalSymbols]uint32
	distanceCount [distanceSymbols]uint32
	match         [maxMatch + 1]code // a length's symbol with the bits that follow it
}

// make finds the shortest codes for a block.
func (c *codes) make(data []byte, matches []match) {
	clear(c.literalCount[:])
	clear(c.distanceCount[:])
	at := 0
	for _, m := range matches {
		for _, b := range data[at : at+int(m.literals)] {
			c.literalCount[b]++
		}
		if m.length > 0 {
			c.literalCount[lengthSymbol+int(lengthOf[m.length])]++
			c.distanceCount[distanceOf(m.distance)]++
		}
		at += int(m.literals) + int(m.length)
	}
	c.literalCount[endOfBlock] = 1
	if len(matches) == 1 {
		c.distanceCount[0] = 1 // one distance at least is to have a code
	}
	extra := assign(c.literal[:], c.literalCount[:], maxCode) + assign(c.distance[:], c.distanceCount[:], maxCode)
	for s, n := range c.literalCount[lengthSymbol:] {
		extra += int(n) * int(lengthExtra[s])
	}
	for s, n := range c.distanceCount {
		extra += int(n) * int(distanceExtra[s])
	}
	c.header.make(c)
	c.bits = 3 + c.header.bits + extra
	for l := minMatch; l <= maxMatch; l++ {
		s := lengthOf[l]
		symbol := c.literal[lengthSymbol+int(s)]
		c.match[l] = code{symbol.bits | uint32(l-int(lengthBase[s]))<<symbol.n, symbol.n + lengthExtra[s]}
	}
}

// assign gives each symbol that occurs a code of at most limit bits, the more frequent the shorter, and returns how many
// bits they take together.
func assign(codes []code, counts []uint32, limit int) (total int) {
	clear(codes)
	var room [literalSymbols]uint64
	used := room[:0]
	for s, n := range counts {
		if n > 0 {
			used = append(used, uint64(n)<<16|uint64(s))
		}
	}
	slices.Sort(used)
	var perLength [maxCode + 1]int
	countLengths(used, limit, &perLength)
	var next [maxCode + 2]uint32 // the next code of each length
	for n := 1; n <= limit; n++ {
		next[n+1] = (next[n] + uint32(perLength[n])) << 1
	}
	for n, k := limit, 0; n > 0; n-- { // the rarest get the longest
		for range perLength[n] {
			codes[used[k]&0xffff].n = uint8(n)
			total += n * int(used[k]>>16)
			k++
		}
	}
	for s := range codes { // among codes of one length, in the order of symbols
		if n := codes[s].n; n > 0 {
			codes[s].bits = bits.Reverse32(next[n]) >> (32 - n)
			next[n]++
		}
	}
	return total
}

// countLengths says how many codes of each length are best for symbols with counts in the upper bits of used, ascending.
// It builds the tree of Huffman's algorithm in two queues: symbols, and pairs of what is rarest so far, which come out in
// order, too.
func countLengths(used []uint64, limit int, perLength *[maxCode + 1]int) {
	if len(used) == 1 {
		perLength[1] = 1
		return
	}
	var weight [literalSymbols]uint64
	var parent, depth [2 * literalSymbols]int16 // of symbols, then of pairs
	leaf, pair := 0, 0
	for made := range len(used) - 1 {
		for range 2 {
			var child int
			if leaf < len(used) && (pair == made || used[leaf]>>16 <= weight[pair]) {
				weight[made] += used[leaf] >> 16
				child = leaf
				leaf++
			} else {
				weight[made] += weight[pair]
				child = len(used) + pair
				pair++
			}
			parent[child] = int16(len(used) + made)
		}
	}
	root := 2*len(used) - 2
	spent := 0 // of the code space, 1<<limit
	for i := root - 1; i >= 0; i-- {
		depth[i] = depth[parent[i]] + 1
		if i < len(used) {
			n := min(int(depth[i]), limit)
			perLength[n]++
			spent += 1 << (limit - n)
		}
	}
	// Codes that were cut to the limit take more space than there is: shorter ones pay for them, one place at a time.
	for ; spent > 1<<limit; spent-- {
		n := limit - 1
		for perLength[n] == 0 {
			n--
		}
		perLength[n]--
		perLength[n+1] += 2
		perLength[limit]--
	}
}

// header is how a block says which codes it has: the length of each, repetitions counted, in codes of their own.
type header struct {
	literals, distances int // how many have a length stated
	symbols             []stated
	codes               [19]code
	codesStated         int // how many of codes
	bits                int
}

// stated is a code's length, up to 15, or a repetition: of the last length, 16, or of zero, 17 and 18, each with
// bits that say how often.
type stated struct{ symbol, times uint8 }

// lengthOrder is the order in which the lengths of header.codes are written: the likely ones first.
var lengthOrder = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// repeatExtra is how many bits follow 16, 17 and 18.
var repeatExtra = [19]uint8{16: 2, 17: 3, 18: 7}

func (h *header) make(c *codes) {
	h.literals, h.distances = used(c.literal[:], 257), used(c.distance[:], 1)
	var lengths [literalSymbols + distanceSymbols]uint8
	for s := range h.literals {
		lengths[s] = c.literal[s].n
	}
	for s := range h.distances {
		lengths[h.literals+s] = c.distance[s].n
	}
	h.symbols = appendRuns(h.symbols[:0], lengths[:h.literals+h.distances])
	var counts [19]uint32
	for _, s := range h.symbols {
		counts[s.symbol]++
	}
	h.bits = assign(h.codes[:], counts[:], maxLengthCode)
	for s, n := range counts {
		h.bits += int(n) * int(repeatExtra[s])
	}
	h.codesStated = len(lengthOrder)
	for h.codesStated > 4 && h.codes[lengthOrder[h.codesStated-1]].n == 0 {
		h.codesStated--
	}
	h.bits += 5 + 5 + 4 + 3*h.codesStated
}

// used is how many of codes there are up to the last in use, but at least so many.
func used(codes []code, least int) int {
	n := len(codes)
	for n > least && codes[n-1].n == 0 {
		n--
	}
	return n
}

// appendRuns writes lengths with repetitions counted.
func appendRuns(dst []stated, lengths []uint8) []stated {
	for i := 0; i < len(lengths); {
		n := lengths[i]
		run := 1
		for i+run < len(lengths) && lengths[i+run] == n {
			run++
		}
		i += run
		for n == 0 && run >= 3 {
			times := min(run, 138)
			if times <= 10 {
				dst = append(dst, stated{17, uint8(times - 3)})
			} else {
				dst = append(dst, stated{18, uint8(times - 11)})
			}
			run -= times
		}
		if n != 0 {
			dst = append(dst, stated{n, 0})
			for run--; run >= 3; {
				times := min(run, 6)
				dst = append(dst, stated{16, uint8(times - 3)})
				run -= times
			}
		}
		for range run {
			dst = append(dst, stated{n, 0})
		}
	}
	return dst
}

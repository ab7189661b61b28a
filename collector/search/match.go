package search

import (
	"bytes"
	"slices"
)

// Matcher tells whether texts match a query, and where. It keeps its memory from text to text, and so is for one goroutine.
type Matcher struct {
	query *Query
	masks []uint64 // for each token of the text, which of the query's it is
	spans [][2]int // where it stands
	found []int    // how often each phrase occurs
}

// Matcher returns a matcher of the query.
func (q *Query) Matcher() *Matcher { return &Matcher{query: q, found: make([]int, len(q.phrases))} }

// Match reports whether a text matches.
func (m *Matcher) Match(text string) bool {
	m.read(text)
	for i := range m.found {
		m.found[i] = 0
		m.each(i, func(int, int) { m.found[i]++ })
	}
	at := 0
	for _, any := range m.query.all {
		holds := false
		for range any {
			holds = holds || m.found[at] > 0
			at++
		}
		if !holds {
			return false
		}
	}
	return !slices.ContainsFunc(m.found[at:], func(n int) bool { return n > 0 })
}

// Counts returns how often each phrase that is looked for occurs in the text that was matched last, in the order of
// [Query.Phrases], and how many tokens it has. The list is the matcher's.
func (m *Matcher) Counts() (found []int, length int) { return m.found[:m.query.wanted], len(m.masks) }

// Marks returns where the text that was matched last has what is looked for: pairs of byte offsets, from and to, in order, of
// which none touch.
func (m *Matcher) Marks() (marks [][2]int) {
	for i := range m.query.wanted {
		m.each(i, func(from, to int) { marks = append(marks, [2]int{m.spans[from][0], m.spans[to][1]}) })
	}
	slices.SortFunc(marks, func(a, b [2]int) int {
		if a[0] != b[0] {
			return a[0] - b[0]
		}
		return a[1] - b[1]
	})
	joined := marks[:0]
	for _, mark := range marks {
		if n := len(joined); n > 0 && mark[0] <= joined[n-1][1] {
			joined[n-1][1] = max(joined[n-1][1], mark[1])
		} else {
			joined = append(joined, mark)
		}
	}
	return joined
}

// read takes a text apart.
func (m *Matcher) read(text string) {
	m.masks, m.spans = m.masks[:0], m.spans[:0]
	q := m.query
	Tokenize(text, func(token []byte, from, to int) bool {
		mask := q.exact[string(token)]
		for i := range q.prefixes {
			if p := &q.prefixes[i]; len(token) >= len(p.token) && bytes.HasPrefix(token, []byte(p.token)) {
				mask |= p.bit
			}
		}
		m.masks, m.spans = append(m.masks, mask), append(m.spans, [2]int{from, to})
		return true
	})
}

// each calls f with the first and last token of each place where a phrase occurs.
func (m *Matcher) each(phrase int, f func(from, to int)) {
	bits := m.query.phrases[phrase]
next:
	for i := 0; i+len(bits) <= len(m.masks); i++ {
		for j, bit := range bits {
			if m.masks[i+j]&bit == 0 {
				continue next
			}
		}
		f(i, i+len(bits)-1)
	}
}

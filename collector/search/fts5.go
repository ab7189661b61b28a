package search

import "strings"

// What a query is to SQLite's FTS5, over tokens that [AppendIndexed] wrote.

// Expression writes the query for FTS5, with space before each token. Tokens are letters, digits and what is not ASCII, and
// each phrase is quoted, so nothing in it means anything else there.
func (q *Query) Expression(space string) string {
	var b strings.Builder
	for i, any := range q.all {
		if i > 0 {
			b.WriteString(" AND ")
		}
		writeAny(&b, space, any)
	}
	if len(q.none) == 0 {
		return b.String()
	}
	all := b.String()
	b.Reset()
	b.WriteString("(" + all + ") NOT ")
	writeAny(&b, space, q.none)
	return b.String()
}

// Phrases are the phrases that a query looks for, each as a query of its own.
func (q *Query) Phrases(space string) (list []string) {
	for _, any := range q.all {
		for _, one := range any {
			var b strings.Builder
			writeAny(&b, space, []phrase{one})
			list = append(list, b.String())
		}
	}
	return list
}

func writeAny(b *strings.Builder, space string, any []phrase) {
	b.WriteByte('(')
	for i, one := range any {
		if i > 0 {
			b.WriteString(" OR ")
		}
		b.WriteByte('"')
		for i, token := range one.tokens {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(space)
			b.WriteString(token)
		}
		b.WriteByte('"')
		if one.prefix {
			b.WriteString(" *")
		}
	}
	b.WriteByte(')')
}

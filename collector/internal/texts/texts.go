// Package texts shortens what people write, for whoever shows it.
package texts

import "unicode/utf8"

// Cut returns the first code points of a text, and whether there were more.
func Cut(text string, codePoints int) (string, bool) {
	if len(text) <= codePoints {
		return text, false
	}
	at := 0
	for range codePoints {
		if at >= len(text) {
			return text, false
		}
		_, size := utf8.DecodeRuneInString(text[at:])
		at += size
	}
	return text[:at], at < len(text)
}

// Brief is Cut with a mark where there was more.
func Brief(text string, codePoints int) string {
	short, more := Cut(text, codePoints)
	if more {
		short += "…"
	}
	return short
}

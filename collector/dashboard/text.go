package dashboard

import (
	"html/template"
	"unicode/utf8"
)

// What is said can be of any length and hold any character. Pages show it as it is, but not all of it.

// cutEscaped returns as much of a text as takes so many bytes on a page, where a quote takes five, and whether there was more.
func cutEscaped(text string, bytes int) (string, bool) {
	at, taken := 0, 0
	for at < len(text) {
		_, size := utf8.DecodeRuneInString(text[at:])
		taken += len(template.HTMLEscapeString(text[at : at+size]))
		if taken > bytes {
			return text[:at], true
		}
		at += size
	}
	return text, false
}

package dashboard

import (
	"html/template"
	"unicode/utf8"
)

// What is said can be of any length and hold any character. Pages show it as it is, but not all of it.

// cutEscaped is cut to as many bytes as a text takes on a page, where a quote takes five.
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

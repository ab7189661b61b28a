// Package scan finds its way in JSON without decoding it: where a value ends, and what an object or a list consists of. It
// holds no more than its input, has no limit of depth, and does not look into the values it passes, so that a value that is
// no JSON, or nested more deeply than any decoder allows, is the matter of whoever decodes that value.
package scan

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf16"
)

// ErrNotJSON says that the structure of a text is not that of JSON.
var ErrNotJSON = errors.New("not JSON")

// Object calls member for each member of an object, and ends with its first error.
func Object(object []byte, member func(name string, value []byte) error) error {
	return walk(object, '{', '}', func(text []byte) (int, error) {
		if len(text) == 0 || text[0] != '"' {
			return 0, ErrNotJSON
		}
		end := endOfText(text)
		if end < 0 {
			return 0, ErrNotJSON
		}
		name := string(text[1 : end-1])
		if bytes.IndexByte(text[:end], '\\') >= 0 {
			if err := json.Unmarshal(text[:end], &name); err != nil {
				return 0, err
			}
		}
		colon := end + len(text[end:]) - len(trimLeft(text[end:]))
		if colon == len(text) || text[colon] != ':' {
			return 0, ErrNotJSON
		}
		value := trimLeft(text[colon+1:])
		n := endOfValue(value)
		if n < 0 {
			return 0, ErrNotJSON
		}
		return len(text) - len(value) + n, member(name, value[:n])
	})
}

// List calls element for each element of a list, and ends with its first error.
func List(list []byte, element func([]byte) error) error {
	return walk(list, '[', ']', func(text []byte) (int, error) {
		n := endOfValue(text)
		if n < 0 {
			return 0, ErrNotJSON
		}
		return n, element(text[:n])
	})
}

// walk calls item with what is left of an object or a list at each of its items. item returns the length of its own.
func walk(text []byte, open, closing byte, item func([]byte) (int, error)) error {
	if len(text) == 0 || text[0] != open {
		return ErrNotJSON
	}
	text = trimLeft(text[1:])
	for first := true; ; first = false {
		switch {
		case len(text) == 0:
			return ErrNotJSON
		case text[0] == closing:
			if len(text) > 1 {
				return ErrNotJSON // something after the end
			}
			return nil
		case first:
		case text[0] == ',':
			text = trimLeft(text[1:])
		default:
			return ErrNotJSON
		}
		n, err := item(text)
		if err != nil {
			return err
		}
		text = trimLeft(text[n:])
	}
}

// endOfValue returns the length of the value that text starts with, or -1 when there is none or it does not end.
func endOfValue(text []byte) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '"':
			n := endOfText(text[i:])
			if n < 0 {
				return -1
			}
			if i += n - 1; depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
			if depth < 0 {
				return -1
			}
		default:
			if depth > 0 {
				continue
			}
			n := bytes.IndexAny(text, ",:]}[{\" \t\r\n")
			if n == 0 || n < 0 {
				return -1
			}
			return n
		}
	}
	return -1
}

// endOfText returns the length of the quoted text that text starts with, or -1 when it does not end.
func endOfText(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

const space = " \t\r\n"

func trimLeft(text []byte) []byte  { return bytes.TrimLeft(text, space) }
func TrimSpace(text []byte) []byte { return bytes.Trim(text, space) }

// WholeText mends text that is none: half a surrogate pair becomes U+FFFD (cutting a text by length leaves one behind, and
// the binary form of the same clients writes U+FFFD), and so do bytes that are not UTF-8.
func WholeText(raw []byte) []byte {
	raw = bytes.ToValidUTF8(raw, []byte("\uFFFD")) // always a copy
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		first := unitAt(raw[i:])
		switch {
		case first < 0: // another escape
			i++
		case !utf16.IsSurrogate(first):
			i += 5
		case utf16.DecodeRune(first, unitAt(raw[i+6:])) != '\uFFFD':
			i += 11
		default:
			copy(raw[i:], `\ufffd`)
			i += 5
		}
	}
	return raw
}

// unitAt is the UTF-16 unit that text starts with, in the form \uXXXX, or -1.
func unitAt(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(unit)
}

package outcome

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

const (
	// maxText is how much of a text is read, in bytes: signs are at the beginning, or in all of a short text.
	maxText = 4000
	// leastTokens is how many tokens a text must have for its repetition to say anything: "yes" again is no rephrasing.
	leastTokens = 3
	// alike is from what share of common tokens, of all, two texts say the same.
	alike = 0.75
)

// text is a message as the rules read it.
type text struct {
	tokens []string
	joined string // with a space before, between and after, so that phrases are found at the borders of tokens
	end    string // the last characters as written
}

func newText(content string) text {
	end := content
	if len(end) > 64 {
		end = end[len(end)-64:]
	}
	list := tokens(cut(content))
	return text{list, " " + strings.Join(list, " ") + " ", strings.ToValidUTF8(end, "")}
}

// cut bounds a text, at the border of a character.
func cut(content string) string {
	if len(content) <= maxText {
		return content
	}
	return strings.ToValidUTF8(content[:maxText], "")
}

func (t text) empty() bool { return len(t.tokens) == 0 }

// tokens are the words of a text without case, accents and punctuation. Scripts that do not part words have a token for
// each character.
func tokens(s string) (list []string) {
	var b strings.Builder
	end := func() {
		if b.Len() > 0 {
			list = append(list, b.String())
			b.Reset()
		}
	}
	for _, r := range norm.NFKD.String(s) {
		switch {
		case unicode.Is(unicode.Mn, r) && !unicode.In(r, unicode.Devanagari, unicode.Thai, unicode.Hiragana, unicode.Katakana):
		case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai):
			end()
			b.WriteRune(r)
			end()
		case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r):
			if r = unicode.ToLower(r); r == 'ı' { // Turkish, often typed without
				r = 'i'
			}
			b.WriteRune(r)
		case r == '\'' || r == '’':
			end()
		default:
			end()
		}
	}
	end()
	return list
}

// Rephrases reports whether a text asks nearly what another asked before, by the rule that conversations are judged by.
func Rephrases(content, before string) bool { return newText(content).repeats(newText(before)) }

// repeats reports whether t asks nearly what o asked. Texts with different numbers ask different things.
func (t text) repeats(o text) bool {
	if len(t.tokens) < leastTokens || len(o.tokens) < leastTokens {
		return false
	}
	if t.joined == o.joined {
		return true
	}
	counts := make(map[string]int, len(o.tokens))
	for _, token := range o.tokens {
		counts[token]++
	}
	common := 0
	for _, token := range t.tokens {
		if counts[token] > 0 {
			counts[token]--
			common++
		} else if isNumber(token) {
			return false
		}
	}
	for token, left := range counts {
		if left > 0 && isNumber(token) {
			return false
		}
	}
	return float64(common) >= alike*float64(len(t.tokens)+len(o.tokens)-common)
}

func isNumber(token string) bool {
	for _, r := range token {
		if unicode.IsNumber(r) {
			return true
		}
	}
	return false
}

// same reports whether two answers are one, word for word.
func (t text) same(o text) bool {
	return len(t.tokens) >= leastTokens && t.joined == o.joined
}

// isQuestion reports whether a text ends with a question mark of any script, whatever quotes or emoji follow.
func (t text) isQuestion() bool {
	rest := strings.TrimRightFunc(t.end, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.In(r, unicode.So, unicode.Sk, unicode.Mn, unicode.Cf, unicode.Pe, unicode.Pf) || r == '"' || r == '\'' || r == '*' || r == '_'
	})
	for _, mark := range []string{"?", "？", "؟", "⁇", "⁉", "՞"} {
		if strings.HasSuffix(rest, mark) {
			return true
		}
	}
	return false
}

// contains reports whether a text has one of some phrases.
func (t text) contains(list []string) (at int) {
	for _, p := range list {
		if at := strings.Index(t.joined, p); at >= 0 {
			return at
		}
	}
	return -1
}

// isOffer reports whether the assistant asks if there is anything else, which is how one takes leave.
func (t text) isOffer() bool { return t.contains(offers) >= 0 }

// asksForHuman reports whether the user asks for a human, and does not say that none is wanted.
func (t text) asksForHuman() bool {
	at := t.contains(calls)
	if at < 0 {
		return false
	}
	before := strings.Fields(t.joined[:at])
	for _, token := range before[max(0, len(before)-6):] {
		if negations[token] {
			return false
		}
	}
	return true
}

// talk is what a text is nothing but.
type talk int

const (
	other talk = iota
	greeting
	thanks // or agreement, or leave
)

// smallTalk says whether a text is nothing but phrases of greeting, thanks and leave. One that has both is thanks.
func (t text) smallTalk() talk {
	if len(t.tokens) > maxSmallTalk {
		return other
	}
	rest, kind := t.joined, other
	for len(strings.TrimSpace(rest)) > 0 {
		best, found := "", other
		for _, p := range pleasantries {
			if len(p.phrase) > len(best) && strings.HasPrefix(rest, p.phrase) {
				best, found = p.phrase, p.kind
			}
		}
		if best == "" {
			return other
		}
		kind = max(kind, found)
		rest = rest[len(best)-1:] // the space after it is before the next
	}
	return kind
}

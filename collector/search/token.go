package search

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxTokenRunes is how much of a token counts: two words that share so many characters are the same.
const maxTokenRunes = 64

// Tokenize calls yield for each token of a text, with the bytes of the text that it is of, until yield returns false. The
// token is yield's only until it returns.
//
// A token is a run of letters and digits, without regard to case, accents and the form in which Unicode writes them: ÉTÉ is
// ete, straße is strasse, ﬁ is fi. Scripts that are written without spaces, such as Chinese, Japanese and Thai, have a token
// for each character, as has Korean, whose words have endings; whatever is written there is found as a phrase. So has each
// emoji; skin tones do not count. All else stands between tokens, and says nothing.
func Tokenize(text string, yield func(token []byte, from, to int) bool) {
	t := tokenizer{yield: yield}
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf && (i+1 == len(text) || text[i+1] < utf8.RuneSelf) {
			t.ascii(c, i)
			i++
		} else if r, size := utf8.DecodeRuneInString(text[i:]); asItIs(r, text[i+size:]) {
			t.rune(r, i, i+size)
			i += size
		} else {
			n := norm.NFC.NextBoundaryInString(text[i:], true)
			t.segment(text[i:i+n], i)
			i += n
		}
		if t.done {
			return
		}
	}
	t.end()
}

// asItIs reports whether a character needs no folding: nearly all of Chinese, Japanese and Korean, but for one that what
// follows is a part of.
func asItIs(r rune, rest string) bool {
	switch {
	case '\u4e00' <= r && r <= '\u9fff':
		return true
	case '\uac00' <= r && r <= '\ud7a3':
		return !strings.HasPrefix(rest, "\xe1") // the letters that syllables are made of, among others
	case '\u3041' <= r && r <= '\u3096', '\u30a1' <= r && r <= '\u30fc':
		return !strings.HasPrefix(rest, "\u3099") && !strings.HasPrefix(rest, "\u309a")
	}
	return false
}

// tokenizer gathers the token that a text is in the middle of.
type tokenizer struct {
	yield    func(token []byte, from, to int) bool
	token    []byte
	runes    int
	from, to int
	done     bool
	buffer   [64]byte
}

// end hands over the token.
func (t *tokenizer) end() {
	if t.runes > 0 && !t.done {
		t.done = !t.yield(t.token, t.from, t.to)
	}
	t.token, t.runes = t.token[:0], 0
}

func (t *tokenizer) ascii(c byte, at int) {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
	case 'A' <= c && c <= 'Z':
		c += 'a' - 'A'
	default:
		t.end()
		return
	}
	t.begin(at, at+1)
	if t.runes < maxTokenRunes {
		t.token = append(t.token, c)
		t.runes++
	}
}

// begin makes the bytes of the text part of the token, which may begin with them.
func (t *tokenizer) begin(from, to int) {
	if t.runes == 0 {
		t.from = from
		if t.token == nil {
			t.token = t.buffer[:0]
		}
	}
	t.to = to
}

// segment takes a character and the marks on it.
func (t *tokenizer) segment(s string, at int) {
	r, size := utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && size <= 1 {
		t.end()
		return
	}
	if lower := unicode.ToLower(r); size == len(s) && int(lower) >= len(folded) && !accent(r) && norm.NFKD.PropertiesString(s).Decomposition() == nil {
		t.rune(lower, at, at+size) // as most are, which is faster
		return
	}
	for _, r := range fold(s) {
		t.rune(r, at, at+len(s))
	}
}

// rune takes a folded character.
func (t *tokenizer) rune(r rune, from, to int) {
	switch classify(r) {
	case ignored:
		if t.runes > 0 {
			t.to = to
		}
	case letter:
		t.begin(from, to)
		if t.runes < maxTokenRunes {
			t.token = utf8.AppendRune(t.token, r)
			t.runes++
		}
	case alone:
		t.end()
		t.begin(from, to)
		t.token = utf8.AppendRune(t.token, r)
		t.runes++
		t.end()
	case between:
		t.end()
	}
}

// fold returns a character, with its marks, in the form in which it is compared.
func fold(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	if size == len(s) && int(r) < len(folded) {
		return folded[r]
	}
	return foldSlowly(s)
}

// folded is fold for the characters of most of Europe.
var folded = func() (table [0x530]string) {
	for r := range table {
		table[r] = foldSlowly(string(rune(r)))
	}
	return table
}()

func foldSlowly(s string) string {
	var plain []rune
	for _, r := range norm.NFKD.String(s) {
		if accent(r) {
			continue
		}
		r = unicode.ToLower(r)
		if written, ok := plainly[r]; ok {
			plain = append(plain, written...)
		} else {
			plain = append(plain, r)
		}
	}
	return norm.NFC.String(string(plain))
}

// plainly is how letters are written where a keyboard does not have them, and that Unicode takes for letters of their own.
var plainly = map[rune][]rune{
	'ß': []rune("ss"), 'æ': []rune("ae"), 'œ': []rune("oe"), 'þ': []rune("th"), 'ø': {'o'}, 'đ': {'d'}, 'ð': {'d'}, 'ł': {'l'},
	'ħ': {'h'}, 'ı': {'i'}, 'ŧ': {'t'}, 'ς': {'σ'},
}

// accent reports whether a mark is left out: accents, and the vowel points of Hebrew and Arabic. Marks of other scripts are
// vowels without which words are different ones.
func accent(r rune) bool {
	switch {
	case r < 0x300:
		return false
	case r <= 0x36f, 0x1ab0 <= r && r <= 0x1aff, 0x1dc0 <= r && r <= 0x1dff, 0x20d0 <= r && r <= 0x20ff, 0xfe20 <= r && r <= 0xfe2f:
		return true
	case 0x591 <= r && r <= 0x5c7, 0x610 <= r && r <= 0x61a, 0x64b <= r && r <= 0x65f, r == 0x670, 0x6d6 <= r && r <= 0x6ed:
		return unicode.Is(unicode.Mn, r)
	case 0x483 <= r && r <= 0x487:
		return true
	}
	return false
}

// class says what a character is to tokens.
type class int

const (
	between class = iota
	letter        // part of a word
	alone         // a token of its own
	ignored       // not there
)

// unspaced are the scripts of which each character is a token.
var unspaced = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul, unicode.Bopomofo, unicode.Yi,
	unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar, unicode.Tibetan}

func classify(r rune) class {
	switch {
	case r < 0x300 || 0x370 <= r && r < 0x530:
		if unicode.IsLetter(r) || unicode.IsNumber(r) {
			return letter
		}
		if r == '\u00ad' { // a soft hyphen
			return ignored
		}
		if unicode.Is(unicode.So, r) {
			return alone
		}
		return between
	case '\u4e00' <= r && r <= '\u9fff' || '\uac00' <= r && r <= '\ud7a3' || r == '\u30fc':
		return alone
	case 0x1f3fb <= r && r <= 0x1f3ff, 0xfe00 <= r && r <= 0xfe0f, 0xe0100 <= r && r <= 0xe01ef, unicode.Is(unicode.Cf, r):
		return ignored
	case unicode.In(r, unicode.L, unicode.M, unicode.N):
		if unicode.In(r, unspaced...) {
			return alone
		}
		return letter
	case unicode.Is(unicode.So, r):
		return alone
	}
	return between
}

// tokens returns the tokens of a text.
func tokens(text string) (list []string) {
	Tokenize(text, func(token []byte, _, _ int) bool {
		list = append(list, string(token))
		return true
	})
	return list
}

// AppendIndexed appends the tokens of a text to b, in their order, with a space between them and space, which tells apart what
// is kept in one index, before each.
func AppendIndexed(b []byte, space, text string) []byte {
	b = slices.Grow(b, len(text)+len(text)/4*len(space))
	Tokenize(text, func(token []byte, _, _ int) bool {
		if len(b) > 0 {
			b = append(b, ' ')
		}
		b = append(append(b, space...), token...)
		return true
	})
	return b
}

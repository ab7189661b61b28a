// Package search is the language in which messages are looked for, and what it means: which tokens a text has, how a query
// reads, and whether a text matches it, and where.
//
//	refund order       both words, anywhere in a message
//	"where is it"      these words in this order
//	deliver*           words that begin so; "on time deliver*" too
//	-cancel -"by now"  without that
//	late OR delayed    one of them; it binds closer than what stands beside it
//
// Case and accents do not count, nor does what stands between words; see [Tokenize]. A word that is written with something
// inside, such as e-mail or 408-247-8880, is a phrase of its parts, and so is a run of Chinese. No other character means
// anything.
package search

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/openalign/align/collector"
)

// Limits of a query.
const (
	MaxRunes  = 1024 // Unicode code points of its text
	MaxTokens = 64   // tokens of all its phrases
	minPrefix = 2    // characters before a *
)

// broadPrefix is up to how many characters a prefix is one of very many words.
const broadPrefix = 3

// Query is what messages are looked for by. It is immutable, and safe for concurrent use; each user needs a [Matcher] of its
// own.
type Query struct {
	all  []clause
	none []phrase
	// slots are the tokens that phrases are of, each once; those that are a prefix stand apart.
	exact    map[string]uint64
	prefixes []prefix
	phrases  [][]uint64 // of all, then of none, each token as the bit of its slot
	wanted   int        // how many of phrases are of all
}

// clause holds when one of its phrases does.
type clause []phrase

// phrase is tokens one after the other.
type phrase struct {
	tokens []string
	prefix bool // the last one is the beginning of a token
}

type prefix struct {
	token string
	bit   uint64
}

// Parse reads a query. Errors are [collector.ErrQuery], and say what is wrong without the text.
func Parse(text string) (*Query, error) {
	if utf8.RuneCountInString(text) > MaxRunes {
		return nil, wrong("its text may have %d characters", MaxRunes)
	}
	p := parser{rest: text}
	if err := p.run(); err != nil {
		return nil, err
	}
	q := &Query{all: p.all, none: p.none}
	if len(q.all) == 0 {
		if len(q.none) > 0 {
			return nil, wrong("it only says what must not be there")
		}
		return nil, wrong("there is no word in it")
	}
	return q, q.compile()
}

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: %s", collector.ErrQuery, fmt.Sprintf(format, args...))
}

// parser reads terms one by one.
type parser struct {
	rest string
	all  []clause
	none []phrase
	// or says that OR was read, and waits for its right side; joinable, that what was read before can be its left side.
	or, joinable bool
}

const quotes = "\"“”„"

func (p *parser) run() error {
	for {
		p.rest = strings.TrimLeftFunc(p.rest, unicode.IsSpace)
		if p.rest == "" {
			break
		}
		if err := p.term(); err != nil {
			return err
		}
	}
	if p.or {
		return wrong("OR needs something to its right")
	}
	return nil
}

// term reads a word, a phrase or OR.
func (p *parser) term() error {
	text, not := strings.CutPrefix(p.rest, "-")
	if r, size := utf8.DecodeRuneInString(text); size > 0 && strings.ContainsRune(quotes, r) {
		inside := text[size:]
		end := strings.IndexAny(inside, quotes)
		if end < 0 {
			return wrong("a quotation mark is not closed")
		}
		_, size := utf8.DecodeRuneInString(inside[end:])
		after := inside[end+size:]
		inside = inside[:end]
		p.rest = strings.TrimLeft(after, "*")
		starred := len(p.rest) < len(after) || strings.HasSuffix(inside, "*")
		return p.add(inside, starred, not)
	}
	end := strings.IndexFunc(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune(quotes, r) })
	if end < 0 {
		end = len(text)
	}
	word := text[:end]
	p.rest = text[end:]
	if word == "OR" && !not {
		if !p.joinable || p.or {
			return wrong("OR needs something to its left")
		}
		p.or = true
		return nil
	}
	return p.add(word, strings.HasSuffix(word, "*"), not)
}

// add takes a term. One without a token, such as a comma on its own, says nothing.
func (p *parser) add(text string, starred, not bool) error {
	one := phrase{tokens: tokens(text)}
	if len(one.tokens) == 0 {
		return nil
	}
	if last := one.tokens[len(one.tokens)-1]; starred && !complete(last) {
		if one.prefix = true; utf8.RuneCountInString(last) < minPrefix {
			return wrong("what stands before a * needs %d characters", minPrefix)
		}
	}
	switch {
	case not && p.or:
		return wrong("OR cannot join what must not be there")
	case not:
		p.none = append(p.none, one)
		p.joinable = false
		return nil
	case p.or:
		p.all[len(p.all)-1] = append(p.all[len(p.all)-1], one)
	default:
		p.all = append(p.all, clause{one})
	}
	p.or, p.joinable = false, true
	return nil
}

// complete reports whether no token goes on after this one: it is a character that stands alone, or as long as tokens get.
func complete(token string) bool {
	r, size := utf8.DecodeRuneInString(token)
	return size == len(token) && classify(r) == alone || utf8.RuneCountInString(token) >= maxTokenRunes
}

// Broad reports whether a query has a prefix so short that an index has to gather very many words for it.
func (q *Query) Broad() bool {
	return slices.ContainsFunc(q.prefixes, func(p prefix) bool { return utf8.RuneCountInString(p.token) <= broadPrefix })
}

// compile gives each distinct token a bit.
func (q *Query) compile() error {
	q.exact = map[string]uint64{}
	starred := map[string]uint64{}
	next, count := uint64(1), 0
	bits := func(one phrase) []uint64 {
		list := make([]uint64, len(one.tokens))
		for i, token := range one.tokens {
			slots := q.exact
			if one.prefix && i == len(one.tokens)-1 {
				slots = starred
			}
			if slots[token] == 0 {
				slots[token] = next
				next <<= 1
			}
			list[i] = slots[token]
		}
		count += len(list)
		return list
	}
	for _, any := range q.all {
		for _, one := range any {
			q.phrases = append(q.phrases, bits(one))
		}
	}
	q.wanted = len(q.phrases)
	for _, one := range q.none {
		q.phrases = append(q.phrases, bits(one))
	}
	if count > MaxTokens {
		return wrong("it may have %d words", MaxTokens)
	}
	for token, bit := range starred {
		q.prefixes = append(q.prefixes, prefix{token, bit})
	}
	return nil
}

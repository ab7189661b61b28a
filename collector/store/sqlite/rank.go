package sqlite

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"math"
	"slices"

	"github.com/openalign/align/collector"
)

// The order of a ranked search: those conversations first of which a message says best what was asked for.
//
// A message's score is BM25's: a phrase counts more the rarer it is, less each time it comes again, and less in a long
// message. Two things bound the work, whatever is asked. Only the newest rankedMessages that match are ranked; of what nearly
// every message says, older ones are not better. How rare a phrase is, is counted up to sampledMessages, and beyond that told by
// how close together the newest so many are. Scores do not depend on what else is stored but for that, and tokens carry
// it, so the order stays from page to page.

const (
	rankedMessages  = 3000
	sampledMessages = 1000
	sampledDocs     = 25_000

	// The usual constants of BM25, and a usual message, in words.
	rankK1     = 1.2
	rankB      = 0.75
	rankLength = 25
)

// tokenRanked is the first byte of tokens of a ranked search. The weights of phrases follow, and the last hit's score, start
// and id.
const tokenRanked = 'r'

// rankPosition is where a page of a ranked search ended.
type rankPosition struct {
	score float64
	position
}

func compareRanks(a, b rankPosition) int {
	return cmp.Or(cmp.Compare(b.score, a.score), comparePositions(b.position, a.position))
}

// ranked lists the best.
func (t *textSearch) ranked(ctx context.Context, page collector.Page, offset int) ([]collector.Hit, string, error) {
	after := rankPosition{math.Inf(+1), position{math.MaxInt64, "\xff"}}
	phrases := t.parsed.Phrases(t.space)
	var (
		weights []float32
		err     error
	)
	if page.Token != "" {
		weights, after, err = parseRank(page.Token, len(phrases))
	} else {
		weights, err = t.weights(ctx, phrases)
	}
	if err != nil {
		return nil, "", err
	}
	list, err := t.best(ctx, weights)
	if err != nil {
		return nil, "", err
	}
	list = slices.DeleteFunc(list, func(f *candidate) bool { return compareRanks(rankPosition{f.score, f.position}, after) <= 0 })
	list = list[min(offset, len(list)):]
	size := pageSize(page)
	hits, more, err := t.hits(ctx, list, size)
	if err != nil || !more {
		return hits, "", err
	}
	last := list[slices.IndexFunc(list, func(f *candidate) bool { return f.id == hits[len(hits)-1].ID })]
	return hits, rankToken(weights, rankPosition{last.score, last.position}), nil
}

// best returns the conversations of the newest messages that match, the best first, ties as everywhere.
func (t *textSearch) best(ctx context.Context, weights []float32) ([]*candidate, error) {
	all := map[int64]*candidate{}
	left := rankedMessages
	err := t.matches(ctx, math.MaxInt64, true, func(m *match) bool {
		f := all[m.session]
		if f == nil {
			f = &candidate{position: m.position}
			all[m.session] = f
		}
		counts, length := t.matcher.Counts()
		f.score = max(f.score, score(weights, counts, length))
		f.add(m, t.matcher)
		left--
		return left > 0
	})
	list := make([]*candidate, 0, len(all))
	for _, f := range all {
		list = append(list, f)
	}
	slices.SortFunc(list, func(a, b *candidate) int {
		return compareRanks(rankPosition{a.score, a.position}, rankPosition{b.score, b.position})
	})
	return list, err
}

// score returns the score of a text of a length that has each phrase so often.
func score(weights []float32, counts []int, length int) (sum float64) {
	for i, n := range counts {
		tf := float64(n)
		sum += float64(weights[i]) * tf * (rankK1 + 1) / (tf + rankK1*(1-rankB+rankB*float64(length)/rankLength))
	}
	return sum
}

// weights says how much each phrase counts.
func (t *textSearch) weights(ctx context.Context, phrases []string) ([]float32, error) {
	weights := make([]float32, len(phrases))
	var total int64
	if err := t.store.search.QueryRowContext(ctx, `SELECT message FROM found.filled`).Scan(&total); err != nil {
		return nil, err
	}
	for i, phrase := range phrases {
		with := float64(0)
		if t.space != "" {
			n, first, err := t.sample(ctx, phrase)
			if err != nil {
				return nil, err
			}
			if with = float64(n); n == sampledMessages {
				among := 0
				if err := t.store.search.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM found.docs WHERE id >= ? ORDER BY id DESC LIMIT ?)`,
					first, sampledDocs).Scan(&among); err != nil {
					return nil, err
				}
				with = float64(total) * float64(n) / float64(max(among, n))
			}
		}
		of := max(float64(total), with)
		weights[i] = float32(math.Log(1 + (of-with+0.5)/(with+0.5)))
	}
	return weights, nil
}

// sample counts the newest documents with a phrase, and returns the oldest of them.
func (t *textSearch) sample(ctx context.Context, phrase string) (n int, first int64, err error) {
	err = t.store.search.QueryRowContext(ctx, `SELECT count(*), coalesce(min(id), 0) FROM
		(SELECT rowid AS id FROM found.words WHERE words MATCH ? ORDER BY rowid DESC LIMIT ?)`, phrase, sampledMessages).Scan(&n, &first)
	return n, first, err
}

func rankToken(weights []float32, p rankPosition) string {
	b := []byte{tokenRanked, byte(len(weights))}
	for _, w := range weights {
		b = binary.BigEndian.AppendUint32(b, math.Float32bits(w))
	}
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(p.score))
	b = binary.BigEndian.AppendUint64(b, uint64(p.start))
	return base64.RawURLEncoding.EncodeToString(append(b, p.id...))
}

// parseRank reads a token of a search for so many phrases.
func parseRank(token string, phrases int) (weights []float32, p rankPosition, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 2+4*phrases+17 || b[0] != tokenRanked || int(b[1]) != phrases {
		return nil, p, collector.ErrPageToken
	}
	b = b[2:]
	for range phrases {
		w := math.Float32frombits(binary.BigEndian.Uint32(b))
		if !(w >= 0 && w <= 100) { // also what is no number
			return nil, p, collector.ErrPageToken
		}
		weights, b = append(weights, w), b[4:]
	}
	p.score = math.Float64frombits(binary.BigEndian.Uint64(b))
	p.start, p.id = int64(binary.BigEndian.Uint64(b[8:])), string(b[16:])
	if math.IsNaN(p.score) {
		return nil, p, collector.ErrPageToken
	}
	return weights, p, nil
}

package dashboard

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/openalign/align/collector/digest"
	"github.com/openalign/align/collector/outcome"
)

// What the overview counts, by the definitions of metrics: a conversation belongs to the day it started on, in UTC; those in
// test mode do not count; a rate without a denominator is no number; percentiles are by nearest rank.

const dayLength = 24 * time.Hour

// digested gives digests of conversations; a store does.
type digested interface {
	Digests(ctx context.Context, project string, window digest.Window, yield func(*digest.Digest) error) error
}

// figures are what there was in some time, or on one day of it.
type figures struct {
	Sessions  int
	Users     int // distinct, of those who are known
	Messages  int // of users and assistants
	Answers   int // of assistants
	Up, Down  int // current votes on answers
	Rated     int // answers with a vote
	Latency   percentiles
	Statuses  []int // by outcome.Statuses
	latencies []int64
	users     map[string]struct{}
}

// percentiles are in milliseconds, of N answers. They mean nothing where N is 0.
type percentiles struct {
	P50, P95, P99 int64
	N             int
}

// period is some days, and what there was on each.
type period struct {
	From, To time.Time // whole days, half open
	figures
	Days []figures
}

// figuresOf counts the days of a time.
func figuresOf(ctx context.Context, store digested, project string, from, to time.Time) (*period, error) {
	p := &period{From: from, To: to, Days: make([]figures, int(to.Sub(from)/dayLength)), figures: figures{Statuses: make([]int, len(outcome.Statuses))}}
	err := store.Digests(ctx, project, digest.Window{From: from, To: to}, func(d *digest.Digest) error {
		at := int(time.Duration(d.Start-from.UnixNano()) / dayLength)
		if d.Numbers[digest.TestMode] == 1 || at < 0 || at >= len(p.Days) {
			return nil
		}
		p.Days[at].add(d)
		if status := d.Numbers[digest.Status]; status >= 0 && int(status) < len(p.Statuses) {
			p.Statuses[status]++
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	p.users = map[string]struct{}{}
	for i := range p.Days {
		one := &p.Days[i]
		p.Sessions, p.Messages, p.Answers = p.Sessions+one.Sessions, p.Messages+one.Messages, p.Answers+one.Answers
		p.Up, p.Down, p.Rated = p.Up+one.Up, p.Down+one.Down, p.Rated+one.Rated
		for user := range one.users {
			p.users[user] = struct{}{}
		}
		p.latencies = append(p.latencies, one.latencies...)
		one.finish()
	}
	p.finish()
	return p, nil
}

// add counts a conversation.
func (f *figures) add(d *digest.Digest) {
	n := &d.Numbers
	f.Sessions++
	f.Messages += int(n[digest.UserMessages] + n[digest.AssistantMessages])
	f.Answers += int(n[digest.AssistantMessages])
	f.Up, f.Down, f.Rated = f.Up+int(n[digest.VotesUp]), f.Down+int(n[digest.VotesDown]), f.Rated+int(n[digest.Rated])
	f.latencies = append(f.latencies, d.Samples[digest.Latencies]...)
	if d.UserID != "" {
		if f.users == nil {
			f.users = map[string]struct{}{}
		}
		f.users[d.UserID] = struct{}{}
	}
}

func (f *figures) finish() {
	slices.Sort(f.latencies)
	f.Latency = percentiles{N: len(f.latencies)}
	if f.Latency.N > 0 {
		f.Latency.P50, f.Latency.P95, f.Latency.P99 = nearestRank(f.latencies, .50), nearestRank(f.latencies, .95), nearestRank(f.latencies, .99)
	}
	f.Users = len(f.users)
	f.latencies, f.users = nil, nil
}

// nearestRank is the value at ceil(p·n) of n sorted ones.
func nearestRank(sorted []int64, p float64) int64 {
	return sorted[max(0, int(math.Ceil(p*float64(len(sorted))))-1)]
}

// thumbs is how many votes of how many are up.
func (f *figures) thumbs() ratio { return ratio{f.Up, f.Up + f.Down} }

// ratio is a rate. One with a denominator of 0 has no value.
type ratio struct{ Numerator, Denominator int }

// Value is NaN where there is none.
func (r ratio) Value() float64 {
	if r.Denominator == 0 {
		return math.NaN()
	}
	return float64(r.Numerator) / float64(r.Denominator)
}

// Interval is Wilson's, of 95 percent; NaN where there is none.
func (r ratio) Interval() (low, high float64) {
	if r.Denominator == 0 {
		return math.NaN(), math.NaN()
	}
	const z = 1.959963984540054
	n, p := float64(r.Denominator), r.Value()
	middle := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	return max(0, middle-half), min(1, middle+half)
}

package report

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/openalign/align/collector/digest"
	"github.com/openalign/align/collector/metrics"
	"github.com/openalign/align/collector/outcome"
)

func value(hits, n float64) *metrics.Value {
	v := &metrics.Value{Numerator: hits, Denominator: n}
	if n > 0 {
		v.Value = new(hits / n)
	}
	return v
}

// Where nothing has changed, about one change in twenty looks beyond noise, and where much has, nearly all do.
func TestVerdictsAreRightAsOftenAsTheySay(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	share := func(p float64, n int) *metrics.Value {
		hits := 0
		for range n {
			if r.Float64() < p {
				hits++
			}
		}
		return value(float64(hits), float64(n))
	}
	days := func(level float64) (list []float64) {
		for range 7 {
			list = append(list, level+20*r.NormFloat64())
		}
		return list
	}
	sample := func(scale float64, n int) (list []int64) {
		for range n {
			list = append(list, int64(scale*math.Exp(r.NormFloat64())))
		}
		return sorted(list)
	}
	for name, test := range map[string]func(changed bool) Difference{
		"shares": func(changed bool) Difference {
			p := .7
			if changed {
				p = .9
			}
			return differ(normal95, share(.7, 200), share(p, 220))
		},
		"days": func(changed bool) Difference {
			level := 100.0
			if changed {
				level = 200
			}
			return differByDay(days(100), days(level))
		},
		"median": func(changed bool) Difference {
			scale := 1000.0
			if changed {
				scale = 1600
			}
			return differAt(50, sample(1000, 400), sample(scale, 300))
		},
		"p95": func(changed bool) Difference {
			scale := 1000.0
			if changed {
				scale = 3000
			}
			return differAt(95, sample(1000, 800), sample(scale, 700))
		},
	} {
		const tries = 1000
		for _, changed := range []bool{false, true} {
			beyond := 0
			for range tries {
				if d := test(changed); d.Verdict == Beyond {
					beyond++
				}
			}
			if !changed && beyond > tries*8/100 || changed && beyond < tries*95/100 {
				t.Errorf("%s, changed %v: %d of %d beyond noise", name, changed, beyond, tries)
			}
		}
	}
}

func TestTooLittleIsNotJudged(t *testing.T) {
	nan := math.NaN()
	for name, d := range map[string]Difference{
		"few votes":             differ(normal95, value(10, 29), value(900, 1000)),
		"none":                  differ(normal95, value(0, 0), value(0, 0)),
		"four days":             differByDay([]float64{1, 2, 3, 4}, []float64{100, 200, 300, 400}),
		"days unknown":          differByDay([]float64{1, nan, nan, 4, 5, 6}, []float64{100, 200, 300, 400, 500, 600}),
		"nothing before":        differByDay(make([]float64, 7), []float64{1, 2, 3, 4, 5, 6, 7}),
		"p99 of a hundred":      differAt(99, make([]int64, 100), make([]int64, 10_000)),
		"no answers":            differAt(50, nil, nil),
		"the other side of p99": differAt(99, make([]int64, 10_000), make([]int64, 100)),
	} {
		if d.Verdict != NotEnough || !math.IsNaN(d.Low) {
			t.Errorf("%s: %+v", name, d)
		}
	}
	if d := differByDay([]float64{5, 5, 5, 5, 5}, []float64{5, 5, 5, 5, 5}); d.Verdict != Within {
		t.Errorf("days that are alike: %+v", d)
	}
}

func TestQuantiles(t *testing.T) {
	if z := quantile(.05); math.Abs(z-1.959964) > 1e-6 {
		t.Errorf("normal: %v", z)
	}
	for freedom, want := range map[int]float64{1: 12.706, 6: 2.447, 30: 2.042, 31: 2.040, 60: 2.000, 120: 1.980, 399: 1.966} {
		if got := student(freedom); math.Abs(got-want) > 1e-3 {
			t.Errorf("student of %d: %v, want %v", freedom, got, want)
		}
	}
}

// What groups did to a rate adds up to its change, whatever comes, goes and is empty.
func TestMoversAddUpToTheChange(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 5))
	for range 2000 {
		sides := [2]grouped{{}, {}}
		var hits, n [2]float64
		for i, side := range sides {
			for _, name := range []string{"", "a", "b", "c", others} {
				if r.IntN(4) == 0 {
					continue
				}
				of := r.IntN(50)
				got := r.IntN(of + 1)
				side[name] = map[string]*metrics.Value{"rate": value(float64(got), float64(of))}
				hits[i], n[i] = hits[i]+float64(got), n[i]+float64(of)
			}
		}
		list := moversOf("channel", "rate", sides[1], sides[0])
		if n[0] == 0 || n[1] == 0 {
			if list != nil {
				t.Fatalf("movers of nothing: %v", list)
			}
			continue
		}
		sum := 0.0
		for _, g := range list {
			sum += g.By
		}
		if want := hits[1]/n[1] - hits[0]/n[0]; math.Abs(sum-want) > 1e-12 {
			t.Fatalf("%v and %v: groups add up to %v, want %v", sides[0], sides[1], sum, want)
		}
	}
}

// A group that grows moves the rate of all towards its own, and one that is like all does not move it.
func TestMoversAreWeightedByHowFarTheyAreFromAll(t *testing.T) {
	side := func(list map[string][2]float64) grouped {
		g := grouped{}
		for name, n := range list {
			g[name] = map[string]*metrics.Value{"rate": value(n[0], n[1])}
		}
		return g
	}
	for name, c := range map[string]struct {
		before, now map[string][2]float64
		want        map[string]float64
	}{
		"sizes": {map[string][2]float64{"a": {50, 100}, "b": {90, 100}}, map[string][2]float64{"a": {25, 50}, "b": {135, 150}}, map[string]float64{"a": .0625, "b": .0375}},
		"rates": {map[string][2]float64{"a": {50, 100}, "b": {90, 100}}, map[string][2]float64{"a": {60, 100}, "b": {90, 100}}, map[string]float64{"a": .05, "b": 0}},
		"like all, and new": {map[string][2]float64{"a": {50, 100}}, map[string][2]float64{"a": {50, 100}, "b": {50, 100}},
			map[string]float64{"a": 0, "b": 0}},
	} {
		for _, g := range moversOf("channel", "rate", side(c.now), side(c.before)) {
			if math.Abs(g.By-c.want[g.Group]) > 1e-12 {
				t.Errorf("%s: %s moved it by %v, want %v", name, g.Group, g.By, c.want[g.Group])
			}
		}
	}
}

func TestWorstConversationsAreRankedByTheRule(t *testing.T) {
	status := func(s outcome.Status) int64 { return int64(slices.Index(outcome.Statuses, s)) }
	for name, c := range map[string]struct {
		numbers map[digest.Column]int64
		points  int
		reasons []string
	}{
		"nothing":            {nil, 0, nil},
		"a vote":             {map[digest.Column]int64{digest.VotesDown: 1}, 3, []string{"thumbs down"}},
		"many votes":         {map[digest.Column]int64{digest.VotesDown: 1200}, 9, []string{"1\u202f200 thumbs down"}},
		"votes in favour":    {map[digest.Column]int64{digest.VotesUp: 3, digest.SessionVotes: 2, digest.SessionPositive: 2}, 0, nil},
		"a vote on all":      {map[digest.Column]int64{digest.SessionVotes: 2, digest.SessionPositive: 1}, 3, []string{"vote against the whole"}},
		"handed on":          {map[digest.Column]int64{digest.Transferred: 1, digest.Status: status(outcome.StatusAgent)}, 2, []string{"handed to people"}},
		"nobody came":        {map[digest.Column]int64{digest.Transferred: 1, digest.Status: status(outcome.StatusFailedEscalation)}, 3, []string{"no human came"}},
		"errors":             {map[digest.Column]int64{digest.FailedTurns: 2}, 4, []string{"2 failed answers"}},
		"not understood":     {map[digest.Column]int64{digest.NotUnderstood: 1}, 1, []string{"message not understood"}},
		"again and again":    {map[digest.Column]int64{digest.NotUnderstood: 7}, 5, []string{"7 messages not understood"}},
		"errors and a thumb": {map[digest.Column]int64{digest.FailedTurns: 1, digest.VotesDown: 1}, 5, []string{"thumbs down", "failed answer"}},
	} {
		d := &digest.Digest{ID: "x"}
		for column, n := range c.numbers {
			d.Numbers[column] = n
		}
		got, ok := against(d)
		if got.Points != c.points || ok != (c.points > 0) || !slices.Equal(got.Reasons, c.reasons) {
			t.Errorf("%s: %d points %q, want %d %q", name, got.Points, got.Reasons, c.points, c.reasons)
		}
	}
	at := settledDay
	list := firstWorst([]Worst{{ID: "late", Points: 3, Start: at.AddDate(0, 0, 1)}, {ID: "b", Points: 3, Start: at}, {ID: "most", Points: 9, Start: at}, {ID: "a", Points: 3, Start: at}}, 3)
	var ids []string
	for _, w := range list {
		ids = append(ids, w.ID)
	}
	if !slices.Equal(ids, []string{"most", "late", "a"}) {
		t.Errorf("in the order %v", ids)
	}
}

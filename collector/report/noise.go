package report

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/metrics"
)

// Whether a change is more than noise: an interval of the difference says so, and where there is too little for one, nothing
// does.

// Verdict is what can be said of a change.
type Verdict string

const (
	Beyond    Verdict = "beyond noise" // the 95 % interval of the difference does not hold 0
	Within    Verdict = "within noise"
	NotEnough Verdict = "not enough data"
)

const (
	leastCounted = 30 // things a share must be of, in each period
	leastDays    = 5  // days that counts are compared over
)

// normal95 is the normal quantile of a two-sided 95 %.
var normal95 = quantile(.05)

// quantile returns the normal quantile that leaves so much of the probability outside, on both sides together.
func quantile(outside float64) float64 { return distuv.UnitNormal.Quantile(1 - outside/2) }

// Difference is a change with its interval: now less before. Low and High are NaN where there is none.
type Difference struct {
	Low, High float64
	Verdict   Verdict
}

var unjudged = Difference{math.NaN(), math.NaN(), NotEnough}

func difference(low, high float64) Difference {
	if low > 0 || high < 0 {
		return Difference{low, high, Beyond}
	}
	return Difference{low, high, Within}
}

// differ compares two shares, by Newcombe's interval at a normal quantile. It takes what is counted for independent; messages
// of one conversation are less than that.
func differ(z float64, before, now *metrics.Value) Difference {
	if before.Denominator < leastCounted || now.Denominator < leastCounted {
		return unjudged
	}
	return difference(metrics.NewcombeAt(z, before.Numerator, before.Denominator, now.Numerator, now.Denominator))
}

// differByDay compares what there was on each day with what there was as many days before, by Student's interval of the mean
// of the differences. NaN is a day of which nothing is known: it is left out with its partner.
func differByDay(before, now []float64) Difference {
	var deltas []float64
	known := false
	for i := range now {
		if !math.IsNaN(now[i]) && !math.IsNaN(before[i]) {
			deltas = append(deltas, now[i]-before[i])
			known = known || before[i] != 0
		}
	}
	n := float64(len(deltas))
	if n < leastDays || !known {
		return unjudged
	}
	mean, square := 0.0, 0.0
	for _, d := range deltas {
		mean += d / n
	}
	for _, d := range deltas {
		square += (d - mean) * (d - mean)
	}
	half := student(len(deltas)-1) * math.Sqrt(square/(n-1)/n)
	return difference(mean-half, mean+half)
}

// differAt compares a percentile of two sorted samples. Each has the interval that its ranks give; the two are squared and
// added, as Newcombe's are.
func differAt(percent int, before, now []int64) Difference {
	value0, low0, high0, ok0 := rankInterval(percent, before)
	value1, low1, high1, ok1 := rankInterval(percent, now)
	if !ok0 || !ok1 {
		return unjudged
	}
	delta := value1 - value0
	return difference(delta-math.Hypot(value1-low1, high0-value0), delta+math.Hypot(high1-value1, value0-low0))
}

// rankInterval returns a percentile, nearest rank, with the samples at the ranks between which it is with 95 % confidence.
// There are none where the sample is too small for such ranks.
func rankInterval(percent int, sorted []int64) (value, low, high float64, ok bool) {
	n, p := float64(len(sorted)), float64(percent)/100
	around := normal95 * math.Sqrt(n*p*(1-p))
	from, to := int(math.Floor(n*p-around)), int(math.Ceil(n*p+around))+1
	if from < 1 || to > len(sorted) {
		return 0, 0, 0, false
	}
	return float64(sorted[(percent*len(sorted)+99)/100-1]), float64(sorted[from-1]), float64(sorted[to-1]), true
}

// student returns the quantile of Student's distribution of a two-sided 95 %, for some degrees of freedom.
func student(freedom int) float64 {
	return distuv.StudentsT{Sigma: 1, Nu: float64(freedom)}.Quantile(.975)
}

// byDay is a number of each day of a period; zero is what a day without conversations has.
func byDay(p *figures.Period, zero float64, of func(day map[string]*metrics.Value) float64) []float64 {
	list := p.Series(of)
	for i, day := range p.Days {
		if day == nil {
			list[i] = zero
		}
	}
	return list
}

func sorted(samples []int64) []int64 {
	slices.Sort(samples)
	return samples
}

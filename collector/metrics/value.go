package metrics

import (
	"cmp"
	"math"
	"slices"
)

// Value is a metric that was computed.
type Value struct {
	Name                   string
	Numerator, Denominator float64
	Value                  *float64 // nil where the denominator is 0
	Interval               *[2]float64
	Distribution           *Spread
	// Before is the value of the time before, Change what became of it: in percent, of rates in percentage points. Nil is
	// unknown.
	Before, Change *float64
}

// Spread is what is told of a distribution: nothing where N is 0.
type Spread struct {
	N                        int
	Mean, P50, P90, P95, P99 *float64
}

// valueOf makes a value of its sums. A rate or mean without a denominator is unknown, and never 0.
func valueOf(d *Definition, numerator, denominator float64) Value {
	v := Value{Name: d.Name, Numerator: numerator / cmp.Or(d.Scale, 1), Denominator: denominator}
	if d.Kind == Count {
		v.Denominator = 1
	}
	if v.Denominator != 0 {
		v.Value = new(v.Numerator / v.Denominator)
	}
	if d.Interval && denominator > 0 {
		low, high := Wilson(numerator, denominator)
		v.Interval = &[2]float64{low, high}
	}
	return v
}

// spreadOf makes a value of samples, which it sorts. Its numerator is their sum, its denominator their number.
func spreadOf(d *Definition, samples []int64) Value {
	slices.Sort(samples)
	sum := 0.0
	for _, x := range samples {
		sum += float64(x)
	}
	n := len(samples)
	v := Value{Name: d.Name, Numerator: sum, Denominator: float64(n), Distribution: &Spread{N: n}}
	if n > 0 {
		s := v.Distribution
		s.Mean = new(sum / float64(n))
		s.P50, s.P90 = new(float64(nearestRank(samples, 50))), new(float64(nearestRank(samples, 90)))
		s.P95, s.P99 = new(float64(nearestRank(samples, 95))), new(float64(nearestRank(samples, 99)))
		v.Value = s.P50
	}
	return v
}

// nearestRank returns a percentile of samples that are sorted: the one at rank ⌈percent × n / 100⌉, from 1.
func nearestRank(sorted []int64, percent int) int64 {
	return sorted[(percent*len(sorted)+99)/100-1]
}

// z is the normal quantile of a two-sided 95 %.
const z = 1.959963984540054

// Wilson returns the 95 % score interval of a share of n.
func Wilson(hits, n float64) (low, high float64) { return WilsonAt(z, hits, n) }

// WilsonAt is [Wilson] with another quantile of the normal distribution: a larger one gives a wider interval.
func WilsonAt(z, hits, n float64) (low, high float64) {
	if n <= 0 {
		return 0, 1
	}
	p := hits / n
	middle := p + z*z/(2*n)
	spread := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	scale := 1 + z*z/n
	low, high = max(0, (middle-spread)/scale), min(1, (middle+spread)/scale)
	if hits == 0 {
		low = 0
	}
	if hits == n {
		high = 1
	}
	return low, high
}

// Newcombe returns the 95 % interval of the difference of two shares, the second less the first, by the square-and-add of
// their Wilson intervals.
func Newcombe(hits1, n1, hits2, n2 float64) (low, high float64) {
	return NewcombeAt(z, hits1, n1, hits2, n2)
}

// NewcombeAt is [Newcombe] with another quantile of the normal distribution, for when more than one difference is looked at.
func NewcombeAt(z, hits1, n1, hits2, n2 float64) (low, high float64) {
	p1, p2 := hits1/n1, hits2/n2
	low1, high1 := WilsonAt(z, hits1, n1)
	low2, high2 := WilsonAt(z, hits2, n2)
	return p2 - p1 - math.Hypot(p2-low2, high1-p1), p2 - p1 + math.Hypot(high2-p2, p1-low1)
}

// against compares a value with that of the time before.
func (v *Value) against(d *Definition, before *Value) {
	if v.Before = before.Value; v.Before == nil || v.Value == nil {
		return
	}
	switch {
	case d.Kind == Rate:
		v.Change = new(100 * (*v.Value - *v.Before))
	case *v.Before != 0:
		v.Change = new(100 * (*v.Value - *v.Before) / math.Abs(*v.Before))
	}
}

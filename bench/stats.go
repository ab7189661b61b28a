package main

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// percentile returns the smallest sample that at least the share q of all samples do not exceed. Samples are sorted.
func percentile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[min(max(rank, 0), len(sorted)-1)]
}

// spread is a figure over the rounds of a benchmark.
type spread struct{ Median, Min, Max float64 }

func spreadOf(values []float64) spread {
	if len(values) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	s := slices.SortedFunc(slices.Values(values), cmp.Compare)
	middle := len(s) / 2
	median := s[middle]
	if len(s)%2 == 0 {
		median = (s[middle-1] + median) / 2
	}
	return spread{median, s[0], s[len(s)-1]}
}

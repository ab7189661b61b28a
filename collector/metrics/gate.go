package metrics

import (
	"fmt"
	"strings"
)

// Verdict is what a gate says.
type Verdict string

const (
	Pass          Verdict = "pass"
	Fail          Verdict = "fail"
	NotEnoughData Verdict = "not enough data"
)

// Limit is how much worse a rate may get, as a share: 0.03 is three percentage points.
type Limit struct {
	Metric string
	Worst  float64
	Rise   bool // getting worse is rising, as of errors; else falling
}

// Judged is what a gate says of one limit.
type Judged struct {
	Limit               Limit
	Baseline, Candidate Value
	Low, High           float64 // the 95 % interval of candidate − baseline
	Verdict             Verdict
	Reason              string
}

// Gated returns the definition of a metric that a gate can judge: a share of things each of which is in it or not. The
// name may lack its _rate.
func Gated(name string) (*Definition, error) {
	d := Find(name)
	if d == nil {
		d = Find(name + "_rate")
	}
	if d == nil {
		return nil, fmt.Errorf("%w: there is no metric of that name; `align metrics --list` names them", ErrInvalid)
	}
	if d.Kind != Rate || d.Scale > 1 || d.Statement == "stickiness" || strings.HasPrefix(d.Name, "net_") {
		return nil, fmt.Errorf("%w: a gate judges shares, which %s is not", ErrInvalid, d.Name)
	}
	return d, nil
}

// Judge compares a candidate with a baseline. It passes when even the bad end of the 95 % interval of the difference
// (Newcombe's, of two Wilson intervals) is within the limit, and fails when even the good end is beyond it; between, there
// is not enough data. Intervals take what is counted for independent; messages of one conversation are less than that.
func Judge(l Limit, baseline, candidate Value) Judged {
	j := Judged{Limit: l, Baseline: baseline, Candidate: candidate, Low: -1, High: 1, Verdict: NotEnoughData}
	if baseline.Value == nil || candidate.Value == nil {
		j.Reason = "nothing to compare: a denominator is 0"
		return j
	}
	j.Low, j.High = Newcombe(baseline.Numerator, baseline.Denominator, candidate.Numerator, candidate.Denominator)
	worse, better, good, bad := "fell", "rose", -j.High, -j.Low
	if l.Rise {
		worse, better, good, bad = "rose", "fell", j.Low, j.High
	}
	limit := points(l.Worst)
	switch {
	case bad <= min(l.Worst, 0):
		j.Verdict = Pass
		j.Reason = fmt.Sprintf("it %s by at least %s with 95 %% confidence", better, points(-bad))
	case bad <= l.Worst:
		j.Verdict = Pass
		j.Reason = fmt.Sprintf("it %s by at most %s with 95 %% confidence; by %s it may", worse, points(bad), limit)
	case good > l.Worst:
		j.Verdict = Fail
		j.Reason = fmt.Sprintf("it %s by at least %s with 95 %% confidence; by %s it may", worse, points(good), limit)
	case good < 0:
		j.Reason = fmt.Sprintf("it %s by up to %s or %s by up to %s with 95 %% confidence; whether it %s by more than %s takes more data",
			better, points(-good), worse, points(bad), worse, limit)
	default:
		j.Reason = fmt.Sprintf("it %s by %s to %s with 95 %% confidence; whether by more than %s takes more data", worse, points(good), points(bad), limit)
	}
	return j
}

// points writes a difference, which is not negative, in percentage points.
func points(share float64) string { return fmt.Sprintf("%.1f pp", max(0, 100*share)) }

// Overall is the verdict on all: fail if one fails, else not enough data if one has not.
func Overall(list []Judged) Verdict {
	all := Pass
	for _, j := range list {
		switch j.Verdict {
		case Fail:
			return Fail
		case NotEnoughData:
			all = NotEnoughData
		}
	}
	return all
}

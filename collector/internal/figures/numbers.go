package figures

import (
	"math"
	"strconv"
	"time"

	"github.com/openalign/align/collector/metrics"
)

// Written writes a number of a metric in its unit; a dash where it is unknown.
func Written(d *metrics.Definition, v *float64) string {
	switch {
	case v == nil:
		return "–"
	case d.Kind == metrics.Rate:
		return Percent(*v)
	case d.Unit == "ms":
		return Duration(time.Duration(*v * float64(time.Millisecond)))
	case d.Unit == "USD":
		return "$" + strconv.FormatFloat(*v, 'f', 4, 64)
	case *v == math.Trunc(*v) && math.Abs(*v) < 1e15:
		return Count(int(*v))
	}
	return strconv.FormatFloat(*v, 'f', 2, 64)
}

// Change says how a number differs from the one before: rates in percentage points, all else in percent. Empty is unknown.
func Change(d *metrics.Definition, now, before *float64) string {
	switch {
	case now == nil || before == nil:
		return ""
	case d.Kind == metrics.Rate:
		return Signed(100*(*now-*before)) + " points"
	case *before == 0:
		return ""
	}
	return Growth(*now, *before)
}

// manifold is from which factor on growth is written as one: nobody reads +17,100 %.
const manifold = 10

// Growth says how a number differs from one before that is not 0.
func Growth(now, before float64) string {
	if times := now / before; times >= manifold {
		return "×\u202f" + Whole(math.Round(times))
	}
	return Signed(100*(now-before)/math.Abs(before)) + "\u202f%"
}

// Percent writes a rate, and a dash where there is none.
func Percent(value float64) string {
	if math.IsNaN(value) {
		return "–"
	}
	text := strconv.FormatFloat(100*value, 'f', 1, 64)
	if n := len(text); n > 2 && text[n-2:] == ".0" {
		text = text[:n-2]
	}
	return text + "\u202f%"
}

// Signed writes a difference with its sign.
func Signed(value float64) string {
	text := strconv.FormatFloat(math.Abs(value), 'f', 1, 64)
	switch {
	case text == "0.0":
		return "±0"
	case value < 0:
		return "−" + text
	}
	return "+" + text
}

// Interval writes an interval of a rate.
func Interval(v *metrics.Value) string {
	if v.Interval == nil {
		return ""
	}
	return Percent(v.Interval[0]) + " – " + Percent(v.Interval[1])
}

// Count writes a number with a narrow space between thousands.
func Count(n int) string {
	text := strconv.Itoa(n)
	from := 0
	if n < 0 {
		from = 1
	}
	for at := len(text) - 3; at > from; at -= 3 {
		text = text[:at] + "\u202f" + text[at:]
	}
	return text
}

// Whole writes what is counted.
func Whole(n float64) string { return Count(int(n)) }

// Duration writes a duration in the unit that fits it, with two or three digits.
func Duration(d time.Duration) string {
	switch {
	case d < 0:
		return "−" + Duration(-d)
	case d < 10*time.Millisecond:
		return strconv.FormatFloat(float64(d)/float64(time.Millisecond), 'f', 1, 64) + " ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
	case d < 2*time.Minute:
		return strconv.FormatFloat(d.Seconds(), 'f', 0, 64) + " s"
	case d < 2*time.Hour:
		return strconv.Itoa(int(d/time.Minute)) + " min"
	case d < 48*time.Hour:
		return strconv.Itoa(int(d/time.Hour)) + " h"
	}
	return strconv.Itoa(int(d/(24*time.Hour))) + " days"
}

// ShortDay writes a day without its year.
func ShortDay(t time.Time) string { return t.UTC().Format("2 Jan") }

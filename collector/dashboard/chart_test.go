package dashboard

import (
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

func drawnDays(n int) (list []time.Time) {
	for i := range n {
		list = append(list, time.Date(2026, 3, 1+i, 0, 0, 0, 0, time.UTC))
	}
	return list
}

// Charts are well-formed, and have no style that a page's policy would not let them.
func TestChartsAreDrawnForAnyValues(t *testing.T) {
	nan, inf := math.NaN(), 1e300
	for name, values := range map[string][]float64{
		"none": {}, "one": {3}, "nothing known": {nan, nan, nan}, "zero": {0, 0}, "gaps": {nan, 1, nan, nan, 2, 3, nan}, "large": {inf, 1, inf}, "small": {1e-9, 2e-9}, "many": make([]float64, 400),
	} {
		for _, c := range []chart{
			{Title: `<"&'>`, days: drawnDays(len(values)), series: []series{{Class: "s1", bars: true, values: values}}},
			{days: drawnDays(len(values)), unit: percent, top: 1, series: []series{{Class: "s2", values: values, low: values, high: values}, {Class: "before", values: values}}},
		} {
			svg, err := c.SVG()
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			decoder := xml.NewDecoder(strings.NewReader(string(svg)))
			for {
				token, err := decoder.Token()
				if err == io.EOF {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v in %s", name, err, svg)
				}
				element, ok := token.(xml.StartElement)
				if !ok {
					continue
				}
				for _, attribute := range element.Attr {
					if attribute.Name.Local == "style" || attribute.Name.Local == "fill" || strings.Contains(attribute.Value, "NaN") || strings.Contains(attribute.Value, "Inf") {
						t.Errorf("%s: %s has %s=%q", name, element.Name.Local, attribute.Name.Local, attribute.Value)
					}
				}
			}
			if len(svg) > 40<<10 {
				t.Errorf("%s: %d bytes", name, len(svg))
			}
		}
	}
}

func TestTextIsCutBetweenCharacters(t *testing.T) {
	for _, c := range []struct {
		text string
		max  int
		want string
		more bool
	}{{"", 0, "", false}, {"é", 1, "", true}, {"aé", 2, "a", true}, {"aé", 3, "aé", false}, {`"a`, 4, "", true}, {`"a`, 5, `"`, true}, {`"a`, 6, `"a`, false}} {
		if got, more := cutEscaped(c.text, c.max); got != c.want || more != c.more {
			t.Errorf("%q to %d: %q %v, want %q %v", c.text, c.max, got, more, c.want, c.more)
		}
	}
	if got, more := cut("añ🙈b", 3); got != "añ🙈" || !more {
		t.Errorf("%q %v", got, more)
	}
}

func TestNumbersReadLikeNumbers(t *testing.T) {
	for got, want := range map[string]string{
		count(0): "0", count(-1234): "-1 234", count(999): "999", count(1234567): "1 234 567",
		shortNumber(1500): "1.5k", shortNumber(2e6): "2M", shortNumber(.25): "0.25",
		shortDuration(1500 * time.Microsecond): "1.5 ms", shortDuration(1234 * time.Millisecond): "1.23 s", shortDuration(90 * time.Minute): "90 min",
		percent(.7081): "70.8 %", percent(1): "100 %", percent(math.NaN()): "–", signed(-.04): "±0", signed(2.25): "+2.2",
		words("notUnderstood"): "not understood", words("session_open"): "session open",
	} {
		if plain := strings.ReplaceAll(got, "\u202f", " "); plain != want {
			t.Errorf("%q, want %q", plain, want)
		}
	}
}

package chart

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
		for _, c := range []Chart{
			{Title: `<"&'>`, Days: drawnDays(len(values)), Series: []Series{{Class: "s1", Bars: true, Values: values}}},
			{Days: drawnDays(len(values)), Unit: func(x float64) string { return ShortNumber(100*x) + "%" }, Top: 1, Series: []Series{{Class: "s2", Values: values, Low: values, High: values}, {Class: "before", Values: values}}},
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

func TestLargeNumbersAreShort(t *testing.T) {
	for got, want := range map[string]string{ShortNumber(1500): "1.5k", ShortNumber(2e6): "2M", ShortNumber(.25): "0.25"} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

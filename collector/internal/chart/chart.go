// Package chart draws values over days as SVG that has no style of its own: a style sheet says what its classes look like.
package chart

import (
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

const (
	chartWidth  = 440
	chartHeight = 190
)

// Chart is what a picture shows: a value for each of some days, in one or more series.
type Chart struct {
	Title  string
	Days   []time.Time
	Series []Series
	// Unit writes a value of the vertical axis. Nil is a plain number.
	Unit func(float64) string
	Top  float64 // least end of the vertical axis; 0 is whatever the values need
}

// Series is one of the values of a chart. NaN is a day without.
type Series struct {
	Name   string
	Class  string // of the style sheet: s1 to s4, or before
	Values []float64
	Bars   bool
	Low    []float64 // with High, the band around the values, of class band; nil for none
	High   []float64
}

// Drawn is a picture with its title and legend.
type Drawn struct {
	Title  string
	SVG    template.HTML
	Legend []Legend
}

// Legend names what a class shows.
type Legend struct{ Class, Name string }

// Draw draws the chart, with its legend.
func (c *Chart) Draw() (one Drawn, err error) {
	one.Title = c.Title
	for i := range c.Series {
		one.Legend = append(one.Legend, Legend{c.Series[i].Class, c.Series[i].Name})
		if c.Series[i].Low != nil {
			one.Legend = append(one.Legend, Legend{"band", "95\u202f% interval"})
		}
	}
	one.SVG, err = c.SVG()
	return one, err
}

// SVG draws the chart.
func (c *Chart) SVG() (template.HTML, error) {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.TextStyle.Color, p.X.Color, p.Y.Color = ink("axis"), ink("axis"), ink("axis")
	p.X.LineStyle.Width, p.Y.LineStyle.Width = 1, 0
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Padding = ink("axis"), 4
		axis.Tick.Length, axis.Tick.LineStyle.Width = 0, 0
		axis.Tick.Label.Font.Size, axis.Tick.Label.Color = 11, ink("axis")
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = dayTicks(c.Days), valueTicks(c.Unit)
	grid := plotter.NewGrid()
	grid.Vertical.Width, grid.Horizontal.Width = 0, 1
	grid.Horizontal.Color, grid.Horizontal.Dashes = ink("axis"), nil
	p.Add(grid)
	top := c.Top
	for i := range c.Series {
		s := &c.Series[i]
		for _, values := range [][]float64{s.Values, s.High} {
			for _, value := range values {
				if !math.IsNaN(value) {
					top = max(top, value)
				}
			}
		}
		var err error
		if s.Bars {
			err = addBars(p, s)
		} else {
			err = addLine(p, s)
		}
		if err != nil {
			return "", err
		}
	}
	if top == 0 {
		top = 1
	}
	p.X.Min, p.X.Max = -.6, float64(max(len(c.Days), 1))-.4
	p.Y.Min, p.Y.Max = 0, top*1.05
	if c.Top == 1 {
		p.Y.Max = 1
	}
	drawing := canvas{width: chartWidth, height: chartHeight}
	p.Draw(draw.New(&drawing))
	return template.HTML(`<svg viewBox="0 0 ` + strconv.Itoa(chartWidth) + " " + strconv.Itoa(chartHeight) + `" role="img" aria-label="` +
		html.EscapeString(c.Title) + `, by day; the table below has the numbers">` + drawing.b.String() + `</svg>`), nil
}

func addBars(p *plot.Plot, s *Series) error {
	values := make(plotter.Values, len(s.Values))
	for i, value := range s.Values {
		if !math.IsNaN(value) {
			values[i] = value
		}
	}
	if len(values) == 0 {
		return nil
	}
	bars, err := plotter.NewBarChart(values, vg.Length(min(26, .68*(chartWidth-50)/float64(len(values)))))
	if err != nil {
		return err
	}
	bars.Color, bars.LineStyle.Width = ink(s.Class), 0
	p.Add(bars)
	return nil
}

// addLine adds a line for each run of days that have a value.
func addLine(p *plot.Plot, s *Series) error {
	for from := 0; from < len(s.Values); from++ {
		if math.IsNaN(s.Values[from]) {
			continue
		}
		to := from
		for to < len(s.Values) && !math.IsNaN(s.Values[to]) {
			to++
		}
		points := make(plotter.XYs, to-from)
		for i := range points {
			points[i] = plotter.XY{X: float64(from + i), Y: s.Values[from+i]}
		}
		if s.Low != nil {
			around := make(plotter.XYs, 0, 2*len(points))
			for i := from; i < to; i++ {
				around = append(around, plotter.XY{X: float64(i), Y: s.High[i]})
			}
			for i := to - 1; i >= from; i-- {
				around = append(around, plotter.XY{X: float64(i), Y: s.Low[i]})
			}
			if to-from == 1 { // a day alone is a stroke upwards
				around = plotter.XYs{{X: float64(from) - .2, Y: s.Low[from]}, {X: float64(from) - .2, Y: s.High[from]},
					{X: float64(from) + .2, Y: s.High[from]}, {X: float64(from) + .2, Y: s.Low[from]}}
			}
			band, err := plotter.NewPolygon(around)
			if err != nil {
				return err
			}
			band.Color, band.LineStyle.Width = ink("band"), 0
			p.Add(band)
		}
		if to-from == 1 {
			points = plotter.XYs{{X: float64(from) - .2, Y: s.Values[from]}, {X: float64(from) + .2, Y: s.Values[from]}}
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = ink(s.Class), 2
		p.Add(line)
		from = to
	}
	return nil
}

// dayTicks names a few of some days.
type dayTicks []time.Time

// Ticks implements [plot.Ticker].
func (d dayTicks) Ticks(float64, float64) (ticks []plot.Tick) {
	every := max(1, (len(d)+5)/6)
	for i := 0; i < len(d); i += every {
		ticks = append(ticks, plot.Tick{Value: float64(i), Label: d[i].UTC().Format("2 Jan")})
	}
	return ticks
}

// valueTicks names a few round values.
type valueTicks func(float64) string

// Ticks implements [plot.Ticker].
func (v valueTicks) Ticks(_, high float64) (ticks []plot.Tick) {
	step := math.Pow(10, math.Floor(math.Log10(high)))
	for _, factor := range []float64{.2, .5, 1, 2} {
		if high/(step*factor) <= 5 {
			step *= factor
			break
		}
	}
	for i := 0; float64(i)*step <= high*1.0001; i++ {
		value := float64(i) * step
		if v == nil && value != math.Trunc(value) {
			continue // what is counted is whole
		}
		label := ShortNumber(value)
		if v != nil {
			label = v(value)
		}
		ticks = append(ticks, plot.Tick{Value: value, Label: label})
	}
	return ticks
}

// ShortNumber writes 1500 as 1.5k.
func ShortNumber(value float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
		if value >= unit.size {
			return strings.TrimSuffix(strconv.FormatFloat(value/unit.size, 'f', 1, 64), ".0") + unit.name
		}
	}
	return strconv.FormatFloat(value, 'f', -1, 64)
}

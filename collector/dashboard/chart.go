package dashboard

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

// Charts over days, drawn as SVG here, with colours by class.

const (
	chartWidth  = 440
	chartHeight = 190
)

// chart is what a picture shows: a value for each of some days, in one or more series.
type chart struct {
	Title  string
	days   []time.Time
	series []series
	// unit writes a value of the vertical axis. Nil is a plain number.
	unit func(float64) string
	top  float64 // least end of the vertical axis; 0 is whatever the values need
}

// series is one of the values of a chart. NaN is a day without.
type series struct {
	Name   string
	Class  string // of the style sheet
	values []float64
	bars   bool
	low    []float64 // with high, the band around the values; nil for none
	high   []float64
}

// draw draws the chart, with its legend.
func (c *chart) draw() (one drawn, err error) {
	one.Title = c.Title
	for i := range c.series {
		one.Legend = append(one.Legend, legend{c.series[i].Class, c.series[i].Name})
		if c.series[i].low != nil {
			one.Legend = append(one.Legend, legend{"band", "95\u202f% interval"})
		}
	}
	one.SVG, err = c.SVG()
	return one, err
}

// SVG draws the chart.
func (c *chart) SVG() (template.HTML, error) {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.TextStyle.Color, p.X.Color, p.Y.Color = ink("axis"), ink("axis"), ink("axis")
	p.X.LineStyle.Width, p.Y.LineStyle.Width = 1, 0
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.Color, axis.Padding = ink("axis"), 4
		axis.Tick.Length, axis.Tick.LineStyle.Width = 0, 0
		axis.Tick.Label.Font.Size, axis.Tick.Label.Color = 11, ink("axis")
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = dayTicks(c.days), valueTicks(c.unit)
	grid := plotter.NewGrid()
	grid.Vertical.Width, grid.Horizontal.Width = 0, 1
	grid.Horizontal.Color, grid.Horizontal.Dashes = ink("axis"), nil
	p.Add(grid)
	top := c.top
	for i := range c.series {
		s := &c.series[i]
		for _, values := range [][]float64{s.values, s.high} {
			for _, value := range values {
				if !math.IsNaN(value) {
					top = max(top, value)
				}
			}
		}
		var err error
		if s.bars {
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
	p.X.Min, p.X.Max = -.6, float64(max(len(c.days), 1))-.4
	p.Y.Min, p.Y.Max = 0, top*1.05
	if c.top == 1 {
		p.Y.Max = 1
	}
	drawing := canvas{width: chartWidth, height: chartHeight}
	p.Draw(draw.New(&drawing))
	return template.HTML(`<svg viewBox="0 0 ` + strconv.Itoa(chartWidth) + " " + strconv.Itoa(chartHeight) + `" role="img" aria-label="` +
		html.EscapeString(c.Title) + `, by day; the table below has the numbers">` + drawing.b.String() + `</svg>`), nil
}

func addBars(p *plot.Plot, s *series) error {
	values := make(plotter.Values, len(s.values))
	for i, value := range s.values {
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
func addLine(p *plot.Plot, s *series) error {
	for from := 0; from < len(s.values); from++ {
		if math.IsNaN(s.values[from]) {
			continue
		}
		to := from
		for to < len(s.values) && !math.IsNaN(s.values[to]) {
			to++
		}
		points := make(plotter.XYs, to-from)
		for i := range points {
			points[i] = plotter.XY{X: float64(from + i), Y: s.values[from+i]}
		}
		if s.low != nil {
			around := make(plotter.XYs, 0, 2*len(points))
			for i := from; i < to; i++ {
				around = append(around, plotter.XY{X: float64(i), Y: s.high[i]})
			}
			for i := to - 1; i >= from; i-- {
				around = append(around, plotter.XY{X: float64(i), Y: s.low[i]})
			}
			if to-from == 1 { // a day alone is a stroke upwards
				around = plotter.XYs{{X: float64(from) - .2, Y: s.low[from]}, {X: float64(from) - .2, Y: s.high[from]},
					{X: float64(from) + .2, Y: s.high[from]}, {X: float64(from) + .2, Y: s.low[from]}}
			}
			band, err := plotter.NewPolygon(around)
			if err != nil {
				return err
			}
			band.Color, band.LineStyle.Width = ink("band"), 0
			p.Add(band)
		}
		if to-from == 1 {
			points = plotter.XYs{{X: float64(from) - .2, Y: s.values[from]}, {X: float64(from) + .2, Y: s.values[from]}}
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
		label := shortNumber(value)
		if v != nil {
			label = v(value)
		}
		ticks = append(ticks, plot.Tick{Value: value, Label: label})
	}
	return ticks
}

// shortNumber writes 1500 as 1.5k.
func shortNumber(value float64) string {
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

package main

import (
	"bytes"
	"errors"
	"image/color"
	"math"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	chartWidth  = 22 * vg.Centimeter
	chartHeight = 18 * vg.Centimeter
	barWidth    = 14
)

// series is one set of bars: the firehose from four goroutines in one setting.
type series struct {
	name        string
	tuned, gzip bool
	color       color.Color
}

var chartSeries = []series{
	{"default", false, false, color.RGBA{0x9a, 0xb4, 0xd6, 0xff}},
	{"tuned", true, false, color.RGBA{0x2f, 0x5d, 0x9b, 0xff}},
	{"tuned, compressed", true, true, color.RGBA{0xe0, 0x8e, 0x3c, 0xff}},
}

// draw writes two charts to an SVG file: CPU for each delivered event, and what was lost.
func draw(r *report, file string) error {
	both, err := plots(r)
	if err != nil {
		return err
	}
	canvas := vgsvg.New(chartWidth, chartHeight)
	tiles := vgdraw.Tiles{Rows: 2, Cols: 1, PadX: 5, PadY: 15, PadTop: 10, PadBottom: 10, PadLeft: 10, PadRight: 10}
	for i, row := range plot.Align(both, tiles, vgdraw.New(canvas)) {
		both[i][0].Draw(row[0])
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// Few have the font it was laid out for; these are as wide.
	family := []byte("font-family:Liberation Sans")
	return os.WriteFile(file, bytes.ReplaceAll(svg.Bytes(), family, append(family, ",Arial,Helvetica,sans-serif"...)), 0o644)
}

// plots returns the two charts, one below the other.
func plots(r *report) ([][]*plot.Plot, error) {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	plotter.DefaultFont = plot.DefaultFont
	names := chartPeers(r)
	if len(names) == 0 {
		return nil, errors.New("the picture is of the firehose, which was not measured")
	}
	// Who loses most of its events spends a lot on each of the few: the scale is that of those who do not.
	limit := 0.0
	for _, res := range r.results {
		if res.complete() && drawn(res.Cell) {
			limit = max(limit, 1.2*res.over(cpuAnEvent).Median)
		}
	}
	cpu, err := barChart(r, names, limit, func(r *result) float64 { return r.over(cpuAnEvent).Median })
	if err != nil {
		return nil, err
	}
	cpu.Title.Text = "Firehose from 4 goroutines"
	cpu.Y.Label.Text = "client CPU for each delivered event, µs"
	cpu.Legend.Top = true
	cpu.Legend.Left = true
	loss, err := barChart(r, names, 100, (*result).lossPercent)
	if err != nil {
		return nil, err
	}
	loss.Y.Label.Text = "events lost, %"
	loss.Legend = plot.NewLegend()
	return [][]*plot.Plot{{cpu}, {loss}}, nil
}

// chartPeers are those with something to draw.
func chartPeers(r *report) (names []string) {
	for _, p := range peers {
		for _, s := range chartSeries {
			if s.of(r, p.name) != nil {
				names = append(names, p.name)
				break
			}
		}
	}
	return names
}

// drawn reports whether a cell is in the picture.
func drawn(c cell) bool {
	return c.Scenario == "firehose" && c.Goroutines == 4 && c.Peer != loopPeer.name
}

// of finds a peer's result; nil if it was not measured.
func (s series) of(r *report, peer string) *result {
	for _, res := range r.results {
		if c := res.Cell; drawn(c) && c.Tuned == s.tuned && c.Gzip == s.gzip && c.Peer == peer {
			return res
		}
	}
	return nil
}

// barChart draws a figure up to limit; a bar beyond it is cut, and says so.
func barChart(r *report, names []string, limit float64, figure func(*result) float64) (*plot.Plot, error) {
	p := plot.New()
	p.Y.Min, p.Y.Max = 0, limit
	p.NominalX(names...)
	p.X.LineStyle.Width = 0
	for i, s := range chartSeries {
		offset := vg.Length(i-1) * (barWidth + 2)
		values := make(plotter.Values, len(names))
		labels := plotter.XYLabels{XYs: make(plotter.XYs, len(names)), Labels: make([]string, len(names))}
		for j, name := range names {
			labels.XYs[j].X = float64(j)
			if res := s.of(r, name); res != nil && !math.IsNaN(figure(res)) {
				value := figure(res)
				labels.Labels[j] = number(value)
				if value > limit {
					labels.Labels[j] += " ↑"
				}
				values[j] = min(value, limit)
				labels.XYs[j].Y = values[j]
			}
		}
		bars, err := plotter.NewBarChart(values, barWidth)
		if err != nil {
			return nil, err
		}
		bars.Color, bars.LineStyle.Width, bars.Offset = s.color, 0, offset
		text, err := plotter.NewLabels(labels)
		if err != nil {
			return nil, err
		}
		for j := range text.TextStyle {
			text.TextStyle[j].XAlign = -0.5
			text.TextStyle[j].Font.Size = 7
		}
		text.Offset = vg.Point{X: offset, Y: 2}
		p.Add(bars, text)
		p.Legend.Add(s.name, bars)
	}
	return p, nil
}

package chart

import (
	"html"
	"image"
	"image/color"
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
)

// ink is a colour by name: what is drawn with it gets it as a class, and the style sheet says what it looks like, by day and by
// night.
type ink string

// RGBA implements [color.Color]. Nothing looks at it.
func (ink) RGBA() (r, g, b, a uint32) { return 0, 0, 0, math.MaxUint16 }

// canvas draws SVG that has no style of its own: a page's policy would not let it. Its unit is that of the drawing's viewBox.
type canvas struct {
	width, height vg.Length
	b             strings.Builder
	now           pen
	before        []pen // pushed
}

// pen is how a canvas draws.
type pen struct {
	ink    ink
	width  vg.Length
	dashes []vg.Length
	x, y   vg.Length // of the origin, from the bottom left
}

var _ vg.CanvasSizer = (*canvas)(nil)

func (c *canvas) Size() (w, h vg.Length)                       { return c.width, c.height }
func (c *canvas) SetLineWidth(w vg.Length)                     { c.now.width = w }
func (c *canvas) SetLineDash(pattern []vg.Length, _ vg.Length) { c.now.dashes = pattern }
func (c *canvas) SetColor(colour color.Color)                  { c.now.ink, _ = colour.(ink) }
func (c *canvas) Translate(by vg.Point)                        { c.now.x, c.now.y = c.now.x+by.X, c.now.y+by.Y }
func (c *canvas) Push()                                        { c.before = append(c.before, c.now) }
func (c *canvas) Pop()                                         { c.now, c.before = c.before[len(c.before)-1], c.before[:len(c.before)-1] }

// Rotate, Scale and DrawImage are of no use to our charts.
func (c *canvas) Rotate(float64)                      { panic("chart: charts do not rotate") }
func (c *canvas) Scale(_, _ float64)                  { panic("chart: charts do not scale") }
func (c *canvas) DrawImage(vg.Rectangle, image.Image) { panic("chart: charts have no pictures") }

// Stroke implements [vg.Canvas].
func (c *canvas) Stroke(path vg.Path) {
	if c.now.width <= 0 {
		return
	}
	c.path("stroke", path)
	c.b.WriteString(` stroke-width="` + number(c.now.width) + `"`)
	if len(c.now.dashes) > 0 {
		c.b.WriteString(` stroke-dasharray="`)
		for i, dash := range c.now.dashes {
			if i > 0 {
				c.b.WriteByte(' ')
			}
			c.b.WriteString(number(dash))
		}
		c.b.WriteByte('"')
	}
	c.b.WriteString("/>")
}

// Fill implements [vg.Canvas].
func (c *canvas) Fill(path vg.Path) {
	c.path("fill", path)
	c.b.WriteString("/>")
}

func (c *canvas) path(how string, path vg.Path) {
	c.b.WriteString(`<path class="` + how + " " + html.EscapeString(string(c.now.ink)) + `" d="`)
	for _, step := range path {
		switch step.Type {
		case vg.MoveComp:
			c.b.WriteByte('M')
			c.point(step.Pos)
		case vg.LineComp:
			c.b.WriteByte('L')
			c.point(step.Pos)
		case vg.CurveComp:
			c.b.WriteByte("LQC"[len(step.Control)])
			for _, control := range step.Control {
				c.point(control)
				c.b.WriteByte(' ')
			}
			c.point(step.Pos)
		case vg.ArcComp: // as chords: our charts have no circle that is larger than a dot
			for i := range 13 {
				angle := step.Start + step.Angle*float64(i)/12
				c.b.WriteByte('L')
				c.point(vg.Point{X: step.Pos.X + step.Radius*vg.Length(math.Cos(angle)), Y: step.Pos.Y + step.Radius*vg.Length(math.Sin(angle))})
			}
		case vg.CloseComp:
			c.b.WriteByte('Z')
		}
	}
	c.b.WriteByte('"')
}

// point writes a place, from the top left.
func (c *canvas) point(p vg.Point) {
	c.b.WriteString(number(c.now.x+p.X) + " " + number(c.height-c.now.y-p.Y))
}

// FillString implements [vg.Canvas].
func (c *canvas) FillString(_ font.Face, at vg.Point, text string) {
	c.b.WriteString(`<text x="` + number(c.now.x+at.X) + `" y="` + number(c.height-c.now.y-at.Y) + `">` + html.EscapeString(text) + `</text>`)
}

// number writes a length with one decimal, which is more than one can see.
func number(l vg.Length) string {
	return strconv.FormatFloat(math.Round(float64(l)*10)/10, 'f', -1, 64)
}

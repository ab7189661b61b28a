package report

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/metrics"
)

// Which groups moved a rate most. A group moves the rate of all by what became of its own rate, and by how much of all it is:
//
//	mean share of all × change of its rate  +  change of its share of all × (its mean rate − the mean rate of all)
//
// Over the groups of a dimension that adds up to the change of the rate of all, exactly.

// dimensions are what conversations are grouped by. Each conversation is in one group of each.
var dimensions = []string{"assistant", "version", "intent", "language", "channel"}

// movedRates are the rates whose movers are looked for.
var movedRates = []string{figures.Thumbs, "containment_rate", "confirmed_resolution_rate", "abandonment_rate", "error_rate", "messages_understood_rate"}

// MoversRule says how it was found which groups moved a rate.
const MoversRule = "Groups are by assistant, version, intent, language and channel. A group moves the rate of all by what became of its own rate, " +
	"weighted by its mean part of all, and by what became of its part, weighted by how far it is from the mean of all; over the groups of one kind that " +
	"adds up to the change. At most five are shown of each rate, from a tenth of a point on. A version that is nearly all of its assistant is not shown " +
	"beside it. Verdicts on groups allow for how many were looked at."

const (
	mostMovers = 5
	leastMove  = .001 // of a rate: a tenth of a point
)

// Moved is a rate that changed, with the groups that moved it most.
type Moved struct {
	Definition  *metrics.Definition
	Now, Before *metrics.Value
	Difference
	Movers   []Mover
	Compared int // groups that were compared, which is what the verdicts on movers allow for
}

// Mover is a group of conversations and what it did to the rate of all.
type Mover struct {
	Dimension, Group    string
	Other               bool           // all groups beyond those told apart
	Now, Before         *metrics.Value // nil where there was none of it
	PartNow, PartBefore float64        // share of all that the rate counts
	By                  float64        // change of the rate of all, as a share
	Difference                         // of its own rate
}

// grouped are the values of one period by group.
type grouped map[string]map[string]*metrics.Value

const others = "\x00others" // no group's name

// movers computes every rate by every dimension in both periods.
func (m *maker) movers(ctx context.Context) error {
	type sides struct{ now, before grouped }
	byDimension := map[string]sides{}
	for _, dimension := range dimensions {
		var both sides
		for _, side := range []struct {
			scope metrics.Scope
			into  *grouped
		}{{m.now.scope, &both.now}, {m.then.scope, &both.before}} {
			answer, err := m.engine.Get(ctx, m.opts.Project, metrics.Query{Scope: side.scope, Names: movedRates, GroupBy: dimension, MaxGroups: metrics.MaxGroups})
			if err != nil {
				return err
			}
			*side.into = grouped{}
			for _, g := range answer.Groups {
				values := map[string]*metrics.Value{}
				for i := range g.Values {
					values[g.Values[i].Name] = &g.Values[i]
				}
				name := g.Value
				if g.Other {
					name = others
				}
				(*side.into)[name] = values
			}
			m.step()
		}
		byDimension[dimension] = both
	}
	for _, name := range movedRates {
		one := Moved{Definition: metrics.Find(name), Now: m.now.period.Values[name], Before: m.then.period.Values[name]}
		one.Difference = differ(normal95, one.Before, one.Now)
		if one.Verdict == NotEnough {
			continue
		}
		var all []Mover
		for _, dimension := range dimensions {
			both := byDimension[dimension]
			if list := moversOf(dimension, name, both.now, both.before); len(list) > 1 { // one group is all there is
				all = append(all, list...)
			}
		}
		all = distinct(all)
		one.Compared = len(all)
		for i := range all {
			if all[i].Now != nil && all[i].Before != nil {
				all[i].Difference = differ(quantile(.05/float64(len(all))), all[i].Before, all[i].Now)
			}
		}
		slices.SortStableFunc(all, func(a, b Mover) int { return cmp.Compare(math.Abs(b.By), math.Abs(a.By)) })
		beyond := one.Verdict == Beyond
		for _, mover := range all {
			if math.Abs(mover.By) >= leastMove && len(one.Movers) < mostMovers && !nearly(one.Movers, &mover) {
				one.Movers = append(one.Movers, mover)
				beyond = beyond || mover.Verdict == Beyond
			}
		}
		switch {
		case len(one.Movers) == 0:
		case beyond:
			m.report.Moved = append(m.report.Moved, one)
		default:
			m.report.Still = append(m.report.Still, one)
		}
	}
	return nil
}

// nearly reports whether a version is nearly all of an assistant that is listed, or the other way about: within a tenth, in
// both periods.
func nearly(listed []Mover, g *Mover) bool {
	close := func(a, b float64) bool { return math.Abs(a-b) <= .1*max(a, b) }
	for i := range listed {
		o := &listed[i]
		kinds := o.Dimension + " " + g.Dimension
		if (kinds == "assistant version" || kinds == "version assistant") &&
			close(o.PartNow, g.PartNow) && close(o.PartBefore, g.PartBefore) && close(math.Abs(o.By), math.Abs(g.By)) {
			return true
		}
	}
	return false
}

// moversOf says what each group of a dimension did to a rate, in the order of their names.
func moversOf(dimension, rate string, now, before grouped) (list []Mover) {
	sum := func(side grouped) (hits, n float64) {
		for _, g := range side {
			hits, n = hits+g[rate].Numerator, n+g[rate].Denominator
		}
		return hits, n
	}
	hits1, n1 := sum(now)
	hits0, n0 := sum(before)
	if n1 == 0 || n0 == 0 {
		return nil
	}
	level := (hits1/n1 + hits0/n0) / 2
	names := map[string]bool{}
	for _, side := range []grouped{now, before} {
		for name, g := range side {
			if g[rate].Denominator > 0 {
				names[name] = true
			}
		}
	}
	for name := range names {
		g := Mover{Dimension: dimension, Group: name, Other: name == others, Difference: unjudged}
		part := func(side grouped, n float64) (value *metrics.Value, share, own float64) {
			if side[name] == nil || side[name][rate].Denominator == 0 {
				return nil, 0, math.NaN()
			}
			value = side[name][rate]
			return value, value.Denominator / n, value.Numerator / value.Denominator
		}
		var own1, own0 float64
		g.Now, g.PartNow, own1 = part(now, n1)
		g.Before, g.PartBefore, own0 = part(before, n0)
		if g.Now == nil {
			own1 = own0 // where a group comes or goes, only its size has changed
		} else if g.Before == nil {
			own0 = own1
		}
		g.By = (g.PartNow+g.PartBefore)/2*(own1-own0) + (g.PartNow-g.PartBefore)*((own1+own0)/2-level)
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b Mover) int { return cmp.Compare(a.Group, b.Group) })
	return list
}

// distinct leaves out groups that count exactly what one of a dimension before does in both periods: an assistant with one
// version is the same conversations twice.
func distinct(list []Mover) (kept []Mover) {
	counts := func(v *metrics.Value) [2]float64 {
		if v == nil {
			return [2]float64{}
		}
		return [2]float64{v.Numerator, v.Denominator}
	}
	type sizes struct{ now, before [2]float64 }
	from := map[sizes]string{}
	for _, g := range list {
		size := sizes{counts(g.Now), counts(g.Before)}
		if dimension, ok := from[size]; ok && dimension != g.Dimension {
			continue
		}
		from[size] = g.Dimension
		kept = append(kept, g)
	}
	return kept
}

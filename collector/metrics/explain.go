package metrics

import (
	"context"
	"fmt"
	"maps"
)

// Limits of the lists of conversations.
const (
	DefaultListed, MaxListed = 100, 1000
	MaxOffset                = 1_000_000
)

// Explanation says how a number came about.
type Explanation struct {
	Scope      Scope // as understood
	Definition *Definition
	Value      Value // as Get gives it
	BySQL      Value // as the statement gives it
	SQL        string
	Parameters map[string]any
	LeftOut    []LeftOut
	// Numerator are conversations that add to the numerator, of which there are NumeratorCount, by start; Denominator those
	// that add to the denominator alone. Of distributions, those with and without a sample. Metrics about users have none.
	Numerator, Denominator           []string
	NumeratorCount, DenominatorCount int
	Export                           *Proof // never nil
}

// LeftOut counts conversations of the window that do not count, each under the first reason.
type LeftOut struct {
	Reason        string
	Conversations int
}

// Explain computes one metric twice, from digests and by its SQL, and says what it rests on.
func (e *Engine) Explain(ctx context.Context, project, name string, scope Scope, size, offset int) (*Explanation, error) {
	d := Find(name)
	if d == nil {
		return nil, fmt.Errorf("%w: there is no metric of that name; ListMetrics and `align metrics --list` name them", ErrInvalid)
	}
	if size == 0 {
		size = DefaultListed
	}
	if size < 1 || size > MaxListed {
		return nil, fmt.Errorf("%w: a page can be 1 to %d", ErrInvalid, MaxListed)
	}
	if offset < 0 || offset > MaxOffset {
		return nil, fmt.Errorf("%w: an offset can be 0 to %d", ErrInvalid, MaxOffset)
	}
	now := e.clock()
	scope, err := scope.complete(now)
	if err != nil {
		return nil, err
	}
	d = d.in(&scope)
	answer, err := e.Get(ctx, project, Query{Scope: scope, Names: []string{name}})
	if err != nil {
		return nil, err
	}
	x := &Explanation{Scope: scope, Definition: d, Value: answer.Values[0]}
	a := e.at(now)
	x.SQL, x.Parameters = d.statement(&scope, a, project)
	if x.BySQL, err = e.bySQL(ctx, d, x.SQL, x.Parameters); err != nil {
		return nil, err
	}
	if d.Statement == "" {
		if err := e.sides(ctx, x, a, project, size, offset); err != nil {
			return nil, err
		}
	}
	if err := e.leftOut(ctx, x, a, project); err != nil {
		return nil, err
	}
	x.Export, err = e.proof(ctx, project, x)
	return x, err
}

// bySQL runs the statement of a metric.
func (e *Engine) bySQL(ctx context.Context, d *Definition, sql string, args map[string]any) (v Value, err error) {
	err = e.Store.Select(ctx, sql, args, 1, func(_ []string, row []any) error {
		numbers := make([]*float64, len(row))
		for i, x := range row {
			switch x := x.(type) {
			case int64:
				numbers[i] = new(float64(x))
			case float64:
				numbers[i] = new(x)
			}
		}
		if len(row) < 2 || numbers[0] == nil || numbers[1] == nil {
			return fmt.Errorf("metrics: the statement of %s gives no numbers", d.Name)
		}
		if d.Kind != Distribution {
			v = valueOf(d, *numbers[0], *numbers[1])
			return nil
		}
		v = Value{Name: d.Name, Numerator: *numbers[0], Denominator: *numbers[1], Value: numbers[3],
			Distribution: &Spread{N: int(*numbers[1]), Mean: numbers[2], P50: numbers[3], P90: numbers[4], P95: numbers[5], P99: numbers[6]}}
		return nil
	})
	return v, err
}

// sides lists the conversations on each side.
func (e *Engine) sides(ctx context.Context, x *Explanation, a at, project string, size, offset int) error {
	d := x.Definition
	args := map[string]any{}
	with := x.Scope.scopedSQL(a, project, args)
	where := "TRUE"
	if d.Where != "" {
		where = "(" + d.Where + ")"
	}
	has, alone := "coalesce("+d.Numerator+", 0) <> 0", "coalesce("+d.Denominator+", 0) <> 0"
	switch {
	case d.isList():
		has, alone = "json_array_length("+d.Numerator+") > 0", "TRUE"
	case d.Kind == Distribution:
		has, alone = "("+d.Numerator+") IS NOT NULL", "TRUE"
	}
	for _, side := range []struct {
		condition string
		ids       *[]string
		count     *int
	}{{has, &x.Numerator, &x.NumeratorCount}, {"NOT (" + has + ") AND (" + alone + ")", &x.Denominator, &x.DenominatorCount}} {
		from := "\nFROM conversations WHERE " + where + " AND " + side.condition
		err := e.Store.Select(ctx, with+"\nSELECT count(*)"+from, args, 1, func(_ []string, row []any) error {
			n, _ := row[0].(int64)
			*side.count = int(n)
			return nil
		})
		if err != nil {
			return err
		}
		page := maps.Clone(args)
		page["size"], page["offset"] = size, offset
		err = e.Store.Select(ctx, with+"\nSELECT session_id"+from+" ORDER BY start_time, session_id LIMIT :size OFFSET :offset", page, size, func(_ []string, row []any) error {
			id, _ := row[0].(string)
			*side.ids = append(*side.ids, id)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// leftOut counts what is in the window and does not count, by reason.
func (e *Engine) leftOut(ctx context.Context, x *Explanation, a at, project string) error {
	d := x.Definition
	if !x.Scope.IncludeTest {
		all := x.Scope
		all.IncludeTest = true
		args := map[string]any{}
		sql := all.scopedSQL(a, project, args) + "\nSELECT count(*) FROM conversations WHERE test_mode"
		if err := e.count(ctx, x, sql, args, "test mode"); err != nil {
			return err
		}
	}
	args := map[string]any{}
	with := x.Scope.scopedSQL(a, project, args)
	if x.Scope.ByEnd {
		if err := e.count(ctx, x, with+"\nSELECT count(*) FROM scoped WHERE NOT (closed OR timed_out)", args, "not ended"); err != nil {
			return err
		}
	}
	if d.Statement != "" {
		return e.count(ctx, x, with+"\nSELECT count(*) FROM conversations WHERE user_id = ''", args, "user unknown")
	}
	before := "TRUE"
	if d.Where != "" {
		where, err := parse(d.Where)
		if err != nil {
			return err
		}
		for _, term := range where.terms() {
			if err := e.count(ctx, x, with+"\nSELECT count(*) FROM conversations WHERE "+before+" AND NOT coalesce("+term.text+", 0)", args, "not: "+term.text); err != nil {
				return err
			}
			before += " AND coalesce(" + term.text + ", 0)"
		}
	}
	if d.Kind == Distribution && !d.isList() {
		return e.count(ctx, x, with+"\nSELECT count(*) FROM conversations WHERE "+before+" AND ("+d.Numerator+") IS NULL", args, "unknown")
	}
	return nil
}

func (e *Engine) count(ctx context.Context, x *Explanation, sql string, args map[string]any, reason string) error {
	return e.Store.Select(ctx, sql, args, 1, func(_ []string, row []any) error {
		if n, _ := row[0].(int64); n > 0 {
			x.LeftOut = append(x.LeftOut, LeftOut{reason, int(n)})
		}
		return nil
	})
}

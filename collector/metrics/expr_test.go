package metrics

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	_ "modernc.org/sqlite"
)

// randomExpr makes an expression over a few columns.
func randomExpr(r *rand.Rand, depth int) string {
	sub := func() string { return randomExpr(r, depth-1) }
	if depth == 0 {
		return []string{"user_messages", "rated", "cost", "0", "1", "3"}[r.IntN(6)]
	}
	switch r.IntN(9) {
	case 0:
		return "(" + sub() + " AND " + sub() + ")"
	case 1:
		return "(" + sub() + " OR " + sub() + ")"
	case 2:
		return "(NOT (" + sub() + "))"
	case 3:
		return "((" + sub() + ") " + []string{"=", "<>", "<", "<=", ">", ">="}[r.IntN(6)] + " (" + sub() + "))"
	case 4:
		return "(" + sub() + []string{" + ", " - ", " * "}[r.IntN(3)] + sub() + ")"
	case 5:
		return "((" + sub() + ") IS " + []string{"", "NOT "}[r.IntN(2)] + "NULL)"
	case 6:
		return "(" + sub() + [2]string{" IN (", " NOT IN ("}[r.IntN(2)] + "0, 3, cost))"
	case 7:
		return "(status " + []string{"= 'botHandled'", "IN ('email', 'agent')", "<> 'noStatus'"}[r.IntN(3)] + ")"
	}
	return sub()
}

// Expressions give what SQLite gives, NULL included.
func TestExpressionsGiveWhatSQLiteGives(t *testing.T) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	r := rand.New(rand.NewPCG(1, 1))
	values := []any{nil, 0, 1, 2, 3}
	for n := range 2000 {
		text := randomExpr(r, 1+r.IntN(4))
		e, err := parse(text)
		if err != nil {
			t.Fatal(err)
		}
		b := &batch{n: 1, columns: make([][]int64, columns), known: map[string][]int64{}}
		row := map[string]any{}
		for i := range b.columns {
			b.columns[i] = []int64{null}
		}
		for _, name := range []string{"user_messages", "rated", "cost", "status"} {
			v := values[r.IntN(len(values))]
			row[name] = v
			for i, column := range columnNames {
				if column == name && v != nil {
					b.columns[i][0] = int64(v.(int))
				}
			}
		}
		status := any(nil)
		if v := row["status"]; v != nil {
			status = statusWords[v.(int)]
		}
		var want sql.NullInt64
		if err := db.QueryRow("WITH d AS (SELECT ? AS user_messages, ? AS rated, ? AS cost, ? AS status) SELECT "+text+" FROM d",
			row["user_messages"], row["rated"], row["cost"], status).Scan(&want); err != nil {
			t.Fatal(text, err)
		}
		got := e.eval(b)[0]
		if want.Valid != (got != null) || want.Valid && got != want.Int64 {
			t.Fatalf("%d: %s of %v: %d, SQLite says %v", n, text, row, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for i := range Definitions {
		f.Add(Definitions[i].Where)
		f.Add(Definitions[i].Numerator)
	}
	f.Add("status IN ('email'")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parse(text)
		if err != nil || strings.Count(text, "(") > 1000 {
			return
		}
		b := &batch{n: 1, columns: make([][]int64, columns), known: map[string][]int64{}}
		for i := range b.columns {
			b.columns[i] = []int64{int64(i)}
		}
		if got := e.eval(b); len(got) != 1 {
			t.Error(fmt.Sprint(got))
		}
	})
}

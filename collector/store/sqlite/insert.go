package sqlite

import (
	"database/sql"
	"strings"
)

// several is how many rows go into one statement where there are that many: a statement costs about as much as a row.
const several = 16

// inserter adds rows to a table that has a unique index and seq, the row's number, as its primary key.
type inserter struct {
	one, several *sql.Stmt
	undo         *sql.Stmt // deletes rows after a number
	last         int64     // row that was added
}

// inserting returns a statement that adds rows, but for those that are there.
func inserting(rows int, table, columns string) string {
	row := "(?" + strings.Repeat(", ?", strings.Count(columns, ",")) + ")"
	return "INSERT INTO " + table + " (" + columns + ") VALUES " + row + strings.Repeat(", "+row, rows-1) + " ON CONFLICT DO NOTHING"
}

// insert adds n rows, of which row appends the values of the i-th to args, and reports which were not there before.
func (in *inserter) insert(n int, row func(args []any, i int) []any) (added []bool, err error) {
	added = make([]bool, n)
	for from := 0; from < n; {
		rows, stmt := 1, in.one
		if n-from >= several {
			rows, stmt = several, in.several
		}
		if err := in.insertSome(stmt, added[from:from+rows], func(args []any, i int) []any { return row(args, from+i) }); err != nil {
			return nil, err
		}
		from += rows
	}
	return added, nil
}

// insertSome adds as many rows as added has places, with a statement for that many.
func (in *inserter) insertSome(stmt *sql.Stmt, added []bool, row func(args []any, i int) []any) error {
	var args []any
	for i := range added {
		args = row(args, i)
	}
	result, err := stmt.Exec(args...)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err != nil || n == 0 {
		return err
	}
	last, err := result.LastInsertId()
	if err != nil {
		return err
	}
	in.last = last
	if n == int64(len(added)) {
		for i := range added {
			added[i] = true
		}
		return nil
	}
	// Some were there and some not, which is rare: a request that was sent again is there as a whole. To learn which, do it
	// again one by one. What this statement added has the last numbers.
	if _, err := in.undo.Exec(last - n); err != nil {
		return err
	}
	for i := range added {
		if err := in.insertSome(in.one, added[i:i+1], func(args []any, _ int) []any { return row(args, i) }); err != nil {
			return err
		}
	}
	return nil
}

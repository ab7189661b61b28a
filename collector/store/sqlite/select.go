package sqlite

import (
	"context"
	"database/sql"
	"fmt"
)

// Select runs a statement of the collector's own with named parameters on a connection that cannot write, and calls yield
// for each of at most so many rows. What yield gets is valid until it returns. A statement that takes longer than a read
// may take is stopped.
func (s *Store) Select(ctx context.Context, statement string, args map[string]any, most int, yield func(columns []string, values []any) error) error {
	named := make([]any, 0, len(args))
	for name, value := range args {
		named = append(named, sql.Named(name, value))
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.read.db.QueryContext(ctx, statement, named...)
	if err != nil {
		return fmt.Errorf("sqlite: select: %w", err)
	}
	defer rows.Close()
	_, err = eachRow(rows, most, yield)
	return err
}

// eachRow calls yield for at most so many rows, and reports whether there are more.
func eachRow(rows *sql.Rows, most int, yield func(columns []string, values []any) error) (more bool, err error) {
	columns, err := rows.Columns()
	if err != nil {
		return false, err
	}
	values, into := make([]any, len(columns)), make([]any, len(columns))
	for i := range into {
		into[i] = &values[i]
	}
	for n := 0; rows.Next(); n++ {
		if n == most {
			return true, nil
		}
		if err := rows.Scan(into...); err != nil {
			return false, err
		}
		if err := yield(columns, values); err != nil {
			return false, err
		}
	}
	return false, rows.Err()
}

package main

import (
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/store/sqlite"
)

type sqlCommand struct {
	dataFlag
	Statement string        `arg:"" help:"One SELECT over the views conversations, messages, votes, users, tags and digests; see docs/sql.md."`
	JSON      bool          `help:"Write an object a line." name:"json" xor:"form"`
	CSV       bool          `help:"Write CSV. A text that a spreadsheet would take for a formula gets a ' in front." name:"csv" xor:"form"`
	Rows      int           `help:"Stop after so many rows (default ${default})." default:"1000" placeholder:"N"`
	Timeout   time.Duration `help:"Stop after this long (default ${default})." default:"10s" placeholder:"DURATION"`
}

// Validate refuses limits that are none.
func (c *sqlCommand) Validate() error {
	if c.Rows < 1 || c.Timeout <= 0 {
		return errors.New("--rows and --timeout must be above 0")
	}
	return nil
}

// Run runs a statement on a connection that cannot write, also while a collector serves the folder.
func (c *sqlCommand) Run(ctx context.Context, std streams) error {
	if _, err := os.Stat(c.file()); err != nil {
		return fmt.Errorf("there is no data in %s", c.Data) // and none is made, unlike elsewhere
	}
	if err := c.with(ctx, func(collector.Store) error { return nil }); err != nil { // brings the schema up to date
		return err
	}
	var to rowWriter = &tableRows{out: tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)}
	switch {
	case c.JSON:
		to = &jsonRows{out: std.out}
	case c.CSV:
		to = &csvRows{out: csv.NewWriter(std.out)}
	}
	more, err := sqlite.QueryViews(ctx, c.file(), c.Statement, sqlite.QueryLimits{Time: c.Timeout, Rows: c.Rows}, to.head, to.row)
	if err := errors.Join(err, to.end()); err != nil {
		return err
	}
	if more {
		fmt.Fprintf(std.err, "There are more than %d rows: see --rows.\n", c.Rows)
	}
	return nil
}

// rowWriter writes rows in one form.
type rowWriter interface {
	head(columns []string) error
	row(columns []string, values []any) error
	end() error
}

// plain is a value as text; bytes are in hex.
func plain(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case []byte:
		return hex.EncodeToString(v)
	}
	return fmt.Sprint(value)
}

type tableRows struct{ out *tabwriter.Writer }

func (t *tableRows) head(columns []string) error { return t.line(columns) }

func (t *tableRows) line(cells []string) error {
	_, err := fmt.Fprintln(t.out, strings.Join(cells, "\t"))
	return err
}

func (t *tableRows) row(_ []string, values []any) error {
	cells := make([]string, len(values))
	for i, v := range values {
		cells[i] = oneLine(plain(v))
	}
	return t.line(cells)
}

func (t *tableRows) end() error { return t.out.Flush() }

type csvRows struct{ out *csv.Writer }

func (c *csvRows) head(columns []string) error {
	cells := slices.Clone(columns)
	for i := range cells {
		cells[i] = harmless(cells[i])
	}
	return c.out.Write(cells)
}

func (c *csvRows) row(_ []string, values []any) error {
	cells := make([]string, len(values))
	for i, v := range values {
		if cells[i] = plain(v); isText(v) {
			cells[i] = harmless(cells[i])
		}
	}
	return c.out.Write(cells)
}

func isText(v any) bool { _, ok := v.(string); return ok }

// harmless is a text that no spreadsheet takes for a formula.
func harmless(text string) string {
	for _, begin := range []string{"=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"} {
		if strings.HasPrefix(text, begin) {
			return "'" + text
		}
	}
	return text
}

func (c *csvRows) end() error {
	c.out.Flush()
	return c.out.Error()
}

type jsonRows struct{ out io.Writer }

func (j *jsonRows) head([]string) error { return nil }

// row writes members in the order of the columns.
func (j *jsonRows) row(columns []string, values []any) error {
	b := []byte("{")
	for i, name := range columns {
		if i > 0 {
			b = append(b, ',')
		}
		value := values[i]
		if raw, ok := value.([]byte); ok {
			value = hex.EncodeToString(raw)
		}
		key, err := json.Marshal(name)
		if err != nil {
			return err
		}
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		b = append(append(append(b, key...), ':'), text...)
	}
	_, err := j.out.Write(append(b, "}\n"...))
	return err
}

func (j *jsonRows) end() error { return nil }

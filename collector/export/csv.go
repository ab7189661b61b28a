package export

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"strings"
)

// csvForm is CSV for spreadsheets (RFC 4180, with a header). Lists are JSON. A text that a spreadsheet would take for a
// formula gets an apostrophe in front; who wants texts as they are takes NDJSON.
type csvForm struct {
	to      *csv.Writer
	v       Variant
	columns []string
	cells   []string
}

func newCSV(to io.Writer, v Variant) (*csvForm, error) {
	f := &csvForm{to: csv.NewWriter(to), v: v}
	var empty any = Row{}
	if v.Late {
		empty = LateRow{}
	}
	text, err := line(empty)
	if err != nil {
		return nil, err
	}
	if f.columns, _, err = members(text); err != nil {
		return nil, err
	}
	return f, f.to.Write(f.columns)
}

func (f *csvForm) add(text []byte) error {
	names, values, err := members(text)
	if err != nil {
		return err
	}
	f.cells = f.cells[:0]
	n := 0
	for _, column := range f.columns {
		cell := ""
		if n < len(names) && names[n] == column { // rows have their members in the order of columns
			cell = cellOf(values[n])
			n++
		}
		f.cells = append(f.cells, cell)
	}
	return f.to.Write(f.cells)
}

func (f *csvForm) end() error {
	f.to.Flush()
	return f.to.Error()
}

// members returns the members of a JSON object in the order in which they stand.
func members(text []byte) (names []string, values []json.RawMessage, err error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	if _, err := d.Token(); err != nil {
		return nil, nil, err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, nil, err
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, nil, err
		}
		names, values = append(names, name.(string)), append(values, value)
	}
	return names, values, nil
}

// cellOf returns a value as a cell: texts as they are, all else as JSON.
func cellOf(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		text = string(value)
	}
	return harmless(text)
}

// harmless makes sure that no spreadsheet takes a text for a formula.
func harmless(text string) string {
	for _, sign := range []string{"=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"} {
		if strings.HasPrefix(text, sign) {
			return "'" + text
		}
	}
	return text
}

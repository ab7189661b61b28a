package metrics

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/openalign/align/collector/digest"
)

// Definitions say what they count in SQL, of one conversation. This file computes a small part of SQL, so that the same
// words serve both the database and a pass over digests in memory, which is many times faster: whole numbers, columns,
// = <> < <= > >= IN, IS [NOT] NULL, AND, OR, NOT, + - *, with NULL as SQL has it. A test compares the two.

const null = digest.Null

// batch is some conversations, column by column.
type batch struct {
	n       int
	columns [][]int64 // by column; see columnNames
	known   map[string][]int64
}

// expr is an expression that was read.
type expr struct {
	op   string // column, number, or an operator
	text string // as it was written, without spaces at the ends
	n    int64  // of column or number
	args []*expr
}

// eval returns the value for each conversation of a batch. The result is the batch's.
func (e *expr) eval(b *batch) []int64 {
	switch e.op {
	case "column":
		return b.columns[e.n][:b.n]
	}
	if known, ok := b.known[e.text]; ok {
		return known
	}
	out := make([]int64, b.n)
	if e.op == "number" {
		for i := range out {
			out[i] = e.n
		}
	} else {
		args := make([][]int64, len(e.args))
		for i, arg := range e.args {
			args[i] = arg.eval(b)
		}
		operators[e.op](out, args)
	}
	b.known[e.text] = out
	return out
}

func binary(f func(x, y int64) int64) func(out []int64, args [][]int64) {
	return func(out []int64, args [][]int64) {
		x, y := args[0], args[1]
		for i := range out {
			if x[i] == null || y[i] == null {
				out[i] = null
			} else {
				out[i] = f(x[i], y[i])
			}
		}
	}
}

func compare(f func(x, y int64) bool) func(out []int64, args [][]int64) {
	return binary(func(x, y int64) int64 { return truth(f(x, y)) })
}

func truth(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

var operators = map[string]func(out []int64, args [][]int64){
	"=":  compare(func(x, y int64) bool { return x == y }),
	"<>": compare(func(x, y int64) bool { return x != y }),
	"<":  compare(func(x, y int64) bool { return x < y }),
	"<=": compare(func(x, y int64) bool { return x <= y }),
	">":  compare(func(x, y int64) bool { return x > y }),
	">=": compare(func(x, y int64) bool { return x >= y }),
	"+":  binary(func(x, y int64) int64 { return x + y }),
	"-":  binary(func(x, y int64) int64 { return x - y }),
	"*":  binary(func(x, y int64) int64 { return x * y }),
	"NOT": func(out []int64, args [][]int64) {
		for i, x := range args[0] {
			if out[i] = null; x != null {
				out[i] = truth(x == 0)
			}
		}
	},
	"IS NULL": func(out []int64, args [][]int64) {
		for i, x := range args[0] {
			out[i] = truth(x == null)
		}
	},
	"IS NOT NULL": func(out []int64, args [][]int64) {
		for i, x := range args[0] {
			out[i] = truth(x != null)
		}
	},
	"AND": func(out []int64, args [][]int64) {
		for i := range out {
			switch x, y := args[0][i], args[1][i]; {
			case x == 0 || y == 0:
				out[i] = 0
			case x == null || y == null:
				out[i] = null
			default:
				out[i] = 1
			}
		}
	},
	"OR": func(out []int64, args [][]int64) {
		for i := range out {
			switch x, y := args[0][i], args[1][i]; {
			case x != null && x != 0 || y != null && y != 0:
				out[i] = 1
			case x == null || y == null:
				out[i] = null
			default:
				out[i] = 0
			}
		}
	},
	"IN": func(out []int64, args [][]int64) {
		for i, x := range args[0] {
			if out[i] = null; x == null {
				continue
			}
			out[i] = 0
			for _, y := range args[1:] {
				if y[i] == null && out[i] == 0 {
					out[i] = null
				}
				if x == y[i] {
					out[i] = 1
				}
			}
		}
	},
}

// terms are the parts of an expression that AND joins.
func (e *expr) terms() []*expr {
	if e.op != "AND" {
		return []*expr{e}
	}
	return append(e.args[0].terms(), e.args[1].terms()...)
}

// reader reads an expression.
type reader struct {
	tokens []string
	at     int
	column string // the last one read: what texts are compared with
}

// parse reads an expression. Texts are words of the column they are compared with.
func parse(text string) (e *expr, err error) {
	defer func() {
		switch cause := recover().(type) {
		case nil:
		case exprError:
			err = fmt.Errorf("metrics: expression %q: %s", text, string(cause))
		default:
			panic(cause)
		}
	}()
	r := &reader{tokens: split(text)}
	e = r.or()
	if r.at < len(r.tokens) {
		r.fail("more than an expression")
	}
	return e, nil
}

// exprError is what is wrong with an expression.
type exprError string

func (r *reader) fail(why string) { panic(exprError(why)) }

func split(text string) (list []string) {
	for i := 0; i < len(text); {
		c := text[i]
		j := i + 1
		switch {
		case c == ' ' || c == '\n' || c == '\t':
			i++
			continue
		case c == '\'':
			end := strings.IndexByte(text[j:], '\'')
			if end < 0 {
				end = len(text) - j - 1
			}
			j += end + 1
		case wordly(c):
			for j < len(text) && wordly(text[j]) {
				j++
			}
		case strings.ContainsRune("<>", rune(c)) && j < len(text) && strings.ContainsRune("=>", rune(text[j])):
			j++
		}
		list = append(list, text[i:min(j, len(text))])
		i = j
	}
	return list
}

func wordly(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func (r *reader) peek() string {
	if r.at < len(r.tokens) {
		return r.tokens[r.at]
	}
	return ""
}

func (r *reader) take(words ...string) bool {
	for i, word := range words {
		if r.at+i >= len(r.tokens) || r.tokens[r.at+i] != word {
			return false
		}
	}
	r.at += len(words)
	return true
}

func (r *reader) made(from int, op string, args ...*expr) *expr {
	return &expr{op: op, text: strings.Join(r.tokens[from:r.at], " "), args: args}
}

func (r *reader) or() *expr {
	from := r.at
	for e := r.and(); ; {
		if !r.take("OR") {
			return e
		}
		other := r.and()
		e = r.made(from, "OR", e, other)
	}
}

func (r *reader) and() *expr {
	from := r.at
	for e := r.not(); ; {
		if !r.take("AND") {
			return e
		}
		other := r.not()
		e = r.made(from, "AND", e, other)
	}
}

func (r *reader) not() *expr {
	from := r.at
	if r.take("NOT") {
		e := r.not()
		return r.made(from, "NOT", e)
	}
	return r.comparison()
}

func (r *reader) comparison() *expr {
	from := r.at
	e := r.sum()
	switch {
	case r.take("IS", "NOT", "NULL"):
		return r.made(from, "IS NOT NULL", e)
	case r.take("IS", "NULL"):
		return r.made(from, "IS NULL", e)
	case r.take("NOT", "IN"):
		in := r.in(from, e)
		return r.made(from, "NOT", in)
	case r.take("IN"):
		return r.in(from, e)
	}
	if op := r.peek(); slices.Contains([]string{"=", "<>", "<", "<=", ">", ">="}, op) {
		r.at++
		other := r.sum()
		return r.made(from, op, e, other)
	}
	return e
}

func (r *reader) in(from int, e *expr) *expr {
	args := []*expr{e}
	if !r.take("(") {
		r.fail("IN without a list")
	}
	for {
		args = append(args, r.primary())
		if r.take(")") {
			in := r.made(from, "IN", args...)
			in.text = "IN " + in.text // not that of the NOT IN that may be around it
			return in
		}
		if !r.take(",") {
			r.fail("a list without an end")
		}
	}
}

func (r *reader) sum() *expr {
	from := r.at
	for e := r.product(); ; {
		op := r.peek()
		if op != "+" && op != "-" {
			return e
		}
		r.at++
		other := r.product()
		e = r.made(from, op, e, other)
	}
}

func (r *reader) product() *expr {
	from := r.at
	for e := r.primary(); ; {
		if !r.take("*") {
			return e
		}
		other := r.primary()
		e = r.made(from, "*", e, other)
	}
}

func (r *reader) primary() *expr {
	from, token := r.at, r.peek()
	r.at++
	switch {
	case token == "":
		r.fail("it ends early")
	case token == "(":
		e := r.or()
		if !r.take(")") {
			r.fail("a parenthesis is not closed")
		}
		return e
	case token[0] == '\'':
		number, ok := wordNumber(r.column, strings.Trim(token, "'"))
		if !ok {
			r.fail("a text that its column never has")
		}
		e := r.made(from, "number")
		e.n, e.text = number, r.column+" "+e.text
		return e
	case '0' <= token[0] && token[0] <= '9':
		e := r.made(from, "number")
		n, err := strconv.ParseInt(token, 10, 64)
		if err != nil {
			r.fail("a number that is none")
		}
		e.n = n
		return e
	}
	column := slices.Index(columnNames, token)
	if column < 0 {
		r.fail("a column that is unknown")
	}
	r.column = token
	e := r.made(from, "column")
	e.n = int64(column)
	return e
}

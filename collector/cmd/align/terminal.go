package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"

	"github.com/rivo/uniseg"
	"golang.org/x/term"
)

// What people see: tables, cut to fit by the width that text has on a screen, and colour where there is a screen.

// terminalWidth returns how many columns a screen has; 0 is no screen.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 80
	}
	return max(width, 20)
}

// ink is colour, or none.
type ink bool

func inkFor(w io.Writer) ink { return ink(terminalWidth(w) > 0 && os.Getenv("NO_COLOR") == "") }

func (i ink) bold(text string) string { return i.in("1", text) }
func (i ink) dim(text string) string  { return i.in("2", text) }
func (i ink) red(text string) string  { return i.in("31", text) }

func (i ink) in(code, text string) string {
	if !i || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// printable is text that others wrote, without what would make a terminal do something else than show it.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case unicode.IsControl(r) || '\u202a' <= r && r <= '\u202e' || '\u2066' <= r && r <= '\u2069':
			return '\uFFFD'
		}
		return r
	}, text)
}

// oneLine is printable on a line of its own.
func oneLine(text string) string { return strings.Join(strings.Fields(printable(text)), " ") }

// fit cuts a line to so many columns, with a mark where something is left out.
func fit(line string, columns int) string {
	if uniseg.StringWidth(line) <= columns {
		return line
	}
	var b strings.Builder
	for state, used := -1, 0; line != ""; {
		var cluster string
		var width int
		cluster, line, width, state = uniseg.FirstGraphemeClusterInString(line, state)
		if used += width; used > columns-1 {
			break
		}
		b.WriteString(cluster)
	}
	return b.String() + "…"
}

// table prints rows under heads. The column named by its number, from 0, is cut to make rows fit a screen; without a screen
// it is cut to what most have.
func table(w io.Writer, heads []string, rows [][]string, cut int) {
	const gap, least, usual = 2, 12, 60
	widths := make([]int, len(heads))
	for _, row := range append([][]string{heads}, rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], uniseg.StringWidth(cell))
		}
	}
	others := 0
	for i, width := range widths {
		if i != cut {
			others += width + gap
		}
	}
	room := usual
	if screen := terminalWidth(w); screen > 0 {
		room = max(least, screen-others)
	}
	widths[cut] = min(widths[cut], room)
	print := func(row []string, style func(string) string) {
		var b strings.Builder
		for i, cell := range row {
			if i == cut {
				cell = fit(cell, widths[i])
			}
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-uniseg.StringWidth(cell)+gap))
			}
		}
		fmt.Fprintln(w, style(strings.TrimRight(b.String(), " ")))
	}
	print(heads, inkFor(w).dim)
	for _, row := range rows {
		print(row, func(line string) string { return line })
	}
}

// orDash is a cell that is never empty.
func orDash(cell string) string { return cmp.Or(cell, "-") }

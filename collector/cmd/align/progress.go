package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far something that takes a while has come.
type progress interface {
	Add(n int) error
	Finish() error
}

// newProgress is a bar of so many things where w is a terminal, and elsewhere what is given instead.
func newProgress(w io.Writer, total int, things string, elsewhere progress) progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return elsewhere
	}
	return progressbar.NewOptions(total,
		progressbar.OptionSetWriter(f),
		progressbar.OptionSetDescription(things),
		progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(),
	)
}

// noProgress shows nothing.
type noProgress struct{}

func (noProgress) Add(int) error { return nil }
func (noProgress) Finish() error { return nil }

// lines shows progress as a line for every quarter.
type lines struct {
	out         io.Writer
	thing       string
	total, done int
}

func (l *lines) Add(n int) error {
	before := 4 * l.done / l.total
	l.done += n
	if now := 4 * l.done / l.total; now > before {
		_, err := fmt.Fprintf(l.out, "%4d %%: %s of %s\n", 25*now, thousands(l.done), counted(l.total, l.thing))
		return err
	}
	return nil
}

func (l *lines) Finish() error { return nil }

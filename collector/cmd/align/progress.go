package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/openalign/align/collector"
)

// progress shows how far something that takes a while has come. It is safe for concurrent use.
type progress interface {
	Add(n int) error
	Set(n int) error
	Finish() error
}

// unknown is a total that nobody knows.
const unknown = -1

// newProgress is a bar of so many things where w is a terminal; of unknown many, a count and how many a second. Elsewhere it
// is what is given instead. What it writes goes to w alone, and a bar is wiped away when it is finished.
func newProgress(w io.Writer, total int, things string, elsewhere progress) progress {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return elsewhere
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(f),
		progressbar.OptionSetDescription(things),
		progressbar.OptionShowCount(),
		progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100 * time.Millisecond),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetRenderBlankState(true),
	}
	if things == "bytes" {
		options = append(options, progressbar.OptionShowBytes(true))
	}
	if total == unknown {
		options = append(options, progressbar.OptionShowIts(), progressbar.OptionSetItsString(things), progressbar.OptionSpinnerType(14),
			progressbar.OptionSetSpinnerChangeInterval(0)) // or it would turn while nothing goes on
	}
	return progressbar.NewOptions(total, options...)
}

// showProgress is a bar where w is a terminal, and elsewhere a line now and then.
func showProgress(w io.Writer, total int, things string) progress {
	return newProgress(w, total, things, &slowLines{out: w, things: things, total: total, last: time.Now()})
}

// noProgress shows nothing.
type noProgress struct{}

func (noProgress) Add(int) error { return nil }
func (noProgress) Set(int) error { return nil }
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

func (l *lines) Set(n int) error { return l.Add(n - l.done) }
func (l *lines) Finish() error   { return nil }

// lineEvery is how long it takes until slowLines says something again.
const lineEvery = 10 * time.Second

// slowLines shows progress as a line every ten seconds, so that what takes less says nothing.
type slowLines struct {
	out    io.Writer
	things string
	total  int // or unknown

	mu   sync.Mutex
	done int
	last time.Time
}

func (l *slowLines) Add(n int) error { return l.move(n, false) }
func (l *slowLines) Set(n int) error { return l.move(n, true) }
func (l *slowLines) Finish() error   { return nil }

func (l *slowLines) move(n int, to bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if to {
		l.done = n
	} else {
		l.done += n
	}
	now := time.Now()
	if now.Sub(l.last) < lineEvery {
		return nil
	}
	l.last = now
	of := ""
	if l.total > 0 {
		of = fmt.Sprintf(" of %s, %d %%", thousands(l.total), int(100*float64(l.done)/float64(l.total)))
	}
	_, err := fmt.Fprintf(l.out, "%s %s%s\n", thousands(max(l.done, 0)), l.things, of)
	return err
}

// following returns a context in which the work of a store shows on w how far it has come, and what ends that.
func following(ctx context.Context, w io.Writer, things string) (_ context.Context, finish func()) {
	var (
		mu    sync.Mutex
		bar   progress
		ended bool
	)
	ctx = collector.WithProgress(ctx, func(done, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if ended || total <= 0 {
			return
		}
		if bar == nil {
			bar = showProgress(w, int(total), things)
		}
		_ = bar.Set(int(min(done, total))) // that nobody sees it is no reason to stop
	})
	return ctx, func() {
		mu.Lock()
		defer mu.Unlock()
		if ended = true; bar != nil {
			_ = bar.Finish()
		}
	}
}

// watching shows how far something has come that has to be asked, until stop is called.
func watching(bar progress, done func() int) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(100 * time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case <-end:
				_ = bar.Set(done()) // also of what takes no time
				_ = bar.Finish()
				return
			case <-ticks.C:
				_ = bar.Set(done())
			}
		}
	}()
	return func() {
		close(end)
		<-ended
	}
}

// measured counts the bytes that go through it.
type measured struct {
	io.Writer
	bar progress
}

func (m measured) Write(p []byte) (int, error) {
	n, err := m.Writer.Write(p)
	_ = m.bar.Add(n)
	return n, err
}

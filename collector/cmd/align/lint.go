package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/store/sqlite"
)

type lintCommand struct {
	File string `arg:"" help:"File with one event in JSON a line, gzipped or not; - for standard input."`
}

const (
	lintProject = "lint"
	lintBatch   = 1000
	// maxLineBytes bounds a line as a request is bounded.
	maxLineBytes = ingest.MaxBodyBytes
)

// Run checks events without keeping them. What the collector would set aside makes it fail.
func (c *lintCommand) Run(ctx context.Context, std streams) (err error) {
	in := io.ReadCloser(os.Stdin)
	if c.File != "-" {
		if in, err = os.Open(c.File); err != nil {
			return err
		}
	}
	defer in.Close()
	dir, err := os.MkdirTemp("", "align-lint-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	store, err := sqlite.Open(ctx, filepath.Join(dir, databaseFile))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	l := linter{store: store, out: std.out, name: c.File, now: time.Now()}
	if err := l.read(ctx, in); err != nil {
		return err
	}
	return l.report(ctx)
}

// linter puts events into a store of its own, to see what it makes of them.
type linter struct {
	store collector.Store
	out   io.Writer
	name  string
	now   time.Time

	batch                 collector.Batch
	stored, repeated, bad int
}

func (l *linter) read(ctx context.Context, in io.Reader) (err error) {
	buffered := bufio.NewReader(in)
	in = buffered
	if magic, _ := buffered.Peek(2); string(magic) == "\x1f\x8b" {
		if in, err = gzip.NewReader(buffered); err != nil {
			return err
		}
	}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 64<<10), maxLineBytes)
	number := 0
	for lines.Scan() {
		number++
		line := bytes.TrimSpace(lines.Bytes())
		if len(line) == 0 {
			continue
		}
		fact, reason := ingest.ReadJSON(line, l.now)
		if reason != "" {
			l.bad++
			fmt.Fprintf(l.out, "%s:%d: %s\n", l.name, number, reason)
			continue
		}
		if l.batch.Facts = append(l.batch.Facts, fact); len(l.batch.Facts) == lintBatch {
			if err := l.flush(ctx); err != nil {
				return err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s:%d: %w", l.name, number+1, err)
	}
	return l.flush(ctx)
}

func (l *linter) flush(ctx context.Context) error {
	got, err := l.store.Append(ctx, lintProject, l.batch)
	l.stored, l.repeated = l.stored+got.Stored, l.repeated+got.Duplicate
	l.batch = collector.Batch{}
	return err
}

// report prints what is odd about the events that are good.
func (l *linter) report(ctx context.Context) error {
	q, err := l.store.Quality(ctx, lintProject)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		kind collector.FindingKind
		what string
	}{
		{collector.FindingIndexGap, "session lacks messages before its last"},
		{collector.FindingNeverOpened, "session has no opening"},
		{collector.FindingDuplicateIndex, "message has different versions"},
		{collector.FindingConflictingUsers, "session was opened for different users"},
		{collector.FindingClockAhead, "event is from a clock that is ahead"},
		{collector.FindingClockRefused, "event has a time that cannot be"},
	} {
		if n := q.Findings[f.kind]; n > 0 {
			fmt.Fprintf(l.out, "%d × %s\n", n, f.what)
		}
	}
	fmt.Fprintf(l.out, "%s good, %d repeated, %d bad\n", counted(l.stored, "event"), l.repeated, l.bad)
	if l.bad > 0 {
		return fmt.Errorf("%s would be set aside", counted(l.bad, "event"))
	}
	return nil
}

// Command import records transcripts from a file of JSON lines, each an Acro conversation document:
//
//	ALIGNAI_PROJECT_ID=shop ALIGNAI_API_KEY=… go run ./examples/import -progress import.done transcripts.jsonl
//
// Lines that are no good are told, with their number and the fields at fault, and left out. With -progress the number of
// the last line that the collector has acknowledged is kept in a file: started again after it was stopped, the import goes
// on behind that. Without, starting again is no harm either: a transcript that is recorded twice replaces itself.
//
// The exit code is 0 when everything was delivered, 1 when lines were left out or dropped, 2 when the import did not get
// to the end.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/openalign/align"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, align.Config{}, os.Args[1:], os.Stderr))
}

const (
	exitOK = iota
	exitSome
	exitFailed
)

// checkpoint is how many lines may have to be read again after the import was stopped.
const checkpoint = 500

// run imports what args say and returns the exit code.
func run(ctx context.Context, cfg align.Config, args []string, out io.Writer) int {
	flags := flag.NewFlagSet("import", flag.ContinueOnError)
	flags.SetOutput(out)
	progress := flags.String("progress", "", "file that keeps how far the import has come")
	if flags.Parse(args) != nil || flags.NArg() != 1 {
		fmt.Fprintln(out, "usage: import [-progress FILE] TRANSCRIPTS.jsonl")
		return exitFailed
	}
	file, err := os.Open(flags.Arg(0))
	if err != nil {
		fmt.Fprintln(out, err)
		return exitFailed
	}
	defer file.Close()
	done, err := readProgress(*progress)
	if err != nil {
		fmt.Fprintln(out, err)
		return exitFailed
	}

	cfg.Overflow = align.OverflowBlock // an import has time: wait for room
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.NewTextHandler(out, nil))
	}
	client, err := align.New(cfg)
	if err != nil {
		fmt.Fprintln(out, err)
		return exitFailed
	}
	im := importer{client: client, out: out, progress: *progress, line: done, done: done}
	err = im.read(ctx, file)
	if e := im.checkpoint(ctx); err == nil {
		err = e
	}
	// ctx may have ended, that is why we are here; Close has a deadline of its own.
	if e := client.Close(context.WithoutCancel(ctx)); err == nil {
		err = e
	}
	dropped := client.Stats().Dropped
	fmt.Fprintf(out, "%d lines: %d recorded, %d left out, events dropped: %v\n", im.line-done, im.recorded, im.bad, dropped)
	switch {
	case err != nil:
		fmt.Fprintln(out, err)
		return exitFailed
	case im.bad > 0 || len(dropped) > 0:
		return exitSome
	}
	return exitOK
}

// importer is an import under way.
type importer struct {
	client   *align.Client
	out      io.Writer
	progress string

	line, done    int // lines read, and lines known to have arrived
	recorded, bad int
}

// read records every line of r behind those that are done.
func (im *importer) read(ctx context.Context, r io.Reader) error {
	lines := bufio.NewReader(r)
	for n := 1; ; n++ {
		line, err := readLine(lines)
		if err == io.EOF {
			return nil
		}
		if err != nil && !errors.Is(err, errLong) {
			return err
		}
		if n <= im.done {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil && len(line) > 0 {
			var transcript align.Transcript
			if transcript, err = align.ParseTranscript(line); err == nil {
				err = im.client.RecordTranscript(ctx, transcript)
			}
		}
		switch _, wrong := errors.AsType[*align.FieldError](err); {
		case wrong || errors.Is(err, errLong):
			im.bad++
			fmt.Fprintf(im.out, "line %d: %s\n", n, strings.ReplaceAll(err.Error(), "\n", "; "))
		case err != nil:
			return fmt.Errorf("line %d: %w", n, err)
		case len(line) > 0:
			im.recorded++
		}
		im.line = n
		if (n-im.done)%checkpoint == 0 {
			if err := im.checkpoint(ctx); err != nil {
				return err
			}
		}
	}
}

var errLong = fmt.Errorf("longer than %d bytes", align.MaxTranscriptBytes)

// readLine returns the next line without white space around it. One that is longer than any transcript is skipped, with errLong.
func readLine(r *bufio.Reader) (line []byte, err error) {
	for long := false; ; {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > align.MaxTranscriptBytes+2; !long {
			line = append(line, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err == io.EOF && len(part) == 0 && len(line) == 0 && !long:
			return nil, io.EOF
		case err != nil && err != io.EOF:
			return nil, err
		case long:
			return nil, errLong
		}
		return bytes.TrimSpace(line), nil
	}
}

// checkpoint waits until everything so far is acknowledged or dropped, and notes it.
func (im *importer) checkpoint(ctx context.Context) error {
	if im.done == im.line {
		return nil
	}
	for {
		err := im.client.Flush(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			break
		}
		fmt.Fprintln(im.out, err) // it is still retried: wait on
	}
	im.done = im.line
	fmt.Fprintf(im.out, "%d lines done\n", im.done)
	if im.progress == "" {
		return nil
	}
	// A file that is renamed into place is never half written.
	if err := os.WriteFile(im.progress+".new", fmt.Appendln(nil, im.done), 0o600); err != nil {
		return err
	}
	return os.Rename(im.progress+".new", im.progress)
}

// readProgress returns how many lines an earlier import has done, zero if there is no such file.
func readProgress(name string) (int, error) {
	if name == "" {
		return 0, nil
	}
	text, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%s does not hold a number of lines", name)
	}
	return n, nil
}

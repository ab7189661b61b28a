package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
)

type exportCommand struct {
	dataFlag
	Project     string             `help:"Project to export." required:"" placeholder:"P"`
	Day         string             `help:"Day in UTC, such as 2026-01-31." required:"" placeholder:"D"`
	Format      export.Format      `help:"What to write: ${enum} (default ${default})." enum:"json,ndjson,csv,parquet" default:"json"`
	Compress    export.Compression `help:"Compress it: ${enum} (default: not; Parquet compresses its columns)." enum:"gzip,zstd," default:"" placeholder:"gzip|zstd"`
	Compat      string             `help:"ultimate: counts are texts, as in Ultimate's export." enum:"ultimate," default:"" placeholder:"ultimate"`
	Late        bool               `help:"What became known of earlier days after their files were final, instead of the day's own file."`
	StartsOn    bool               `help:"The conversations that began on the day, from its file and as many after it as the longest needs."`
	Open        bool               `help:"Open labels and data, which are sealed otherwise; what was erased is absent."`
	Manifest    bool               `help:"Write the manifest instead: rows, sums and when it was made."`
	Verify      bool               `help:"Make all files of the day again and compare them with the manifest."`
	Out         string             `help:"File to write (default: standard output)." type:"path" placeholder:"FILE"`
	IdleTimeout time.Duration      `help:"As for serve, where the day is not final yet (default ${default})." default:"30m" placeholder:"DURATION"`
	ExportGrace time.Duration      `help:"Likewise (default ${default})." default:"30m" placeholder:"DURATION"`
}

// Validate refuses what there is no file for.
func (c *exportCommand) Validate() error {
	if _, err := collector.ParseDay(c.Day); err != nil {
		return fmt.Errorf("--day: %w", err)
	}
	if c.Late && c.StartsOn {
		return errors.New("--late and --starts-on do not go together")
	}
	if c.Manifest && c.Verify {
		return errors.New("--manifest and --verify do not go together")
	}
	return nil
}

// Run writes a file, also while a collector serves the same folder, and makes the day final first where it is time.
func (c *exportCommand) Run(ctx context.Context, std streams) error {
	day, err := collector.ParseDay(c.Day)
	if err != nil {
		return err
	}
	// Nearly all of what a file is made of is garbage a moment later. Collecting it more often costs less than holding it.
	debug.SetGCPercent(40)
	debug.SetMemoryLimit(24 << 20)
	v := export.Variant{Day: day, Late: c.Late, StartsOn: c.StartsOn, Format: c.Format, Compression: c.Compress, Ultimate: c.Compat != "", Open: c.Open}
	return c.with(ctx, func(store collector.Store) error {
		kept, ok := store.(collector.ExportStore)
		if !ok {
			return errors.New("this store keeps no exports")
		}
		switch known, err := store.HasProject(ctx, c.Project); {
		case err != nil:
			return err
		case !known: // or a slip of the pen would be a project whose days are final
			return errors.New("there is no such project: align keys list shows them")
		}
		exports := export.New(kept, export.Config{IdleTimeout: c.IdleTimeout, Grace: c.ExportGrace})
		// Who has the folder may also make a day final whose turn does not come by itself.
		if _, err := exports.Manifest(ctx, c.Project, day); errors.Is(err, export.ErrNoFiles) {
			if err := exports.Finalize(ctx, c.Project, day); err != nil {
				return err
			}
		}
		if c.Verify {
			return c.verify(ctx, std, exports, day)
		}
		return writeTo(c.Out, std.out, func(to io.Writer) error {
			if c.Manifest {
				m, err := exports.Manifest(ctx, c.Project, day)
				if err != nil {
					return err
				}
				e := json.NewEncoder(to)
				e.SetIndent("", "  ")
				return e.Encode(m)
			}
			return c.write(ctx, std, exports, v, to)
		})
	})
}

// write writes one file and says what it is.
func (c *exportCommand) write(ctx context.Context, std streams, exports *export.Exporter, v export.Variant, to io.Writer) error {
	bar := progress(noProgress{})
	if terminalWidth(to) == 0 { // a bar would stand in the middle of what is shown
		bar = showProgress(std.err, unknown, "bytes")
	}
	rows, err := exports.Write(ctx, measured{to, bar}, c.Project, v)
	_ = bar.Finish()
	if err != nil {
		return err
	}
	fmt.Fprintf(std.err, "%s: %s.\n", v.Name(), counted(int(rows), "conversation"))
	if !v.StartsOn {
		return nil
	}
	span, err := exports.StartsOn(ctx, c.Project, v.Day)
	if err != nil {
		return err
	}
	all := "all are final"
	if !span.Complete {
		all = "not all are final yet: more may come"
	}
	fmt.Fprintf(std.err, "Read from the file of the day and the %s after it, as the longest conversation needs; %s.\n", counted(span.After, "file"), all)
	return nil
}

func (c *exportCommand) verify(ctx context.Context, std streams, exports *export.Exporter, day collector.Day) error {
	m, differ, err := exports.Verify(ctx, c.Project, day)
	if err != nil {
		return err
	}
	if len(differ) > 0 {
		return fmt.Errorf("not what the manifest says: %s", strings.Join(differ, ", "))
	}
	fmt.Fprintf(std.err, "All %d files of %s are what the manifest says.\n", len(m.Files), m.Day)
	return nil
}

// writeTo writes a file that appears under its name only when it is whole, or else to standard output.
func writeTo(file string, out io.Writer, write func(io.Writer) error) (err error) {
	if file == "" {
		return write(out)
	}
	part, err := os.CreateTemp(filepath.Dir(file), ".export-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(part.Name()) // it may be gone
		}
	}()
	if err := write(part); err != nil {
		return errors.Join(err, part.Close())
	}
	if err := errors.Join(part.Sync(), part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), file)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/metrics"
	reports "github.com/openalign/align/collector/report"
	"github.com/openalign/align/collector/store/sqlite"
)

type reportCommand struct {
	dataFlag
	Project string        `help:"The project (default: the only one there is)." placeholder:"P"`
	From    momentFlag    `help:"First UTC day, such as 2026-03-01 (default: seven days before the end)." placeholder:"DAY"`
	To      momentFlag    `help:"UTC day that is not in it any more (default: today, so that whole days are)." placeholder:"DAY"`
	Out     string        `help:"File to write, whose name says the format; - is standard output." short:"o" required:"" type:"path" placeholder:"FILE.html|FILE.md"`
	Format  string        `help:"html or md, where the name of the file does not say." enum:"html,md," default:"" placeholder:"html|md"`
	Worst   int           `help:"List so many of the worst conversations; 0 for none (default ${default})." default:"20" placeholder:"N"`
	Link    string        `help:"Link conversations to the dashboard of the collector at this address." placeholder:"URL"`
	Content bool          `help:"Show what was said in the worst conversations. Without it a report has nothing of that."`
	Idle    time.Duration `help:"A conversation without activity for this long has ended; give what the collector is served with (default ${default})." default:"30m" placeholder:"DURATION"`
	AsOf    momentFlag    `help:"Ask as of this time whether conversations have ended (default: now, which is the same once all have)." placeholder:"TIME"`
}

// Validate refuses what there is no report for.
func (c *reportCommand) Validate() error {
	switch {
	case c.Idle == 0:
		return errors.New("--idle must not be 0: give a time such as 30m, or a negative one for never")
	case c.Worst < 0 || c.Worst > reports.MaxWorst:
		return fmt.Errorf("--worst can be 0 to %d", reports.MaxWorst)
	case c.format() == "":
		return errors.New("--out: the name ends in neither .html nor .md: give --format")
	case time.Time(c.To).After(time.Now()):
		return errors.New("--to must not be in the future: a day that is not over would be compared with whole ones")
	}
	return nil
}

// format is html, md, or empty where nothing says.
func (c *reportCommand) format() string {
	if c.Format != "" {
		return c.Format
	}
	return map[string]string{".html": "html", ".htm": "html", ".md": "md", ".markdown": "md"}[strings.ToLower(filepath.Ext(c.Out))]
}

// Run writes a report from a data folder, also while a collector serves it.
func (c *reportCommand) Run(ctx context.Context, std streams) error {
	opts := reports.Options{From: time.Time(c.From), To: time.Time(c.To), Worst: c.Worst, Link: c.Link, Content: c.Content}
	if opts.To.IsZero() {
		opts.To = time.Now().UTC().Truncate(figures.Day)
	}
	if opts.From.IsZero() {
		opts.From = opts.To.AddDate(0, 0, -reports.DefaultDays)
	}
	if opts.Worst == 0 {
		opts.Worst = -1
	}
	return c.withStore(ctx, func(store *sqlite.Store) (err error) {
		if opts.Project, err = onlyProject(ctx, store, c.Project); err != nil {
			return err
		}
		bar := showProgress(std.err, opts.Steps()+1, "steps")
		opts.Step = func() { _ = bar.Add(1) }
		made, err := c.made(ctx, store, opts)
		_ = bar.Finish() // before anything is written to the same screen
		if err != nil {
			return err
		}
		file := c.Out
		if file == "-" {
			file = ""
		}
		if err := writeTo(file, std.out, func(to io.Writer) error {
			if c.format() == "html" {
				return made.HTML(to)
			}
			return made.Markdown(to)
		}); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "Report of %s, %s: %s.\n", oneLine(opts.Project), made.Days(), counted(made.Conversations, "conversation"))
		return nil
	})
}

// made makes the report, of digests that are up to date.
func (c *reportCommand) made(ctx context.Context, store *sqlite.Store, opts reports.Options) (*reports.Report, error) {
	if err := store.DigestAll(ctx); err != nil {
		return nil, err
	}
	opts.Step()
	engine := &metrics.Engine{Store: store, Idle: c.Idle}
	return reports.Make(ctx, store, engine.AsOf(time.Time(c.AsOf)), opts)
}

// onlyProject is the project that is wanted, or else the only one in the data folder.
func onlyProject(ctx context.Context, store *sqlite.Store, wanted string) (string, error) {
	if wanted != "" {
		known, err := store.HasProject(ctx, wanted)
		if err != nil || known {
			return wanted, err
		}
		totals, err := store.Totals(ctx, wanted)
		if err == nil && totals.Facts == 0 {
			err = errors.New("there is no such project: align keys list shows them")
		}
		return wanted, err
	}
	keys, err := store.Keys(ctx, "")
	if err != nil {
		return "", err
	}
	var projects []string
	for i := range keys {
		if p := keys[i].Project; p != "" && !slices.Contains(projects, p) {
			projects = append(projects, p)
		}
	}
	if len(projects) != 1 {
		return "", fmt.Errorf("--project is needed: the data folder has %s", counted(len(projects), "project"))
	}
	return projects[0], nil
}

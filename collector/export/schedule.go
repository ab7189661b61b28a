package export

import (
	"context"
	"errors"
	"time"

	"github.com/openalign/align/collector"
)

// retryEvery is how often days are tried again that could not be made final.
const retryEvery = time.Minute

// Run makes days final when it is time, those first that were missed while nothing ran, until ctx ends.
func (e *Exporter) Run(ctx context.Context) {
	for {
		next := e.FinalTime(e.lastDue(time.Now()) + 1)
		wait := time.Until(next)
		if !e.catchUp(ctx) {
			wait = min(wait, retryEvery)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// catchUp makes all days final that can be, and reports whether it did.
func (e *Exporter) catchUp(ctx context.Context) bool {
	if err := e.store.NoteNews(ctx); err != nil {
		return e.failed(ctx, "", err)
	}
	projects, err := e.store.ExportProjects(ctx)
	if err != nil {
		return e.failed(ctx, "", err)
	}
	all := true
	for _, project := range projects {
		due := e.lastDue(time.Now())
		next, ok, err := e.turn(ctx, project)
		if err == nil && !ok {
			continue // its first day is not over
		}
		if err == nil {
			err = e.Finalize(ctx, project, due)
		}
		if err != nil {
			all = e.failed(ctx, project, err)
			continue
		}
		if next <= due {
			e.log.InfoContext(ctx, "daily export final", "project", project, "day", due.String())
		}
	}
	return all
}

// failed notes what went wrong, and returns false.
func (e *Exporter) failed(ctx context.Context, project string, err error) bool {
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, collector.ErrOvertaken):
		e.log.InfoContext(ctx, "the daily export is being made by another process", "project", project)
	default:
		e.log.ErrorContext(ctx, "the daily export failed", "project", project, "error", err)
	}
	return false
}

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/openalign/align/collector"
)

type replayCommand struct {
	dataFlag
	Idle    []time.Duration `help:"Change nothing; show how sessions would end with these idle timeouts, beside the usual one." sep:"," placeholder:"10m,30m,2h"`
	Project string          `help:"With --idle: only sessions of this project." placeholder:"P"`
}

// Validate refuses what would be ignored.
func (c *replayCommand) Validate() error {
	if c.Project != "" && len(c.Idle) == 0 {
		return errors.New("--project goes with --idle: a replay makes the views of all projects again")
	}
	for _, idle := range c.Idle {
		if idle <= 0 {
			return errors.New("--idle needs times such as 10m")
		}
	}
	return nil
}

// Run replays, or compares idle timeouts.
func (c *replayCommand) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(store collector.Store) error {
		if len(c.Idle) > 0 {
			return c.compare(ctx, std, store)
		}
		start := time.Now()
		ctx, finish := following(ctx, std.err, "facts")
		facts, err := store.Replay(ctx)
		finish()
		if err != nil {
			return err
		}
		fmt.Fprintf(std.err, "Views made again from %s in %s.\n", counted(facts, "fact"), time.Since(start).Round(time.Millisecond))
		return nil
	})
}

// compare prints a row for each timeout, the usual one first.
func (c *replayCommand) compare(ctx context.Context, std streams, store collector.Store) error {
	timeouts := append([]time.Duration{collector.DefaultIdleTimeout}, c.Idle...)
	slices.Sort(timeouts[1:])
	timeouts = slices.Compact(timeouts)
	rows := make([]idleRow, len(timeouts))
	now := time.Now()
	bar := showProgress(std.err, unknown, "sessions")
	err := store.Activity(ctx, c.Project, func(conversation collector.Conversation, times []time.Time) error {
		for i, idle := range timeouts {
			rows[i].add(conversation, times, now, idle)
		}
		return bar.Add(1)
	})
	err = errors.Join(err, bar.Finish())
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "IDLE\tSESSIONS\tCLOSED\tOPEN\tREOPENED\tMEDIAN\tP90\t")
	for i, idle := range timeouts {
		r := &rows[i]
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%s\t%s\t\n", idle, r.sessions, r.closed, r.sessions-r.closed, r.reopened,
			r.duration(0.5), r.duration(0.9))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, "REOPENED counts activity after a session had gone idle. MEDIAN and P90 are of the time from activity to\n"+
		"activity without such a gap.")
	return err
}

// idleRow is what sessions are like under one idle timeout.
type idleRow struct {
	sessions, closed, reopened int
	durations                  []time.Duration // of stretches of activity
}

// add adds a session. times is its messages'.
func (r *idleRow) add(c collector.Conversation, times []time.Time, now time.Time, idle time.Duration) {
	r.sessions++
	if c.CloseReason == collector.CloseIdle {
		c.CloseTime = time.Time{} // that was under the timeout of its client
	}
	if state, _, _ := c.State(now, idle); state == collector.StateClosed {
		r.closed++
	}
	times = append([]time.Time{c.StartTime, c.LastActivity}, times...)
	slices.SortFunc(times, time.Time.Compare)
	from := times[0]
	for i, t := range times[1:] {
		if before := times[i]; t.Sub(before) >= idle {
			r.reopened++
			r.durations = append(r.durations, before.Sub(from))
			from = t
		}
	}
	r.durations = append(r.durations, times[len(times)-1].Sub(from))
}

// duration returns a quantile.
func (r *idleRow) duration(q float64) time.Duration {
	if len(r.durations) == 0 {
		return 0
	}
	slices.Sort(r.durations)
	return r.durations[max(0, int(math.Ceil(q*float64(len(r.durations))))-1)].Round(time.Second)
}

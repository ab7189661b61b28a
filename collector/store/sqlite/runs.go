package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/openalign/align/collector"
)

// Runs lists the runs of a conversation by the time of their first message, ties by id, and the token of the next page. A
// page holds 100 where page.Size is below 1, and at most 1000. It looks at all messages of the conversation.
func (s *Store) Runs(ctx context.Context, project, conversation string, page collector.Page) ([]collector.Run, string, error) {
	after, err := parsePosition(page.Token, true)
	if err != nil {
		return nil, "", err
	}
	steps, err := query(ctx, s.read.runs, scanStep, project, conversation)
	if err == nil && len(steps) == 0 {
		_, err = s.Conversation(ctx, project, conversation)
		if errors.Is(err, collector.ErrNotFound) {
			return nil, "", collector.ErrNotFound
		}
	}
	if err != nil {
		return nil, "", fmt.Errorf("sqlite: runs: %w", err)
	}
	list := runsOf(steps)
	for len(list) > 0 && comparePositions(position{unixNano(list[0].StartTime), list[0].ID}, after) <= 0 {
		list = list[1:]
	}
	next := ""
	if size := pageSize(page); len(list) > size {
		list = list[:size]
		last := &list[size-1]
		next = position{unixNano(last.StartTime), last.ID}.token(true)
	}
	for i := range list {
		tags, err := query(ctx, s.read.runTags, func(rows *sql.Rows) (tag string, err error) { return tag, rows.Scan(&tag) },
			project, conversation, list[i].ID)
		if err != nil {
			return nil, "", fmt.Errorf("sqlite: runs: %w", err)
		}
		list[i].Tags = tags
	}
	return list, next, nil
}

// step is a message of a run.
type step struct {
	time   int64
	detail collector.Detail
}

func scanStep(rows *sql.Rows) (one step, err error) {
	var detail []byte
	if err := rows.Scan(&one.time, &detail); err != nil {
		return one, err
	}
	return one, json.Unmarshal(detail, &one.detail)
}

// runsOf adds messages, in their order, up to runs, the oldest first, ties by id.
func runsOf(steps []step) []collector.Run {
	at := map[string]int{}
	var list []collector.Run
	for _, one := range steps {
		i, known := at[one.detail.RunID]
		if !known {
			i = len(list)
			at[one.detail.RunID] = i
			list = append(list, collector.Run{ID: one.detail.RunID, StartTime: fromNanos(one.time), EndTime: fromNanos(one.time),
				Detail: collector.Detail{RunID: one.detail.RunID}})
		}
		addStep(&list[i], &one)
	}
	slices.SortFunc(list, func(a, b collector.Run) int {
		return cmp.Or(a.StartTime.Compare(b.StartTime), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// addStep adds a message to its run: tokens and cost add up, a failure stays, and of all else the last word counts.
func addStep(run *collector.Run, one *step) {
	d := &one.detail
	run.Messages++
	if at := fromNanos(one.time); at.Before(run.StartTime) {
		run.StartTime = at
	} else if at.After(run.EndTime) {
		run.EndTime = at
	}
	run.Agent, run.Model = cmp.Or(d.Agent, run.Agent), cmp.Or(d.Model, run.Model)
	sum := &run.Detail
	sum.Agent, sum.Model = run.Agent, run.Model
	if failed := d.Error != "" || d.Success != nil && !*d.Success; failed {
		sum.Success, sum.Error = new(false), d.Error
	} else if d.Success != nil && (sum.Success == nil || *sum.Success) {
		sum.Success = d.Success
	}
	sum.Incomplete = sum.Incomplete || d.Incomplete
	sum.InputTokens, sum.OutputTokens = plus(sum.InputTokens, d.InputTokens), plus(sum.OutputTokens, d.OutputTokens)
	sum.Cost = plus(sum.Cost, d.Cost)
	sum.Latency, sum.TimeToFirstToken = cmp.Or(d.Latency, sum.Latency), cmp.Or(d.TimeToFirstToken, sum.TimeToFirstToken)
	sum.Outcome = cmp.Or(d.Outcome, sum.Outcome)
}

// plus adds what is known.
func plus[T int64 | float64](a, b *T) *T {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return new(*a + *b)
}

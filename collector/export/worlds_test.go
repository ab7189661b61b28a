package export_test

import (
	"context"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/worlds"
	"github.com/openalign/align/collector/metrics"
)

// The invariant of the definitions that files hold: every conversation of a random world is in exactly one daily file, that of
// the day on which it ended, and all files together have as many as the metric counts.
func TestEveryConversationOfAWorldIsInExactlyOneDailyFile(t *testing.T) {
	for seed := range uint64(2) {
		if testing.Short() && seed > 0 {
			break
		}
		inWorld(t, func(w *world) {
			w.until("2026-06-01 12:00")
			ctx := context.Background()
			err := worlds.Append(40+seed, 120, func(b collector.Batch) error {
				_, err := w.store.Append(ctx, project, b)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			ended := map[string]collector.Day{}
			first, last := collector.Day(1<<30), collector.Day(0)
			err = w.store.Activity(ctx, project, func(c collector.Conversation, _ []time.Time) error {
				d := collector.DayOf(c.LastActivity)
				ended[c.ID], first, last = d, min(first, d), max(last, d)
				return nil
			})
			if err != nil || len(ended) != 120 {
				t.Fatal(len(ended), err)
			}
			if err := w.Finalize(ctx, project, last); err != nil {
				t.Fatal(err)
			}
			files := map[string]int{}
			for d := first; d <= last; d++ {
				for _, row := range w.rows(d.String()) {
					files[row.PlatformConversationID]++
					if ended[row.PlatformConversationID] != d {
						t.Errorf("%s ended on %s and is in the file of %s", row.PlatformConversationID, ended[row.PlatformConversationID], d)
					}
				}
				if late := w.late(d.String()); len(late) > 0 {
					t.Errorf("%d rows are late on %s, and nothing was", len(late), d)
				}
			}
			for id := range ended {
				if files[id] != 1 {
					t.Errorf("%s is in %d files", id, files[id])
				}
			}
			if err := w.store.DigestAll(ctx); err != nil {
				t.Fatal(err)
			}
			engine := metrics.Engine{Store: w.store}
			answer, err := engine.Get(ctx, project, metrics.Query{Names: []string{"total_conversations"},
				Scope: metrics.Scope{From: first.Start(), To: last.End(), ByEnd: true, IncludeTest: true}})
			if err != nil || answer.Values[0].Numerator != float64(len(files)) {
				t.Errorf("files have %d conversations, the metric %+v, %v", len(files), answer.Values, err)
			}
		})
	}
}

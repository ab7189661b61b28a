package export_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

var histories = flag.Int("histories", 4, "random histories that the daily export goes through")

// Random conversations go on, come late, are voted on, replaced, labelled and told of again over a week, while days become
// final in turn or some at once. No episode is in two files, no file changes, and day files with late files, applied in
// order, say what the store says in the end.
func TestUL26UL31EveryEpisodeIsToldOnceAndLateFilesLeadToTheFinalState(t *testing.T) {
	met := map[string]int{}
	for seed := range uint64(*histories) {
		if testing.Short() && seed > 0 {
			break
		}
		inWorld(t, func(w *world) {
			history(w, rand.New(rand.NewPCG(seed, 9)), met)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		})
	}
	if testing.Short() {
		return // one history need not meet everything
	}
	for _, what := range []string{"row", "continues", export.ReasonArrivedLate, export.ReasonMessages, export.ReasonOutcome, export.ReasonFeedback, export.ReasonDetails} {
		if met[what] == 0 {
			t.Errorf("no %s in any history: this proves little", what)
		}
	}
}

// history plays a random week.
func history(w *world, r *rand.Rand, met map[string]int) {
	first, days := day("2026-02-26"), collector.Day(10) // events may have happened days before the first comes
	seen := map[string][]byte{}
	look := func(upto collector.Day) {
		for d := first; d <= upto; d++ {
			for _, late := range []bool{false, true} {
				for _, format := range export.Formats {
					v := export.Variant{Day: d, Late: late, Format: format}
					got := w.bytesOf(v)
					if before, ok := seen[v.Name()]; ok && !bytes.Equal(before, got) {
						w.t.Errorf("%s changed", v.Name())
					}
					seen[v.Name()] = got
				}
			}
		}
	}
	written := map[string]int32{}
	for w.now() < first+days {
		w.sleep(time.Duration(r.Int64N(int64(3 * time.Hour))))
		id := fmt.Sprintf("s%d", r.IntN(6))
		if r.IntN(5) == 0 {
			id += "#2" // an app's own, and no episode
		}
		ago := time.Duration(0)
		if r.IntN(4) == 0 {
			ago = time.Duration(r.Int64N(int64(60 * time.Hour)))
		}
		switch r.IntN(11) {
		case 10: // a phone that was offline
			w.say(fmt.Sprint("offline", w.facts), 1, "Hello", 50*time.Hour)
		case 0:
			w.update(id, func(s *sessionProps) { s.Labels = []string{fmt.Sprint("label", r.IntN(3))} })
		case 1:
			w.vote(id, int32(r.IntN(4)), []string{"thumbs_up", "thumbs_down", ""}[r.IntN(3)])
		case 2:
			w.replace(id, int32(r.IntN(3)))
		case 3:
			w.open(id, "ada", func(s *sessionProps) { s.Language = []string{"", "de"}[r.IntN(2)]; s.TestMode = r.IntN(3) == 0 })
		case 4:
			w.tell(collector.TypeSessionClose, ago, &props{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
				SessionProperties: &sessionProps{SessionId: id, Transfer: proto.Bool(r.IntN(2) == 0), Data: `{"n":"1"}`}}})
		default:
			written[id]++
			w.say(id, max(1, written[id]-int32(r.IntN(2))), fmt.Sprint("word ", r.IntN(100)), ago)
		}
		if r.IntN(12) == 0 {
			due := collector.DayOf(time.Now().Add(-time.Hour)) - 1
			if due >= first {
				look(due)
			}
		}
		if r.IntN(40) == 0 {
			if _, err := w.store.Replay(context.Background()); err != nil {
				w.t.Fatal(err)
			}
		}
	}
	w.sleep(3 * 24 * time.Hour)
	look(w.now() - 2)
	w.sameAsStore(first, w.now()-2, met)
}

func (w *world) now() collector.Day { return collector.DayOf(time.Now()) }

// sameAsStore applies files in order and compares what they say with what the store says.
func (w *world) sameAsStore(from, to collector.Day, met map[string]int) {
	told := map[string]export.Row{}
	for d := from; d <= to; d++ {
		for _, row := range w.rows(d.String()) {
			if _, ok := told[row.ConversationID]; ok {
				w.t.Errorf("%s of %s was told before", row.ConversationID, d)
			}
			if end := collector.DayOf(row.ConversationEndTime.Time()); end != d {
				w.t.Errorf("%s ended on %s and is in the file of %s", row.ConversationID, end, d)
			}
			told[row.ConversationID] = row
			met["row"]++
			if row.Continues != "" {
				met["continues"]++
			}
		}
		for _, row := range w.late(d.String()) {
			if _, ok := told[row.ConversationID]; ok == slices.Contains(row.Reasons, export.ReasonArrivedLate) || len(row.Reasons) == 0 {
				w.t.Errorf("%s of %s: told before: %t, reasons %v", row.ConversationID, d, ok, row.Reasons)
			}
			if row.Day >= d.String() {
				w.t.Errorf("%s is late in the file of %s, and belongs to that of %s", row.ConversationID, d, row.Day)
			}
			told[row.ConversationID] = row.RowOf
			for _, reason := range row.Reasons {
				met[reason]++
			}
		}
	}
	type state struct {
		Visitor, Bot, Up, Down int64
		End                    export.Moment
		Labels                 []string
		Data, Language, Rating string
		Test                   bool
		Episodes               int
	}
	got, newest := map[string]state{}, map[string]int64{}
	for _, row := range told {
		id := row.PlatformConversationID
		s := got[id]
		if row.Episode > newest[id] {
			newest[id] = row.Episode
			s.End, s.Labels, s.Data, s.Language, s.Rating, s.Test = row.ConversationEndTime, row.Labels, row.ConversationsData, row.Language, row.SessionRating, row.TestMode
		}
		s.Visitor += row.VisitorMessagesCount
		s.Bot += row.BotMessagesCount
		s.Up += row.ThumbsUp
		s.Down += row.ThumbsDown
		s.Episodes++
		got[id] = s
	}
	list, _, err := w.store.Conversations(context.Background(), project, collector.Page{})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range list {
		want := state{End: export.MomentOf(c.LastActivity), Labels: append([]string{}, c.Labels...), Data: "{}", Language: c.Language, Test: c.TestMode, Episodes: int(newest[c.ID])}
		if c.Data != "" {
			want.Data = c.Data
		}
		want.Rating = map[collector.Vote]string{collector.VoteUp: "thumbs_up", collector.VoteDown: "thumbs_down"}[c.Vote]
		messages, _, err := w.store.Messages(context.Background(), project, c.ID, collector.Page{Size: 1000})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, m := range messages {
			switch m.Role {
			case "user":
				want.Visitor++
			case "assistant":
				want.Bot++
			}
			switch m.Vote {
			case collector.VoteUp:
				want.Up++
			case collector.VoteDown:
				want.Down++
			}
		}
		a, _ := json.Marshal(got[c.ID])
		b, _ := json.Marshal(want)
		if !bytes.Equal(a, b) {
			w.t.Errorf("%s: files say\n%s, the store\n%s", c.ID, a, b)
		}
		delete(got, c.ID)
	}
	if len(got) > 0 {
		w.t.Errorf("files tell of what is not there: %v", got)
	}
}

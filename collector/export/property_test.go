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

// Random histories of some conversations. Over ten days they go on, come late, are voted on, replaced, labelled and told of
// again, lose their texts to retention, their facts, or their user, while days become final in turn or some at once. Several
// tests look at what files say of the same histories, each at one thing.

var histories = flag.Int("histories", 4, "random histories that the daily export goes through")

// played is what became of a history.
type played struct {
	first, last collector.Day
	rows        map[collector.Day][]export.Row
	late        map[collector.Day][]export.LateRow
	store       map[string]state // by conversation, in the end
	erased      map[string]bool  // conversations that lost their user
	retained    bool

	changed  []string // files whose bytes changed
	readable []string // what was taken and can be read
}

// state is what is compared of a conversation.
type state struct {
	Visitor, Bot, Up, Down int64
	End                    export.Moment
	Labels                 []string
	Data, Language, Rating string
	Test                   bool
	Episodes               int
}

var plays = map[uint64]*played{}

// eachHistory calls look with each history, which is played once for all tests.
func eachHistory(t *testing.T, look func(t *testing.T, p *played)) {
	n := *histories
	if testing.Short() {
		n = min(n, 1)
	}
	for seed := range uint64(n) {
		if plays[seed] == nil {
			inWorld(t, func(w *world) {
				plays[seed] = play(w, rand.New(rand.NewPCG(seed, 9)), seed)
			})
		}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { look(t, plays[seed]) })
	}
}

// Whatever comes later, a file that is final stays as it is, byte by byte.
func TestUL20NoFileChangesInAnyHistory(t *testing.T) {
	eachHistory(t, func(t *testing.T, p *played) {
		if p.changed != nil {
			t.Errorf("changed: %v", p.changed)
		}
		if len(p.rows) < 10 {
			t.Errorf("%d days: this proves little", len(p.rows))
		}
	})
}

// An episode is in the file of the day on which it ended, and in no other, in any history.
func TestUL26AnEpisodeIsInExactlyOneDailyFile(t *testing.T) {
	eachHistory(t, func(t *testing.T, p *played) {
		in := map[string]collector.Day{}
		again := 0
		for d := p.first; d <= p.last; d++ {
			for _, row := range p.rows[d] {
				if before, ok := in[row.ConversationID]; ok {
					t.Errorf("%s is in the files of %s and %s", row.ConversationID, before, d)
				}
				in[row.ConversationID] = d
				if end := collector.DayOf(row.ConversationEndTime.Time()); end != d {
					t.Errorf("%s ended on %s and is in the file of %s", row.ConversationID, end, d)
				}
				if row.Continues != "" {
					again++
				}
			}
		}
		for d := p.first; d <= p.last; d++ {
			for _, row := range p.late[d] {
				if before, ok := in[row.ConversationID]; ok && before.String() != row.Day {
					t.Errorf("%s is in the file of %s, and its late row belongs to that of %s", row.ConversationID, before, row.Day)
				}
				if end := collector.DayOf(row.ConversationEndTime.Time()); end.String() > row.Day {
					t.Errorf("%s ended on %s, and its late row belongs to the file of %s", row.ConversationID, end, row.Day)
				}
			}
		}
		if len(in) < 10 || again == 0 {
			t.Errorf("%d episodes, %d of them later ones: this proves little", len(in), again)
		}
	})
}

// Day files with late files, applied in order, say what the store says in the end.
func TestUL31DayFilesAndLateFilesLeadToTheFinalState(t *testing.T) {
	met := map[string]int{}
	eachHistory(t, func(t *testing.T, p *played) { p.sameAsStore(t, met) })
	if testing.Short() {
		return // one history need not meet everything
	}
	for _, what := range []string{"row", "continues", export.ReasonArrivedLate, export.ReasonMessages, export.ReasonOutcome, export.ReasonFeedback, export.ReasonDetails} {
		if met[what] == 0 {
			t.Errorf("no %s in any history: this proves little", what)
		}
	}
}

// What retention and erasure took can be read in no file, whenever they came.
func TestUL32WhatIsTakenIsReadableInNoFileOfAnyHistory(t *testing.T) {
	erased, retained := 0, false
	eachHistory(t, func(t *testing.T, p *played) {
		if p.readable != nil {
			t.Errorf("readable: %v", p.readable)
		}
		erased, retained = erased+len(p.erased), retained || p.retained
	})
	if !testing.Short() && (erased == 0 || !retained) {
		t.Errorf("%d erased, retained %t: this proves little", erased, retained)
	}
}

// play plays a history.
func play(w *world, r *rand.Rand, seed uint64) *played {
	p := &played{rows: map[collector.Day][]export.Row{}, late: map[collector.Day][]export.LateRow{}, store: map[string]state{}, erased: map[string]bool{}}
	begin, days := w.now(), collector.Day(9)
	seen := map[string][]byte{}
	look := func(upto collector.Day, formats ...export.Format) {
		w.firstDay(p, upto)
		for d := p.first; d <= upto; d++ {
			for _, late := range []bool{false, true} {
				for _, format := range formats {
					v := export.Variant{Day: d, Late: late, Format: format}
					got := w.bytesOf(v)
					if before, ok := seen[v.Name()]; !ok {
						seen[v.Name()] = got
					} else if !bytes.Equal(before, got) {
						p.changed = append(p.changed, v.Name())
					}
				}
			}
		}
	}
	written := map[string]int32{}
	for w.now() < begin+days {
		w.sleep(time.Duration(r.Int64N(int64(6 * time.Hour))))
		w.together = true
		for range 1 + r.IntN(3) {
			w.happen(r, written)
		}
		w.flush()
		w.together = false
		if r.IntN(6) == 0 {
			// Every file is made of the same lines, in every format at the end again.
			look(collector.DayOf(time.Now().Add(-time.Hour))-1, export.FormatNDJSON, export.Formats[r.IntN(len(export.Formats))])
		}
		switch what := r.IntN(100); {
		case what < 3:
			if _, err := w.store.Replay(context.Background()); err != nil {
				w.t.Fatal(err)
			}
		case seed%2 == 0 && what < 9: // the first history has all, the second none of it
			w.retain(p, r)
		case seed%3 == 0 && what < 9+5:
			w.eraseOne(p, r)
		}
	}
	w.sleep(3 * 24 * time.Hour)
	p.last = w.now() - 2
	look(p.last, export.Formats...)
	look(p.last, export.Formats...) // those that were not looked at before
	for d := p.first; d <= p.last; d++ {
		p.rows[d], p.late[d] = w.rows(d.String()), w.late(d.String())
	}
	w.takeStore(p)
	return p
}

// firstDay makes the days up to one final that are not, and notes the first there is.
func (w *world) firstDay(p *played, upto collector.Day) {
	w.t.Helper()
	if err := w.Finalize(context.Background(), project, upto); err != nil {
		w.t.Fatal(err)
	}
	list, err := w.Days(context.Background(), project, -1<<31, 1<<31-1, 1)
	if err != nil || len(list) == 0 {
		w.t.Fatal(list, err)
	}
	p.first = day(list[0].Day)
}

// happen lets something happen to a conversation.
func (w *world) happen(r *rand.Rand, written map[string]int32) {
	id := fmt.Sprintf("s%d", r.IntN(conversations))
	if r.IntN(5) == 0 {
		id += "#2" // an app's own, and no episode
	}
	ago := time.Duration(0)
	if r.IntN(4) == 0 {
		ago = time.Duration(r.Int64N(int64(60 * time.Hour)))
	}
	switch r.IntN(14) {
	case 10: // a phone that was offline
		w.say(fmt.Sprint("offline", w.facts), 1, "Hello", 50*time.Hour)
	case 0:
		w.update(id, func(s *sessionProps) { s.Labels = []string{fmt.Sprint("label", r.IntN(3))} })
	case 1, 11, 12, 13:
		w.vote(id, int32(r.IntN(4)), []string{"thumbs_up", "thumbs_down", ""}[r.IntN(3)])
	case 2:
		w.replace(id, int32(r.IntN(3)))
	case 3:
		w.open(id, "ada"+id, func(s *sessionProps) { s.Language = []string{"", "de"}[r.IntN(2)]; s.TestMode = r.IntN(3) == 0 })
	case 4:
		w.tell(collector.TypeSessionClose, ago, &props{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
			SessionProperties: &sessionProps{SessionId: id, Transfer: proto.Bool(r.IntN(2) == 0), Data: someData}}})
	default:
		written[id]++
		w.say(id, max(1, written[id]-int32(r.IntN(2))), fmt.Sprint("word ", r.IntN(100)), ago)
	}
}

const (
	conversations = 9 // few enough that they go on, and enough that some rest for days

	someData = `{"n":"1"}`
	noData   = "{}"
)

// retain takes texts, and sometimes facts, and looks whether files can still be opened that tell of what is older.
func (w *world) retain(p *played, r *rand.Rand) {
	w.t.Helper()
	p.retained = true
	cut := time.Now().Add(-time.Duration(r.Int64N(int64(48 * time.Hour))))
	keep := collector.Retention{ContentBefore: cut}
	if r.IntN(2) == 0 {
		keep.FactsBefore = cut.Add(-time.Duration(r.Int64N(int64(24 * time.Hour))))
	}
	if _, err := w.store.Retain(context.Background(), keep); err != nil {
		w.t.Fatal(err)
	}
	w.eachFinal(func(row *export.Row) {
		if row.ConversationEndTime.Time().Before(cut) && row.ConversationsData != noData && w.ended(row.PlatformConversationID).Before(cut) {
			p.readable = append(p.readable, fmt.Sprintf("data of %s after retention", row.ConversationID))
		}
	})
}

// eraseOne erases the user of a conversation.
func (w *world) eraseOne(p *played, r *rand.Rand) {
	w.t.Helper()
	id := fmt.Sprintf("s%d", r.IntN(conversations))
	c, err := w.store.Conversation(context.Background(), project, id)
	if err != nil || c.UserID == "" {
		return // there is none, or nobody's
	}
	if _, err := w.store.Erase(context.Background(), project, c.UserID, "test"); err != nil {
		w.t.Fatal(err)
	}
	p.erased[id] = true
	w.eachFinal(func(row *export.Row) {
		if row.PlatformConversationID == id && (row.ConversationsData != noData || len(row.Labels) > 0) {
			p.readable = append(p.readable, fmt.Sprintf("%s after its user was erased", row.ConversationID))
		}
	})
}

// eachFinal reads every row of the files there are, opened.
func (w *world) eachFinal(yield func(row *export.Row)) {
	w.t.Helper()
	list, err := w.Days(context.Background(), project, -1<<31, 1<<31-1, 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range list {
		for _, row := range w.rows(m.Day) {
			yield(&row)
		}
		for _, row := range w.late(m.Day) {
			yield(&row.RowOf)
		}
	}
}

// ended is the last activity of a conversation.
func (w *world) ended(id string) time.Time {
	w.t.Helper()
	c, err := w.store.Conversation(context.Background(), project, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.LastActivity
}

func (w *world) now() collector.Day { return collector.DayOf(time.Now()) }

// takeStore notes what the store says of each conversation.
func (w *world) takeStore(p *played) {
	w.t.Helper()
	list, _, err := w.store.Conversations(context.Background(), project, collector.Page{Size: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range list {
		s := state{End: export.MomentOf(c.LastActivity), Labels: append([]string{}, c.Labels...), Data: noData, Language: c.Language, Test: c.TestMode}
		if c.Data != "" {
			s.Data = c.Data
		}
		s.Rating = map[collector.Vote]string{collector.VoteUp: "thumbs_up", collector.VoteDown: "thumbs_down"}[c.Vote]
		messages, _, err := w.store.Messages(context.Background(), project, c.ID, collector.Page{Size: 1000})
		if err != nil {
			w.t.Fatal(err)
		}
		for _, m := range messages {
			switch m.Role {
			case "user":
				s.Visitor++
			case "assistant":
				s.Bot++
			}
			switch m.Vote {
			case collector.VoteUp:
				s.Up++
			case collector.VoteDown:
				s.Down++
			}
		}
		p.store[c.ID] = s
	}
}

// sameAsStore applies files in order and compares what they say with what the store says.
func (p *played) sameAsStore(t *testing.T, met map[string]int) {
	told := map[string]export.Row{}
	for d := p.first; d <= p.last; d++ {
		for _, row := range p.rows[d] {
			told[row.ConversationID] = row
			met["row"]++
			if row.Continues != "" {
				met["continues"]++
			}
		}
		for _, row := range p.late[d] {
			if _, ok := told[row.ConversationID]; ok == slices.Contains(row.Reasons, export.ReasonArrivedLate) || len(row.Reasons) == 0 {
				t.Errorf("%s of %s: told before: %t, reasons %v", row.ConversationID, d, ok, row.Reasons)
			}
			if row.Day >= d.String() {
				t.Errorf("%s is late in the file of %s, and belongs to that of %s", row.ConversationID, d, row.Day)
			}
			told[row.ConversationID] = row.RowOf
			for _, reason := range row.Reasons {
				met[reason]++
			}
		}
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
	for id, want := range p.store {
		if p.erased[id] {
			continue // files stay as they were, and the store does not
		}
		files := got[id]
		want.Episodes = int(newest[id])
		if p.retained && (files.Data == noData || want.Data == noData) {
			files.Data, want.Data = "", "" // it is taken out of the one when its fact is old, of the other when it ended long ago
		}
		a, _ := json.Marshal(files)
		b, _ := json.Marshal(want)
		if !bytes.Equal(a, b) {
			t.Errorf("%s: files say\n%s, the store\n%s", id, a, b)
		}
	}
	for id := range got {
		if _, ok := p.store[id]; !ok && !p.erased[id] {
			t.Errorf("files tell of %s, which is not there", id)
		}
	}
}

package report

import (
	"context"
	"strconv"
	"strings"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/figures"
)

// What to know of the data before leaning on the numbers.

func (m *maker) notes(ctx context.Context) error {
	quality, err := m.store.Quality(ctx, m.opts.Project)
	if err != nil {
		return err
	}
	r, now := &m.report, m.now.period
	note := func(text string) { r.Notes = append(r.Notes, text) }
	if r.Conversations == 0 {
		note("No session began in these days.")
	}
	if r.ConversationsWas == 0 {
		note("No session began in the period before: there is nothing to compare with.")
	}
	without := func(p *figures.Period) (n int) {
		for _, day := range p.Days {
			if day == nil {
				n++
			}
		}
		return n
	}
	if n := without(now); n > 0 && r.Conversations > 0 {
		note(counted(n, "day has", "days have") + " no session at all.")
	}
	if n := without(m.then.period); n > 0 && r.ConversationsWas > 0 {
		note("In the period before, " + counted(n, "day has", "days have") + " no session at all.")
	}
	if r.Open > 0 {
		note(counted(r.Open, "session", "sessions") + " had not ended when this was made: what became of them may still change. They count neither as contained nor as resolved.")
	}
	if n := m.seen.testMode; n > 0 {
		note(counted(n, "session", "sessions") + " in test mode do not count.")
	}
	if n := m.seen.nameless; n > 0 {
		note(counted(n, "session has", "sessions have") + " no known user, and count no user.")
	}
	if r.Conversations > 0 {
		note("Of status, " + figures.Percent(figures.Known(now.Values["recorded_status_share"].Value)) + " is what the app recorded; the rest follows from rules.")
		if v := now.Values["detected_share"]; v.Numerator > 0 {
			note("Of messages that were not understood, " + figures.Percent(*v.Value) + " are only detected, and not recorded.")
		}
		if v := now.Values[figures.Feedback]; v.Denominator > 0 {
			note(figures.Percent(*v.Value) + " of answers have a vote: who votes is not everybody.")
		}
		if n := m.seen.costKnown; n < r.Conversations {
			note("What it cost is known of " + figures.Count(n) + " of " + counted(r.Conversations, "session", "sessions") + ".")
		}
	}
	for _, aside := range quality.SetAside {
		text := strings.ReplaceAll(aside.Reason, "_", " ")
		note("Of all time, " + counted(aside.Count, "event was", "events were") + " set aside: " + text + ".")
	}
	for _, odd := range []struct {
		kind      collector.FindingKind
		one, many string
	}{
		{collector.FindingIndexGap, "conversation lacks messages before its last one", "conversations lack messages before their last one"},
		{collector.FindingNeverOpened, "session was never opened", "sessions were never opened"},
		{collector.FindingConflictingUsers, "session was opened for several users; the first one counts", "sessions were opened for several users; the first one counts"},
		{collector.FindingDuplicateIndex, "message has more than one version; the last one counts", "messages have more than one version; the last one counts"},
		{collector.FindingClockAhead, "event is from a clock that is ahead", "events are from a clock that is ahead"},
		{collector.FindingClockRefused, "event has an impossible time; that of its receipt stands in", "events have an impossible time; that of their receipt stands in"},
	} {
		if n := quality.Findings[odd.kind]; n > 0 {
			note("Of all time, " + counted(n, odd.one, odd.many) + ".")
		}
	}
	m.step()
	return nil
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return figures.Count(n) + " " + many
}

func formatFloat(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }

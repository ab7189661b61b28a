package report

import (
	"cmp"
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/digest"
	"github.com/openalign/align/collector/internal/figures"
	"github.com/openalign/align/collector/internal/texts"
	"github.com/openalign/align/collector/outcome"
)

// The conversations that went worst. Each thing against one has a weight; what happened more than three times counts three
// times, so that length alone makes no conversation the worst. Those with the same weight are listed latest first.

// Rule says how conversations are ranked.
const Rule = "Each conversation has points: 3 for a thumb down on an answer or a vote on the whole that is not in favour, 3 where a human was " +
	"needed and none came, 2 where it was handed to people, 2 for an answer that failed, 1 for the first message that was not understood and 2 for " +
	"each after it. Of each kind at most three count. Those with most points come first, and of equals the latest."

const mostOfAKind = 3

// Worst is a conversation that went badly.
type Worst struct {
	ID, Link           string // the link is empty for none
	Start              time.Time
	Points             int
	Reasons            []string
	Assistant, Channel string
	Title              string // with content only
	Said               []Said
	More               bool // more was said than is shown
	Gone               bool // it was erased meanwhile
}

// Said is a message of a conversation, or a vote with a comment.
type Said struct {
	Role, Text string
	Cut        bool
	Vote       string // "thumbs down", or "thumbs up", with the comment behind it
}

// against says what a conversation has against it, if anything.
func against(d *digest.Digest) (one Worst, ok bool) {
	add := func(n int64, first, more int, name, names string) {
		if n <= 0 {
			return
		}
		one.Points += first + more*int(min(n, mostOfAKind)-1)
		if n == 1 {
			one.Reasons = append(one.Reasons, name)
			return
		}
		one.Reasons = append(one.Reasons, figures.Count(int(n))+" "+names)
	}
	n := &d.Numbers
	status := outcome.Statuses[n[digest.Status]]
	add(n[digest.VotesDown], 3, 3, "thumbs down", "thumbs down")
	add(n[digest.SessionVotes]-n[digest.SessionPositive], 3, 3, "vote against the whole", "votes against the whole")
	if status == outcome.StatusFailedEscalation {
		add(1, 3, 0, "no human came", "")
	} else {
		add(n[digest.Transferred], 2, 0, "handed to people", "")
	}
	add(n[digest.FailedTurns], 2, 2, "failed answer", "failed answers")
	add(n[digest.NotUnderstood], 1, 2, "message not understood", "messages not understood")
	if one.Points == 0 {
		return one, false
	}
	one.ID, one.Start = strings.Clone(d.ID), time.Unix(0, d.Start).UTC()
	one.Assistant, one.Channel = strings.Clone(d.Groups.Assistant), strings.Clone(d.Groups.Channel)
	return one, true
}

// firstWorst orders conversations, the worst first, and keeps so many.
func firstWorst(list []Worst, wanted int) []Worst {
	slices.SortFunc(list, func(a, b Worst) int {
		return cmp.Or(cmp.Compare(b.Points, a.Points), b.Start.Compare(a.Start), cmp.Compare(a.ID, b.ID))
	})
	clear(list[min(len(list), wanted):])
	return list[:min(len(list), wanted)]
}

// What is shown of conversations, where that is wanted at all.
const (
	shownMessages = 40      // of one
	shownRunes    = 800     // of a message or comment
	shownBytes    = 512_000 // of all together
)

// worst lists the conversations that went worst, and what was said in them if that is wanted.
func (m *maker) worst(ctx context.Context) error {
	r := &m.report
	r.Worst, r.WorstOf = firstWorst(m.seen.worst, max(0, m.opts.Worst)), m.seen.against
	room := shownBytes
	for i := range r.Worst {
		one := &r.Worst[i]
		if m.link != "" {
			one.Link = m.link + "/dashboard/conversation?" + url.Values{"project": {m.opts.Project}, "id": {one.ID}}.Encode()
		}
		if !m.opts.Content {
			continue
		}
		err := m.transcript(ctx, one, &room)
		if errors.Is(err, collector.ErrNotFound) {
			one.Gone, err = true, nil
		}
		if err != nil {
			return err
		}
	}
	m.step()
	return nil
}

// transcript reads what was said, as far as there is room.
func (m *maker) transcript(ctx context.Context, one *Worst, room *int) error {
	c, err := m.store.Conversation(ctx, m.opts.Project, one.ID)
	if err != nil {
		return err
	}
	list, more, err := m.store.Messages(ctx, m.opts.Project, one.ID, collector.Page{Size: shownMessages})
	if err != nil {
		return err
	}
	one.Title, _ = texts.Cut(c.Title, 200)
	one.More = more != ""
	add := func(s Said) {
		if *room -= len(s.Text) + len(s.Vote); *room < 0 {
			one.More = true
			return
		}
		one.Said = append(one.Said, s)
	}
	for i := range list {
		s := Said{Role: list[i].Role, Vote: voteOf(list[i].Vote, list[i].Comment)}
		s.Text, s.Cut = texts.Cut(list[i].Content, shownRunes)
		if list[i].Detail.Error != "" || list[i].Detail.Success != nil && !*list[i].Detail.Success {
			s.Role += ", failed"
		}
		add(s)
	}
	if vote := voteOf(c.Vote, c.Comment); vote != "" {
		add(Said{Role: "on the whole", Vote: vote})
	}
	return nil
}

func voteOf(vote collector.Vote, comment string) string {
	text := map[collector.Vote]string{collector.VoteUp: "thumbs up", collector.VoteDown: "thumbs down"}[vote]
	if comment, _ = texts.Cut(comment, shownRunes); text != "" && comment != "" {
		text += ": " + comment
	}
	return text
}

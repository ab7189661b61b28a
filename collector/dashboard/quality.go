package dashboard

import (
	"net/http"
	"strconv"

	"github.com/openalign/align/collector"
)

// What is odd about a project's data, and what was set aside.

// oddity is a kind of finding, as pages name it.
type oddity struct {
	Kind  collector.FindingKind
	Name  string
	Means string
	Count int
}

var oddities = []oddity{
	{Kind: collector.FindingIndexGap, Name: "Gaps in a conversation", Means: "Messages before the last one are missing."},
	{Kind: collector.FindingNeverOpened, Name: "Never opened", Means: "A session has messages, votes or an end, but no opening."},
	{Kind: collector.FindingDuplicateIndex, Name: "Edited messages", Means: "Events at one index disagree; the last one counts."},
	{Kind: collector.FindingConflictingUsers, Name: "Several users", Means: "Openings of one session name different users; the first one counts."},
	{Kind: collector.FindingClockAhead, Name: "Clock ahead", Means: "An event is from a clock that is more than five minutes ahead."},
	{Kind: collector.FindingClockRefused, Name: "Impossible time", Means: "A time lies too far off to be true; the time of receipt stands in for it."},
}

// OfEvents reports whether a finding is about an event; the others are about a conversation.
func (o *oddity) OfEvents() bool {
	return o.Kind == collector.FindingClockAhead || o.Kind == collector.FindingClockRefused
}

type qualityPage struct {
	Totals   collector.Totals
	SetAside []collector.ReasonCount
	Oddities []oddity

	Shown    *oddity // whose findings are listed; nil for none
	Findings []collector.Finding
	Reason   string // whose events are listed
	Aside    []collector.SetAsideEvent
	Next     string
}

func (d *Dashboard) quality(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	at := collector.Page{Size: listSize, Token: q.Get("page")}
	var page qualityPage
	found, err := d.store.Quality(r.Context(), v.Project)
	if err == nil {
		page.Totals, err = d.store.Totals(r.Context(), v.Project)
	}
	if err != nil {
		return err
	}
	page.SetAside = found.SetAside
	kind, _ := strconv.Atoi(q.Get("kind"))
	var next string
	for _, one := range oddities {
		one.Count = found.Findings[one.Kind]
		page.Oddities = append(page.Oddities, one)
		if one.Kind == collector.FindingKind(kind) {
			page.Shown = &one
			if page.Findings, next, err = d.store.Findings(r.Context(), v.Project, one.Kind, at); err != nil {
				return err
			}
		}
	}
	if page.Reason = q.Get("reason"); page.Reason != "" && page.Shown == nil {
		if page.Aside, next, err = d.store.SetAsideEvents(r.Context(), v.Project, page.Reason, false, at); err != nil {
			return err
		}
	}
	if next != "" {
		page.Next = v.With("page", next)
	}
	return d.show(w, "quality", v, &view{Title: "Data quality", Here: "quality", Data: &page})
}

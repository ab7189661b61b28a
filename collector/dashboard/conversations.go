package dashboard

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/texts"
)

// Lists of conversations: what is asked for stands in the address, so that it can be sent to others.

const (
	listSize = 25
	// previewRunes is how much of its first message a list shows of a conversation.
	previewRunes = 160
	// maxFilterBytes bounds each condition.
	maxFilterBytes = 4 << 10
)

// conversationList is what the list shows.
type conversationList struct {
	Filter  filter
	Rows    []conversationRow
	Count   int
	Exact   bool   // Count is all of them
	Next    string // address of the next page; empty on the last
	Problem string // why the conditions cannot be understood
}

type conversationRow struct {
	collector.Hit
	Preview string
	Open    bool
	Pieces  []snippet
}

// snippet is a piece of a message, with what was looked for marked.
type snippet struct {
	Index  int32
	Role   string
	Pieces []piece
}

type piece struct {
	Text string
	Mark bool
}

// filter is what a list of conversations was asked for, as the address says it.
type filter struct {
	Text, User, Assistant, Source, Channel, Language, Status, Tag, Label string
	Vote, State, From, To, Order                                         string
}

func filterOf(q url.Values) (f filter, err error) {
	for name, value := range map[string]*string{"q": &f.Text, "user": &f.User, "assistant": &f.Assistant, "source": &f.Source, "channel": &f.Channel,
		"language": &f.Language, "status": &f.Status, "tag": &f.Tag, "label": &f.Label, "vote": &f.Vote, "state": &f.State,
		"from": &f.From, "to": &f.To, "order": &f.Order} {
		if *value = q.Get(name); len(*value) > maxFilterBytes {
			return f, &refusal{http.StatusBadRequest, "The condition “" + name + "” is too long."}
		}
	}
	f.Text = strings.TrimSpace(f.Text)
	return f, nil
}

// Narrow reports whether more is asked for than words.
func (f *filter) Narrow() bool {
	words := *f
	words.Text, words.Order = "", ""
	return words != filter{}
}

// query is the filter in the store's terms. The error is for people.
func (f *filter) query(now time.Time, idle time.Duration) (q collector.Query, err error) {
	q = collector.Query{Text: f.Text, UserID: f.User, AssistantID: f.Assistant, Source: f.Source, Channel: f.Channel, Language: f.Language,
		Status: f.Status, Tag: f.Tag, Label: f.Label, At: now, Idle: idle}
	switch f.Vote {
	case "up":
		q.Vote = collector.VoteUp
	case "down":
		q.Vote = collector.VoteDown
	}
	switch f.State {
	case "open":
		q.State = new(collector.StateOpen)
	case "closed":
		q.State = new(collector.StateClosed)
	}
	switch f.Order {
	case "oldest":
		q.Reversed = true
	case "best":
		q.Ranked = f.Text != ""
	}
	if q.From, err = day(f.From); err == nil {
		q.To, err = day(f.To)
	}
	if !q.To.IsZero() {
		q.To = q.To.AddDate(0, 0, 1) // the day is part of it
	}
	return q, err
}

// day reads a date; empty is none.
func day(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	at, err := time.Parse(time.DateOnly, text)
	if err != nil || at.Year() < 1970 || at.Year() > 2200 {
		return time.Time{}, errors.New("a day is written like 2026-03-31")
	}
	return at, nil
}

func (d *Dashboard) conversations(w http.ResponseWriter, r *http.Request, v *visit) error {
	filter, err := filterOf(r.URL.Query())
	if err != nil {
		return err
	}
	list := conversationList{Filter: filter}
	page := &view{Title: "Conversations", Here: "conversations", Data: &list}
	now := time.Now()
	query, err := filter.query(now, d.idle)
	if err != nil {
		list.Problem = err.Error()
		return d.show(w, "conversations", v, page)
	}
	hits, next, err := d.store.Search(r.Context(), v.Project, query, collector.Page{Size: listSize, Token: r.URL.Query().Get("page")}, 0)
	if err == nil {
		list.Count, list.Exact, err = d.store.Count(r.Context(), v.Project, query)
	}
	if errors.Is(err, collector.ErrQuery) {
		list.Problem = "these words cannot be looked for: " + strings.TrimPrefix(err.Error(), "sqlite: search: ")
		return d.show(w, "conversations", v, page)
	}
	if err != nil {
		return err
	}
	if list.Rows, err = d.rowsOf(r, v, hits, now); err != nil {
		return err
	}
	if next != "" {
		list.Next = v.With("page", next)
	}
	return d.show(w, "conversations", v, page)
}

// rowsOf are conversations that were found, as lists show them.
func (d *Dashboard) rowsOf(r *http.Request, v *visit, hits []collector.Hit, now time.Time) (rows []conversationRow, err error) {
	for _, hit := range hits {
		row := conversationRow{Hit: hit, Pieces: snippetsOf(hit.Snippets)}
		state, _, _ := hit.State(now, d.idle)
		row.Open = state == collector.StateOpen
		if row.Preview, err = d.preview(r, v, &hit.Conversation); err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// preview is what the first message of a conversation says.
func (d *Dashboard) preview(r *http.Request, v *visit, c *collector.Conversation) (string, error) {
	first, _, err := d.store.Messages(r.Context(), v.Project, c.ID, collector.Page{Size: 1})
	if errors.Is(err, collector.ErrNotFound) || err == nil && len(first) == 0 {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	text, _ := texts.Cut(first[0].Content, previewRunes)
	return text, nil
}

func snippetsOf(found []collector.Snippet) (list []snippet) {
	for _, s := range found {
		one := snippet{Index: s.Index, Role: s.Role}
		at := 0
		for _, mark := range s.Marks {
			if mark[0] < at || mark[1] > len(s.Text) || mark[1] < mark[0] {
				continue
			}
			one.Pieces = append(one.Pieces, piece{Text: s.Text[at:mark[0]]}, piece{Text: s.Text[mark[0]:mark[1]], Mark: true})
			at = mark[1]
		}
		one.Pieces = append(one.Pieces, piece{Text: s.Text[at:]})
		list = append(list, one)
	}
	return list
}

package dashboard

import (
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/figures"
)

// One conversation: what was said, how it was taken, and the events that say so.

const (
	messagesAtOnce = 100
	// maxMessageBytes is how much of a message a page shows; the whole of it has an address of its own. maxTranscriptBytes
	// bounds what all of them take.
	maxMessageBytes    = 8 << 10
	maxTranscriptBytes = 100 << 10
	// maxFieldBytes is how much a page shows of comments, custom properties and the like.
	maxFieldBytes = 2 << 10
	maxFields     = 50
	maxEvents     = 100
)

type conversationPage struct {
	collector.Conversation
	State    string
	Open     bool
	End      time.Time
	Messages []messageView
	Next     string // address of the messages after these; empty when there are none
	First    bool   // these are the first ones
	Runs     []collector.Run
	Events   []collector.EventRow
	MoreRuns bool
	Fields   []field // custom properties
	Omitted  int     // fields that are not shown
	DataText string
}

type messageView struct {
	collector.Message
	Cut    bool
	Fields []field
	Facts  []field // how it came about
	Calls  []field // tools that were called: name and arguments
	Pause  time.Duration
}

type field struct{ Name, Value string }

func (d *Dashboard) conversation(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	id := q.Get("id")
	c, err := d.store.Conversation(r.Context(), v.Project, id)
	if err != nil {
		return err
	}
	page := conversationPage{Conversation: c, First: q.Get("page") == ""}
	state, end, reason := c.State(time.Now(), d.idle)
	page.Open, page.End, page.State = state == collector.StateOpen, end, "open"
	if !page.Open {
		page.State = "ended"
		if reason != "" {
			page.State += ", " + reason
		}
	}
	room := maxTranscriptBytes
	page.Fields, page.Omitted = fieldsOf(c.Properties, &room)
	page.Comment, _ = cutEscaped(c.Comment, maxFieldBytes)
	page.Title, _ = cutEscaped(c.Title, maxFieldBytes)
	page.DataText, _ = cutEscaped(c.Data, maxFieldBytes)
	page.Labels, page.Tags = few(c.Labels), few(c.Tags)

	at := collector.Page{Size: messagesAtOnce, Token: q.Get("page")}
	list, next, err := d.store.Messages(r.Context(), v.Project, id, at)
	if err != nil {
		return err
	}
	shown := 0
	for i := range list {
		m := viewMessage(&list[i], &room)
		if i > 0 {
			m.Pause = list[i].Time.Sub(list[i-1].Time)
		}
		if room < 0 && shown > 0 {
			break
		}
		page.Messages = append(page.Messages, m)
		shown++
	}
	if shown < len(list) { // the page after these begins where they end
		at.Size = shown
		if _, next, err = d.store.Messages(r.Context(), v.Project, id, at); err != nil {
			return err
		}
	}
	if next != "" {
		page.Next = v.With("page", next)
	}
	if page.First {
		var more string
		if page.Runs, more, err = d.store.Runs(r.Context(), v.Project, id, collector.Page{Size: 20}); err != nil {
			return err
		}
		page.MoreRuns = more != ""
		if page.Events, err = d.store.Events(r.Context(), v.Project, id, maxEvents); err != nil {
			return err
		}
	}
	return d.show(w, "conversation", v, &view{Title: "Conversation", Here: "conversations", Data: &page})
}

// viewMessage is a message as pages show it. It takes what that needs from the room there is.
func viewMessage(m *collector.Message, room *int) messageView {
	view := messageView{Message: *m}
	view.Content, view.Cut = cutEscaped(m.Content, maxMessageBytes)
	view.Comment, _ = cutEscaped(m.Comment, maxFieldBytes)
	view.Reasons = few(m.Reasons)
	*room -= len(template.HTMLEscapeString(view.Content)) + len(template.HTMLEscapeString(view.Comment)) + 1000
	view.Fields, _ = fieldsOf(m.Properties, room)
	view.Facts = detailOf(&m.Detail)
	for i := range min(len(m.Detail.ToolCalls), maxFields) {
		call := &m.Detail.ToolCalls[i]
		name, _ := cutEscaped(call.Name, 200)
		arguments, _ := cutEscaped(call.Arguments, maxFieldBytes)
		result, _ := cutEscaped(call.Result, maxFieldBytes)
		if result != "" {
			arguments += " → " + result
		}
		view.Calls = append(view.Calls, field{name, arguments})
		*room -= len(template.HTMLEscapeString(arguments)) + 200
	}
	return view
}

// detailOf says how a message came about.
func detailOf(d *collector.Detail) (list []field) {
	add := func(name, value string) {
		if value != "" {
			value, _ = cutEscaped(value, maxFieldBytes)
			list = append(list, field{name, value})
		}
	}
	if d.Latency != nil {
		add("latency", figures.Duration(*d.Latency))
	}
	if d.TimeToFirstToken != nil {
		add("first token", figures.Duration(*d.TimeToFirstToken))
	}
	if d.Success != nil && !*d.Success {
		add("success", "no")
	}
	if d.Incomplete {
		add("incomplete", "yes")
	}
	add("error", d.Error)
	add("outcome", words(d.Outcome))
	add("intent", d.Intent)
	add("agent", d.Agent)
	add("model", d.Model)
	if d.InputTokens != nil || d.OutputTokens != nil {
		tokens := func(n *int64) string {
			if n == nil {
				return "?"
			}
			return strconv.FormatInt(*n, 10)
		}
		add("tokens", tokens(d.InputTokens)+" in, "+tokens(d.OutputTokens)+" out")
	}
	if d.Cost != nil {
		add("cost", "$"+strconv.FormatFloat(*d.Cost, 'g', 4, 64))
	}
	add("run", d.RunID)
	return list
}

// message is one message as plain text, all of it.
func (d *Dashboard) message(w http.ResponseWriter, r *http.Request, v *visit) error {
	index, err := indexOf(r)
	if err != nil {
		return err
	}
	m, err := d.store.MessageAt(r.Context(), v.Project, r.URL.Query().Get("id"), index)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte(m.Content)) // the browser has gone
	return nil
}

func indexOf(r *http.Request) (int32, error) {
	index, err := strconv.ParseInt(r.URL.Query().Get("index"), 10, 32)
	if err != nil {
		return 0, collector.ErrNotFound
	}
	return int32(index), nil
}

type versionsPage struct {
	Conversation string
	Index        int32
	Versions     []collector.Version
	Omitted      int // that do not fit on the page
}

// versions is what a message said before it was edited.
func (d *Dashboard) versions(w http.ResponseWriter, r *http.Request, v *visit) error {
	index, err := indexOf(r)
	if err != nil {
		return err
	}
	page := versionsPage{Conversation: r.URL.Query().Get("id"), Index: index}
	list, err := d.store.Versions(r.Context(), v.Project, page.Conversation, index)
	if err != nil {
		return err
	}
	room := maxTranscriptBytes
	for i := range list {
		list[i].Content, _ = cutEscaped(list[i].Content, maxMessageBytes)
		if room -= len(template.HTMLEscapeString(list[i].Content)) + 1000; room < 0 {
			page.Omitted = len(list) - i
			break
		}
		page.Versions = append(page.Versions, list[i])
	}
	return d.show(w, "versions", v, &view{Title: "Versions of a message", Here: "conversations", Data: &page})
}

type eventPage struct {
	collector.EventRow
	Text string
	Cut  bool
}

// event is one event in JSON, as the ingestion schema writes it.
func (d *Dashboard) event(w http.ResponseWriter, r *http.Request, v *visit) error {
	row, event, err := d.store.Event(r.Context(), v.Project, r.URL.Query().Get("id"))
	if err != nil {
		return err
	}
	raw, err := protojson.Marshal(event)
	if err != nil {
		return fmt.Errorf("an event cannot be written as JSON: %d bytes", row.Size) // the error itself may quote it
	}
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return err
	}
	if raw, err = json.MarshalIndent(value, "", "  "); err != nil {
		return err
	}
	page := eventPage{EventRow: row}
	page.Text, page.Cut = cutEscaped(string(raw), maxTranscriptBytes)
	return d.show(w, "event", v, &view{Title: "Event", Here: "conversations", Data: &page})
}

// conversationJSON is a conversation with all of its messages, to keep. It is written as it is read: a conversation can be
// larger than what fits in memory.
func (d *Dashboard) conversationJSON(w http.ResponseWriter, r *http.Request, v *visit) error {
	id := r.URL.Query().Get("id")
	c, err := d.store.Conversation(r.Context(), v.Project, id)
	if err != nil {
		return err
	}
	head, err := json.Marshal(&c)
	if err != nil {
		return err
	}
	at := collector.Page{Size: messagesAtOnce}
	list, next, err := d.store.Messages(r.Context(), v.Project, id, at)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Disposition", `attachment; filename="conversation.json"`)
	encoder := json.NewEncoder(w)
	_, _ = fmt.Fprintf(w, "{\"conversation\":%s,\n\"messages\":[\n", head)
	for first := true; ; {
		for i := range list {
			if !first {
				_, _ = w.Write([]byte(","))
			}
			first = false
			if err := encoder.Encode(&list[i]); err != nil {
				panic(http.ErrAbortHandler) // so that nobody takes half of it for all of it
			}
		}
		if next == "" {
			break
		}
		at.Token = next
		if list, next, err = d.store.Messages(r.Context(), v.Project, id, at); err != nil {
			d.log.ErrorContext(r.Context(), "a conversation could not be sent to its end", "error", err)
			panic(http.ErrAbortHandler)
		}
	}
	_, _ = w.Write([]byte("]}\n"))
	return nil
}

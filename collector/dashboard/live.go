package dashboard

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/texts"
	"github.com/openalign/align/collector/live"
)

// Sessions as they happen: the newest ones as the store has them, and from then on what a script adds of server-sent events.

const (
	// heartbeat is how often something is sent where nothing happens, and who watches is asked whether they still may.
	heartbeat = 15 * time.Second
	// patience is how long a browser may take to read what was sent.
	patience = 10 * time.Second
)

func (d *Dashboard) livePage(w http.ResponseWriter, r *http.Request, v *visit) error {
	hits, _, err := d.store.Search(r.Context(), v.Project, collector.Query{}, collector.Page{Size: listSize}, 0)
	if err != nil {
		return err
	}
	rows, err := d.rowsOf(r, v, hits, time.Now())
	if err != nil {
		return err
	}
	return d.show(w, "live", v, &view{Title: "Live", Here: "live", Data: rows})
}

// liveEvents sends what happens, of one conversation where the address names one, until the browser leaves, is too slow, or
// may not look any more.
func (d *Dashboard) liveEvents(w http.ResponseWriter, r *http.Request, v *visit) error {
	watcher, err := d.live.Watch(v.Project)
	if err != nil {
		w.Header().Set("Retry-After", "10")
		return &refusal{http.StatusServiceUnavailable, "Too many browsers watch already, or the server is stopping."}
	}
	defer watcher.Close()
	only := r.URL.Query().Get("conversation")
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // for a proxy that would wait for the end
	out := http.NewResponseController(w)
	if err := out.SetReadDeadline(time.Time{}); err != nil { // the server's own limits are for requests that end
		return err
	}
	send := func(format string, args ...any) bool {
		if err := out.SetWriteDeadline(time.Now().Add(patience)); err != nil {
			return false
		}
		_, err := fmt.Fprintf(w, format, args...)
		return err == nil && out.Flush() == nil
	}
	if !send("retry: 2000\nevent: ready\ndata: {}\n\n") {
		return nil
	}
	for until := time.Now().Add(heartbeat); ; {
		ctx, cancel := context.WithDeadline(r.Context(), until)
		event, missed, err := watcher.Next(ctx)
		cancel()
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			if now, err := d.visitOf(r); err != nil || now == nil || !send(": still here\n\n") {
				return nil
			}
			until = time.Now().Add(heartbeat)
			continue
		case err != nil, missed > 0: // one who missed something connects again, and looks at the list as it is
			return nil
		}
		if one, ok := happeningOf(&event); ok && (only == "" || one.Conversation == only) {
			text, err := json.Marshal(one) // one line, as JSON escapes those in texts
			if err != nil || !send("data: %s\n\n", text) {
				return nil
			}
		}
	}
}

// maxLiveRunes is how much of a text is told.
const maxLiveRunes = 200

// happening is an event as browsers are told of it.
type happening struct {
	ID           string         `json:"id"`
	Conversation string         `json:"conversation"`
	Type         string         `json:"type"`
	Time         time.Time      `json:"time"`
	Index        int32          `json:"index,omitempty"` // of messages and votes on them
	Role         string         `json:"role,omitempty"`
	Text         string         `json:"text,omitempty"` // the beginning of what was said, or of a comment
	Vote         string         `json:"vote,omitempty"`
	User         string         `json:"user,omitempty"`
	Title        string         `json:"title,omitempty"`
	Reason       string         `json:"reason,omitempty"` // why the conversation ended
	Concerns     []live.Concern `json:"concerns,omitempty"`
}

// happeningOf is what is told of an event, and whether it is about a conversation.
func happeningOf(e *live.Event) (h happening, ok bool) {
	h = happening{ID: e.ID, Conversation: e.Conversation, Type: e.Type, Time: e.Time, Index: e.Index, Role: e.Role, Text: brief(e.Text), User: brief(e.User),
		Title: brief(e.Title), Reason: brief(e.CloseReason), Concerns: e.Concerns}
	if e.Type == collector.TypeFeedbackCreate {
		h.Vote = map[collector.Vote]string{collector.VoteUp: "up", collector.VoteDown: "down", collector.VoteNone: "none"}[e.Vote]
	}
	return h, h.Conversation != ""
}

// brief is the beginning of a text.
func brief(text string) string {
	return strings.ToValidUTF8(texts.Brief(text, maxLiveRunes), "\uFFFD")
}

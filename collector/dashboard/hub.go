package dashboard

import (
	"context"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

const (
	// maxWatchers is how many browsers may watch at once, and maxBehind how many events one may be behind before it is dropped.
	// It connects again then, and looks at the list as it is.
	maxWatchers = 100
	maxBehind   = 256
	// maxLiveRunes is how much of a text is told.
	maxLiveRunes = 200
)

// hub tells browsers of events as they are stored. It holds nothing but what is on its way: who comes later learns from the
// store what was before, and who is too slow is dropped. It is safe for concurrent use.
type hub struct {
	mu       sync.RWMutex
	watchers map[*watcher]struct{} // guarded by mu
	closed   bool                  // guarded by mu
}

// watcher is a browser that watches a project. Its channel is closed when it was dropped.
type watcher struct {
	project string
	events  chan happening
}

// happening is an event as browsers are told of it.
type happening struct {
	ID           string    `json:"id"`
	Conversation string    `json:"conversation"`
	Type         string    `json:"type"`
	Time         time.Time `json:"time"`
	Role         string    `json:"role,omitempty"`
	Text         string    `json:"text,omitempty"` // the beginning of what was said, or of a comment
	Vote         string    `json:"vote,omitempty"`
	User         string    `json:"user,omitempty"`
	Title        string    `json:"title,omitempty"`
}

// newHub returns a hub that nobody watches.
func newHub() *hub { return &hub{watchers: make(map[*watcher]struct{})} }

// watched tells a hub what was stored. A batch of which nothing was new is not told of; of one of which some was, all is, and
// browsers leave out what they know.
type watched struct {
	ingest.Appender
	hub *hub
}

func (w watched) Append(ctx context.Context, project string, batch collector.Batch) (collector.Appended, error) {
	got, err := w.Appender.Append(ctx, project, batch)
	if err == nil && got.Stored > 0 {
		w.hub.tell(project, batch.Facts)
	}
	return got, err
}

// tell never waits for a browser.
func (h *hub) tell(project string, facts []collector.Fact) {
	h.mu.RLock()
	watching := false
	for w := range h.watchers {
		watching = watching || w.project == project
	}
	h.mu.RUnlock()
	if !watching {
		return
	}
	told := make([]happening, 0, len(facts))
	for i := range facts {
		if one, ok := happeningOf(&facts[i]); ok {
			told = append(told, one)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for w := range h.watchers {
		if w.project != project {
			continue
		}
		for _, one := range told {
			select {
			case w.events <- one:
				continue
			default:
			}
			h.drop(w)
			break
		}
	}
}

// drop ends a watcher. The caller holds the lock.
func (h *hub) drop(w *watcher) {
	if _, there := h.watchers[w]; there {
		delete(h.watchers, w)
		close(w.events)
	}
}

// watch returns a watcher of a project, or nil when there are too many, or the hub is closed.
func (h *hub) watch(project string) *watcher {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed || len(h.watchers) >= maxWatchers {
		return nil
	}
	w := &watcher{project, make(chan happening, maxBehind)}
	h.watchers[w] = struct{}{}
	return w
}

func (h *hub) leave(w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(w)
}

// close ends all watchers. Nobody can watch after it.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for w := range h.watchers {
		h.drop(w)
	}
}

// happeningOf is what is told of a fact, and whether it is about a conversation.
func happeningOf(f *collector.Fact) (h happening, ok bool) {
	h = happening{ID: f.ID, Type: f.Event.GetType(), Time: f.Time}
	props := f.Event.GetProperties()
	if s := props.GetSessionProperties(); s != nil {
		h.Conversation, h.User, h.Title = s.GetSessionId(), brief(s.GetUserId()), brief(s.GetSessionTitle())
	}
	if m := props.GetMessageProperties(); m != nil {
		h.Conversation, h.Role, h.Text = m.GetSessionId(), roleOf(m), brief(m.GetMessageContent())
	}
	if b := props.GetFeedbackProperties(); b != nil {
		h.Conversation, h.Text, h.Vote = b.GetSessionId(), brief(b.GetComment()), "none"
		switch b.GetType() {
		case "thumbs_up":
			h.Vote = "up"
		case "thumbs_down":
			h.Vote = "down"
		}
	}
	return h, h.Conversation != ""
}

// brief is the beginning of a text.
func brief(text string) string {
	short, more := cut(text, maxLiveRunes)
	if more {
		short += "…"
	}
	if !utf8.ValidString(short) {
		return ""
	}
	return short
}

func roleOf(m *ingestionv1alpha.EventProperties_MessageProperties) string {
	switch m.GetExtendedRole() {
	case ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_SYSTEM:
		return "system"
	case ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_TOOL:
		return "tool"
	case ingestionv1alpha.EventProperties_MessageProperties_EXTENDED_ROLE_HUMAN:
		return "human"
	}
	if m.GetMessageRole() == ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER {
		return "user"
	}
	return "assistant"
}

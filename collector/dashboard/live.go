package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/openalign/align/collector"
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
	now := time.Now()
	var rows []conversationRow
	for _, hit := range hits {
		row := conversationRow{Hit: hit}
		state, _, _ := hit.State(now, d.idle)
		row.Open = state == collector.StateOpen
		if row.Preview, err = d.preview(r, v, &hit.Conversation); err != nil {
			return err
		}
		rows = append(rows, row)
	}
	return d.show(w, "live", v, &view{Title: "Live", Here: "live", Data: rows})
}

// liveEvents sends what happens until the browser leaves, is too slow, or may not look any more.
func (d *Dashboard) liveEvents(w http.ResponseWriter, r *http.Request, v *visit) error {
	watcher := d.live.watch(v.Project)
	if watcher == nil {
		w.Header().Set("Retry-After", "10")
		return &refusal{http.StatusServiceUnavailable, "Too many browsers watch already, or the server is stopping."}
	}
	defer d.live.leave(watcher)
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
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		select {
		case <-r.Context().Done():
			return nil
		case <-beat.C:
			if now, err := d.visitOf(r); err != nil || now == nil || !send(": still here\n\n") {
				return nil
			}
		case one, ok := <-watcher.events:
			if !ok {
				return nil
			}
			text, err := json.Marshal(one) // one line, as JSON escapes those in texts
			if err != nil || !send("data: %s\n\n", text) {
				return nil
			}
		}
	}
}

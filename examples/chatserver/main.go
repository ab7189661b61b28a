// Chatserver is a chat app over server-sent events. It records every conversation while it streams, and takes thumbs.
//
//	ALIGNAI_PROJECT_ID=shop ALIGNAI_API_KEY=… go run ./examples/chatserver
//	curl -N -d 'session=s1&user=u1&message=Where is my order?' http://127.0.0.1:8080/chat
//	curl -d 'session=s1&index=2&thumb=thumbs_up' http://127.0.0.1:8080/thumbs
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/openalign/align"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	listener, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		log.Fatal(err)
	}
	if err := run(ctx, listener); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends, then finishes what it has begun: first the answers, then their delivery.
func run(ctx context.Context, listener net.Listener) error {
	client, err := align.New(align.Config{}) // from ALIGNAI_PROJECT_ID, ALIGNAI_API_KEY and ALIGNAI_HOST
	if err != nil {
		return err
	}
	app := &app{analytics: client}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /chat", app.chat)
	mux.HandleFunc("POST /thumbs", app.thumbs)
	server := &http.Server{Handler: mux}

	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case <-ctx.Done():
	case err = <-served:
	}
	closing, cancel := context.WithTimeout(context.Background(), 10*time.Second) // ctx has ended
	defer cancel()
	return errors.Join(err, server.Shutdown(closing), client.Close(closing))
}

type app struct{ analytics *align.Client }

// chat streams an answer, one event a token, and last the answer's index for the thumb.
func (a *app) chat(w http.ResponseWriter, r *http.Request) {
	in := a.analytics.Begin(align.InteractionStart{
		ConversationID: r.FormValue("session"),
		UserID:         r.FormValue("user"),
		AgentName:      "echo",
		Input:          r.FormValue("message"),
	})
	w.Header().Set("Content-Type", "text/event-stream")
	stream := http.NewResponseController(w)
	for token, err := range model(r.Context(), r.FormValue("message")) {
		if err != nil {
			tell(in.Fail(r.Context(), err)) // with as much as was streamed
			return
		}
		in.WriteString(token) // the first marks the time to first token
		send(w, "token", token)
		stream.Flush()
	}
	tell(in.End(r.Context(), "")) // the answer is what was streamed
	send(w, "done", map[string]any{"session": in.Session().ID(), "index": in.Index()})
}

// thumbs records what a user thinks of an answer. The thumb may come before the answer is delivered, or days later.
func (a *app) thumbs(w http.ResponseWriter, r *http.Request) {
	index, _ := strconv.Atoi(r.FormValue("index")) // zero: the latest answer
	err := a.analytics.Session(r.FormValue("session")).Feedback(r.Context(), align.MessageFeedback{
		Index: index,
		Type:  align.FeedbackType(r.FormValue("thumb")),
	})
	if _, wrong := errors.AsType[*align.FieldError](err); wrong {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	tell(err)
	w.WriteHeader(http.StatusNoContent)
}

// model answers with what it was asked, a word at a time, as a language model would.
func model(ctx context.Context, question string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for word := range strings.FieldsSeq("You said: " + question) {
			if ctx.Err() != nil { // nobody listens any more
				yield("", ctx.Err())
				return
			}
			if !yield(word+" ", nil) {
				return
			}
		}
	}
}

// send writes one server-sent event.
func send(w http.ResponseWriter, event string, data any) {
	text, err := json.Marshal(data)
	if err != nil {
		panic(err) // only strings and numbers come here
	}
	fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, text)
}

// tell logs what went wrong with the analytics, which never stops the chat.
func tell(err error) {
	if err != nil {
		log.Print(err)
	}
}

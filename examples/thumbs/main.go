// Thumbs is a chat page whose answers can be voted on: package feedbackhttp on the server, sixty lines of HTML in the
// browser. It sends to the collector that ALIGNAI_HOST names when ALIGNAI_API_KEY is set; else votes go nowhere.
//
//	go run ./examples/thumbs
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"flag"
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"os/signal"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/feedbackhttp"
)

//go:embed page.html
var source string

var page = template.Must(template.New("page").Parse(source))

// message is one line of the chat. Only answers have a token: it lets this visitor vote on this answer.
type message struct {
	Role  align.Role
	Text  string
	Token string
}

func conversation() []message {
	return []message{
		{Role: align.RoleUser, Text: "Where is my order?"},
		{Role: align.RoleAssistant, Text: "It left our warehouse this morning and should be with you on Thursday."},
		{Role: align.RoleUser, Text: "Can I still change the address?"},
		{Role: align.RoleAssistant, Text: "Not once it is on its way. You can pick it up at a shop near you instead."},
	}
}

func newServer(client *align.Client) (http.Handler, error) {
	thumbs, err := feedbackhttp.New(client, feedbackhttp.Config{})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/feedback", thumbs)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		session, user := rand.Text(), rand.Text() // an app has its own
		chat := conversation()
		note(client.OpenSession(r.Context(), align.Session{ID: session, UserID: user, AssistantID: "support"}))
		for i := range chat {
			m, index := &chat[i], i+1
			note(client.CreateMessage(r.Context(), align.Message{SessionID: session, Index: index, Role: m.Role, Content: m.Text}))
			if m.Role == align.RoleAssistant {
				// Without a token there are no thumbs; the chat goes on.
				token, err := client.FeedbackToken(session, index, user, 24*time.Hour)
				note(err)
				m.Token = token
			}
		}
		w.Header().Set("Cache-Control", "no-store") // the tokens are this visitor's
		note(page.Execute(w, chat))
	})
	return mux, nil
}

// note logs what went wrong: a chat app does not stop for its analytics.
func note(err error) {
	if err != nil {
		log.Print(err)
	}
}

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to listen")
	flag.Parse()
	client, err := align.New(align.Config{
		ProjectID: cmp.Or(os.Getenv("ALIGNAI_PROJECT_ID"), "shop"),
		Disabled:  os.Getenv("ALIGNAI_API_KEY") == "",
	})
	if err != nil {
		log.Fatal(err)
	}
	handler, err := newServer(client)
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	server := &http.Server{Addr: *addr, Handler: handler, ReadTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { server.Close() })
	fmt.Printf("http://%s\n", *addr)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Print(err)
	}
	note(client.Close(context.Background())) // what was recorded goes out first
}

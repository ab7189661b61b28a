package chatpage

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/collector/dashboard"
)

// The page itself, and the two buttons below it.

//go:embed page.html
var source string

// parsePage parses it, for [New]: programs that have no chat page do not hold one.
func parsePage() *template.Template {
	return template.Must(template.New("page").Funcs(template.FuncMap{
		"asset": dashboard.Asset,
		"dict": func(pairs ...any) map[string]any {
			m := map[string]any{}
			for i := 0; i+1 < len(pairs); i += 2 {
				m[fmt.Sprint(pairs[i])] = pairs[i+1]
			}
			return m
		},
	}).Parse(source))
}

// view is what the page shows.
type view struct {
	Token, ID              string
	Agent                  string // who answers; empty while that can be chosen
	Agents                 []string
	Lines                  []lineView
	Whole                  ballot
	Begun, Idle, Ended     bool
	Full                   bool
	Quiet                  string // how long until a conversation is closed, in words
	MaxText                int
	Starters               []string
	Overview, Live, Events string // addresses
	Conversation           string
	SignOut                string
	Project                string
}

type lineView struct {
	line
	Ballot ballot
	Last   bool
}

// ballot is a form to vote with.
type ballot struct {
	Token       string // empty where there is nothing to vote on
	Up, Down    bool
	Comment     string
	Wrong, Slow bool // the reasons
	Missing     bool
	Said        bool // a comment or a reason came with the vote
	Whole       bool
}

// reasons that can be ticked; what they are called is in the page.
const (
	reasonWrong   = "wrong"
	reasonMissing = "incomplete"
	reasonSlow    = "slow"
)

func ballotOf(token string, v vote, whole bool) ballot {
	b := ballot{Token: token, Up: v.Thumb == align.ThumbsUp, Down: v.Thumb == align.ThumbsDown, Comment: v.Comment, Said: v.Comment != "" || len(v.Reasons) > 0, Whole: whole}
	for _, reason := range v.Reasons {
		b.Wrong, b.Missing, b.Slow = b.Wrong || reason == reasonWrong, b.Missing || reason == reasonMissing, b.Slow || reason == reasonSlow
	}
	return b
}

// starters are what can be said with one press, to begin with.
var starters = []string{"Where is my parcel?", "I want to return a jacket", "Can I talk to a human?"}

// show answers with the page.
func (p *Page) show(w http.ResponseWriter, r *http.Request) {
	visitor := dashboard.VisitorFrom(r.Context())
	at := p.chats.of(visitor.ID)
	var text bytes.Buffer
	if err := p.html.Execute(&text, p.viewOf(r, at, visitor)); err != nil {
		p.log.ErrorContext(r.Context(), "the chat page failed", "error", err)
		http.Error(w, "This cannot be shown right now. The log says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(text.Bytes()) // the browser has gone
}

func (p *Page) viewOf(r *http.Request, at *chat, visitor *dashboard.Visitor) *view {
	at.mu.Lock()
	lines, whole := append([]line(nil), at.lines...), at.whole
	v := &view{
		Token: visitor.Token, ID: at.id, Agent: at.agent, Agents: p.agents.Names(), Project: p.project,
		Begun: at.state != unsaid, Idle: at.state == idle, Ended: at.state == ended, Full: at.full(),
		Quiet: spoken(p.idle), MaxText: MaxText, Starters: starters,
	}
	at.mu.Unlock()
	if len(v.Agents) == 1 {
		v.Agent = v.Agents[0]
	}
	address := func(page string, more ...string) string {
		q := url.Values{"project": {p.project}}
		for i := 0; i+1 < len(more); i += 2 {
			q.Set(more[i], more[i+1])
		}
		return dashboard.Path + page + "?" + q.Encode()
	}
	v.Overview, v.Live = address(""), address("live")
	v.Conversation, v.Events = address("conversation", "id", at.id), address("live/events", "conversation", at.id)
	v.SignOut = dashboard.Path + "signout"
	ballotFor := func(index int, has vote) ballot {
		token, err := p.token(at, index)
		p.warn(r.Context(), err)
		return ballotOf(token, has, index == 0)
	}
	for i := range lines {
		shown := lineView{line: lines[i], Last: i == len(lines)-1}
		if shown.Index > 0 {
			shown.Ballot = ballotFor(shown.Index, shown.vote)
		}
		v.Lines = append(v.Lines, shown)
	}
	if v.Ended {
		v.Whole = ballotFor(0, whole)
	}
	return v
}

// end ends the conversation, as its user says.
func (p *Page) end(w http.ResponseWriter, r *http.Request, at *chat) {
	at.mu.Lock()
	begun := at.state != unsaid
	at.mu.Unlock()
	if begun {
		if err := p.client.CloseSession(r.Context(), align.SessionEnd{SessionID: at.id}); err != nil {
			p.warn(r.Context(), err)
			refuse(w, errNoRoom)
			return
		}
	}
	http.Redirect(w, r, Path, http.StatusSeeOther)
}

// another begins a new conversation. The last stays as it is: open, until it is idle.
func (p *Page) another(w http.ResponseWriter, r *http.Request, _ *chat) {
	p.chats.another(dashboard.VisitorFrom(r.Context()).ID)
	http.Redirect(w, r, Path, http.StatusSeeOther)
}

// spoken is a duration as people say it.
func spoken(d time.Duration) string {
	say := func(n time.Duration, unit string) string {
		if n == 1 {
			return "one " + unit
		}
		return strconv.Itoa(int(n)) + " " + unit + "s"
	}
	switch {
	case d%time.Minute == 0:
		return say(d/time.Minute, "minute")
	case d%time.Second == 0:
		return say(d/time.Second, "second")
	}
	return d.String()
}

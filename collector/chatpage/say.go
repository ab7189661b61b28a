package chatpage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openalign/align"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/dashboard"
)

// What somebody says, and the agent's answer: as it comes, to a script that asks for that, or with the page when it is there.

const (
	// MaxText is how long what somebody says may be, in code points.
	MaxText = 2000
	// maxFormBytes bounds a form: MaxText code points of four bytes, each of them escaped, and the rest.
	maxFormBytes = 32 << 10
	// lines of JSON, which a script reads as they come.
	linesType = "application/x-ndjson"
	// readPatience is how long a browser may take to read a piece.
	readPatience = 10 * time.Second
	// tokenLifetime is how long an answer can be voted on.
	tokenLifetime = 24 * time.Hour
)

// refusal is why something was not done, for people.
type refusal struct {
	status  int
	message string
}

func (f *refusal) Error() string { return f.message }

var (
	errForm     = &refusal{http.StatusBadRequest, "This form cannot be read."}
	errTooLarge = &refusal{http.StatusRequestEntityTooLarge, "This is too long: say it in at most 2,000 characters."}
	errToken    = &refusal{http.StatusForbidden, "This page is from another session. Load it again."}
	errOther    = &refusal{http.StatusConflict, "A new conversation has begun elsewhere. Load this page again to go on with it."}
	errEnded    = &refusal{http.StatusConflict, "This conversation is over. Begin a new one."}
	errFull     = &refusal{http.StatusConflict, "This conversation is as long as it can be here. Begin a new one."}
	errBlank    = &refusal{http.StatusUnprocessableEntity, "Say something."}
	errNoAgent  = &refusal{http.StatusUnprocessableEntity, "There is no such agent."}
	errNoRoom   = &refusal{http.StatusServiceUnavailable, "Too many are talking right now, or the demo is ending. Try again."}
)

// refuse answers with why not.
func refuse(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if known, ok := errors.AsType[*refusal](err); ok {
		status = known.status
	}
	http.Error(w, err.Error(), status)
}

// sent calls next for forms that a page of ours made for this browser, of the conversation that it is in.
func (p *Page) sent(next func(http.ResponseWriter, *http.Request, *chat)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		visitor := dashboard.VisitorFrom(r.Context())
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		err := r.ParseForm()
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			refuse(w, errTooLarge)
			return
		}
		if err != nil {
			refuse(w, errForm)
			return
		}
		if !visitor.Sent(r) {
			refuse(w, errToken)
			return
		}
		at := p.chats.of(visitor.ID)
		if r.PostForm.Get("conversation") != at.id {
			refuse(w, errOther)
			return
		}
		next(w, r, at)
	}
}

// say has the agent answer what somebody says.
func (p *Page) say(w http.ResponseWriter, r *http.Request, at *chat) {
	text := strings.TrimSpace(strings.ReplaceAll(cmp.Or(r.PostForm.Get("text"), r.PostForm.Get("starter")), "\r\n", "\n"))
	agent, err := p.maySay(at, text, r.PostForm.Get("agent"))
	if err != nil {
		refuse(w, err)
		return
	}
	leave, ok := p.enter()
	if !ok {
		w.Header().Set("Retry-After", "5")
		refuse(w, errNoRoom)
		return
	}
	defer leave()
	out := &teller{w: w, control: http.NewResponseController(w), lines: strings.Contains(r.Header.Get("Accept"), linesType)}
	out.begin()

	// The agent stops when the browser goes, and when the page does.
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(p.ctx, cancel)()

	p.start(ctx, at, agent)
	answer, err := p.client.Converse(ctx,
		align.Conversation{ID: at.id, UserID: at.user, AgentName: agent.Name(), History: &at.history},
		[]string{text},
		func(ctx context.Context, run *align.Run) (string, error) {
			at.add(line{Role: align.RoleUser, Text: text}) // here, in its turn
			defer p.keepAlive(run)()
			return ask(ctx, run, agent, out.piece)
		})
	p.warn(ctx, answer.Unrecorded)
	if answer.RunID == "" { // the agent was not asked
		why := errNoRoom // it went away before its turn
		if _, ok := errors.AsType[*align.FieldError](err); ok {
			why = errBlank
		}
		refuse(w, why)
		return
	}
	said := line{Role: align.RoleAssistant, Text: answer.Text, Index: answer.Index, Failure: failureOf(err)}
	at.add(said)
	token, err := p.token(at, answer.Index)
	p.warn(ctx, err)
	out.end(done{Text: answer.Text, Failure: said.Failure, Token: token})
	if !out.lines {
		http.Redirect(w, r, Path+"#last", http.StatusSeeOther)
	}
}

// maySay returns the agent that is to answer, or why none will.
func (p *Page) maySay(at *chat, text, wish string) (*agents.Agent, error) {
	switch {
	case text == "":
		return nil, errBlank
	case utf8.RuneCountInString(text) > MaxText:
		return nil, errTooLarge
	}
	at.mu.Lock()
	defer at.mu.Unlock()
	switch {
	case at.state == ended:
		return nil, errEnded
	case at.full():
		return nil, errFull
	case at.agent == "":
		agent, ok := p.agents.Find(wish)
		if !ok {
			return nil, errNoAgent
		}
		at.agent = wish // who answers first, answers all
		return agent, nil
	}
	agent, _ := p.agents.Find(at.agent)
	return agent, nil
}

// ask asks an agent, and tells the run what is known of its answer.
func ask(ctx context.Context, run *align.Run, agent *agents.Agent, piece func(string) error) (string, error) {
	lines := run.Lines()
	last := len(lines) - 1
	request := agents.Request{Messages: []string{lines[last].Text}}
	for _, said := range lines[:last] {
		role := agents.User
		if said.Role == align.RoleAssistant {
			role = agents.Assistant
		}
		request.History = append(request.History, agents.Line{Role: role, Text: said.Text})
	}
	answer, err := agent.Ask(ctx, request, func(text string) error {
		_, _ = run.WriteString(text) // never fails
		return piece(text)
	})
	run.SetGeneration(generationOf(&answer, err))
	return answer.Text, err
}

// keepAlive gives signs of life of a run until stop is called: an agent that takes its time is not one that went away, which
// the client would record after the idle timeout.
func (p *Page) keepAlive(run *align.Run) (stop func()) {
	ticker, over := time.NewTicker(p.idle/4), make(chan struct{})
	go func() {
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				_, _ = run.WriteString("") // never fails
			case <-over:
				return
			}
		}
	}()
	return func() { close(over) }
}

// generationOf is what is known of how an answer came about.
func generationOf(answer *agents.Answer, err error) align.Generation {
	g := align.Generation{
		Model: answer.Model, InputTokens: answer.InputTokens, OutputTokens: answer.OutputTokens, Incomplete: answer.Incomplete,
		Outcome: align.OutcomeResponseGenerated,
	}
	if err != nil {
		g.Outcome, g.Error = align.OutcomeError, failureOf(err)
	}
	for _, call := range answer.ToolCalls {
		g.ToolCalls = append(g.ToolCalls, align.ToolCall{ID: call.ID, Name: call.Name, Arguments: call.Arguments})
	}
	return g
}

// failureOf says why an agent failed, without what was said; empty where it did not.
func failureOf(err error) string {
	if err == nil {
		return ""
	}
	if failure, ok := errors.AsType[*agents.Failure](err); ok {
		return failure.Reason()
	}
	return "failed"
}

// historyOf is how much of what was said an agent is told; where it wants nothing, the least there is.
func historyOf(agent *agents.Agent) (messages, bytes int) {
	budget := agent.History()
	return max(budget.Messages, 1), max(budget.Bytes, 1)
}

// token lets this browser's user vote on an answer, or on the whole at index 0.
func (p *Page) token(at *chat, index int) (string, error) {
	token, err := p.client.FeedbackToken(at.id, index, at.user, tokenLifetime)
	if err != nil {
		return "", fmt.Errorf("no thumbs for message %d: %w", index, err)
	}
	return token, nil
}

// done ends an answer.
type done struct {
	Text    string `json:"text,omitempty"` // all of it, where it did not come in pieces
	Failure string `json:"failure,omitempty"`
	Token   string `json:"token,omitempty"` // to vote with
}

// teller tells a browser how an answer goes on: line by line if it asked for that, else nothing.
type teller struct {
	w       http.ResponseWriter
	control *http.ResponseController
	lines   bool
	told    bool // a piece of the answer
}

// begin makes the limits of the server, which are for requests that end at once, those of an answer.
func (t *teller) begin() {
	_ = t.control.SetReadDeadline(time.Time{}) // where that cannot be done there are none
	if t.lines {
		t.w.Header().Set("Content-Type", linesType)
		t.w.Header().Set("X-Accel-Buffering", "no") // for a proxy that would wait for the end
	}
}

// piece tells a piece of the answer.
func (t *teller) piece(text string) error {
	if !t.lines {
		return nil
	}
	t.told = true
	return t.line(struct {
		Piece string `json:"piece"`
	}{text})
}

// end tells that the answer is over.
func (t *teller) end(d done) {
	_ = t.control.SetWriteDeadline(time.Now().Add(readPatience)) // where that cannot be done there is none
	if !t.lines {
		return
	}
	if t.told {
		d.Text = ""
	}
	_ = t.line(struct { // a browser that has gone reads it on its next visit
		Done done `json:"done"`
	}{d})
}

func (t *teller) line(value any) error {
	_ = t.control.SetWriteDeadline(time.Now().Add(readPatience)) // where that cannot be done there is none
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if _, err := t.w.Write(append(text, '\n')); err != nil {
		return err
	}
	return t.control.Flush()
}

package chatpage

import (
	"context"
	"crypto/rand"
	"html/template"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/openalign/align"
	"github.com/openalign/align/collector/agents"
)

// Who talks, and what the page shows of it. An app has a database for that; here it is memory, and bounded such that no page
// has more than 200 KB.

const (
	// maxChats is how many browsers have a conversation at once; who was quiet longest has to begin a new one.
	maxChats = 200
	// maxKept is how much of an answer the page keeps, in bytes. The browser that asked and the collector get all of it.
	maxKept = 8 << 10
	// maxChat is how much of a conversation the page has, in bytes of HTML, when one has to begin another. maxLines is how many
	// lines it has then.
	maxChat  = 64 << 10
	maxLines = 40
	// maxComment is how long a comment may be to stand in its form again.
	maxComment = 512
)

// state is where a conversation stands.
type state int

const (
	unsaid state = iota // nobody has said anything: there is no session yet
	open
	idle  // the client closed it, because nobody said anything; what is said opens it again
	ended // the user closed it
)

// line is something that was said.
type line struct {
	Role    align.Role
	Text    string
	Cut     bool   // there was more
	Failure string // why there is no answer, or only a part of one
	Index   int    // an answer's in its session; 0 where it was not recorded
	vote
}

// vote is what a user thinks of an answer, or of the whole.
type vote struct {
	Thumb   align.FeedbackType // empty for none
	Comment string
	Reasons []string
}

// chat is one conversation of one browser.
type chat struct {
	id, user string
	begin    sync.Once // opens the session
	history  align.History

	mu    sync.Mutex // guards all below; nothing is recorded while it is held
	agent string     // who answers; empty until something was said
	state state
	lines []line
	size  int // of their texts, in HTML
	whole vote
	used  time.Time
}

// chats are those of all browsers. The zero value has none.
type chats struct {
	mu        sync.Mutex // guards all below; taken before a chat's own
	byVisitor map[string]*chat
	byID      map[string]*chat
}

// of returns the conversation of a visitor.
func (c *chats) of(visitor string) *chat {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := c.byVisitor[visitor]
	if at == nil {
		at = c.replace(visitor)
	}
	at.mu.Lock()
	defer at.mu.Unlock()
	at.used = time.Now()
	return at
}

// another begins a new conversation of a visitor.
func (c *chats) another(visitor string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.replace(visitor)
}

// replace begins a conversation in place of the visitor's last. c.mu is held.
func (c *chats) replace(visitor string) *chat {
	if c.byID == nil {
		c.byVisitor, c.byID = map[string]*chat{}, map[string]*chat{}
	}
	if old := c.byVisitor[visitor]; old != nil {
		delete(c.byID, old.id)
	} else if len(c.byVisitor) >= maxChats {
		c.forgetQuietest()
	}
	at := &chat{id: rand.Text(), user: "visitor-" + visitor[:min(8, len(visitor))], used: time.Now()}
	c.byVisitor[visitor], c.byID[at.id] = at, at
	return at
}

// forgetQuietest makes room. What was recorded of it stays where it is.
func (c *chats) forgetQuietest() {
	var quietest string
	var since time.Time
	for visitor, at := range c.byVisitor {
		at.mu.Lock()
		if quietest == "" || at.used.Before(since) {
			quietest, since = visitor, at.used
		}
		at.mu.Unlock()
	}
	delete(c.byID, c.byVisitor[quietest].id)
	delete(c.byVisitor, quietest)
}

// note sees every event before it is recorded and keeps of it what the page shows: votes, which come by way of feedbackhttp,
// and that a conversation was closed, which the client does itself when nobody says anything.
func (c *chats) note(e *align.Event) bool {
	switch {
	case e.Message != nil:
		c.change(e.Message.SessionID, func(at *chat) { at.state = open })
	case e.SessionEnd != nil:
		c.change(e.SessionEnd.SessionID, func(at *chat) {
			if at.state = ended; e.SessionEnd.Reason == align.CloseIdle {
				at.state = idle
			}
		})
	case e.MessageFeedback != nil:
		f := e.MessageFeedback
		c.change(f.SessionID, func(at *chat) {
			for i := range at.lines {
				if at.lines[i].Index == f.Index {
					at.lines[i].vote = voteOf(f.Type, f.Comment, f.Reasons)
				}
			}
		})
	case e.SessionFeedback != nil:
		f := e.SessionFeedback
		c.change(f.SessionID, func(at *chat) { at.whole = voteOf(f.Type, f.Comment, f.Reasons) })
	}
	return true
}

func (c *chats) change(id string, how func(*chat)) {
	c.mu.Lock()
	at := c.byID[id]
	c.mu.Unlock()
	if at == nil {
		return
	}
	at.mu.Lock()
	defer at.mu.Unlock()
	how(at)
}

func voteOf(thumb align.FeedbackType, comment string, reasons []string) vote {
	if thumb == align.ThumbsNone {
		return vote{}
	}
	v := vote{Thumb: thumb, Comment: comment, Reasons: append([]string(nil), reasons...)}
	if len(comment) > maxComment {
		v.Comment = ""
	}
	return v
}

// add keeps what was said.
func (c *chat) add(said line) {
	if len(said.Text) > maxKept {
		end := maxKept
		for end > 0 && !utf8.RuneStart(said.Text[end]) {
			end--
		}
		said.Text, said.Cut = said.Text[:end], true
	}
	said.Text = strings.ToValidUTF8(said.Text, "\uFFFD")
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lines, c.size = append(c.lines, said), c.size+len(template.HTMLEscapeString(said.Text))
}

// full reports whether a conversation has become too long. c.mu is held.
func (c *chat) full() bool { return c.size >= maxChat || len(c.lines) >= maxLines }

// start records who it is and that the conversation began, the first time.
func (p *Page) start(ctx context.Context, c *chat, agent *agents.Agent) {
	c.begin.Do(func() {
		c.history.MaxMessages, c.history.MaxBytes = historyOf(agent)
		err := p.client.IdentifyUser(ctx, align.User{ID: c.user, DisplayName: "Visitor of the demo"})
		p.warn(ctx, err)
		_, err = p.client.StartSession(ctx, align.Session{
			ID: c.id, UserID: c.user, AssistantID: agent.Name(), Channel: align.ChannelChat, Source: "demo page",
		})
		p.warn(ctx, err)
	})
}

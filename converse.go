package align

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Conversation says which conversation [Client.Converse] goes on with.
type Conversation struct {
	// ID is the session it is recorded as: 1 to 64 Unicode code points. A new one begins a conversation.
	ID string `validate:"nonblank,text,max=64"`
	// UserID says whose it is, at most 64 Unicode code points. Empty means unknown: then no session is opened. Else it is
	// as an [Interaction] does.
	UserID string `validate:"omitempty,nonblank,text,max=64"`
	// AgentName is who answers, the session's AssistantID: at most 64 Unicode code points. Empty means "default".
	AgentName string `validate:"omitempty,nonblank,text,max=64"`
	// History is what was said before, for the agent. Converse adds the messages and the answer. Nil means that the agent
	// is told of the new messages alone: it may know the rest from elsewhere, and can read and write that safely, as no
	// other call on the conversation runs meanwhile.
	History *History `validate:"-"`
}

// Agent answers a user. It is a function of the app's that calls its model: with [Run.Lines] as what was said, and whatever
// else it needs from around it. An answer may be streamed into the [Run] and then need not be returned.
//
// It must return when ctx ends; Converse waits for it. ctx carries the [SessionHandle] of the conversation, for tools that
// record themselves (see [FromContext]). With an error, the answer is what there was of one.
type Agent func(ctx context.Context, run *Run) (answer string, err error)

// Answer is what became of a call of [Client.Converse].
type Answer struct {
	// Text is the answer, all of it: what the agent returned, or else what it streamed. With an error it is what there
	// was of one.
	Text string
	// RunID names the invocation of the agent, as its message's [Generation.RunID] does. Empty means that there was none.
	RunID string
	// Index is the answer's in its session, for the thumb that may come later. It is 0 where the answer was not recorded.
	Index int
	// Unrecorded says what was not recorded and why; nil where everything was. Find [ErrBufferFull], [ErrClosed] and
	// the like in it with [errors.Is]. It does not keep the user from the answer, so it is no error of the call.
	Unrecorded error
}

// Converse has an agent of the app's answer what the user says, and records both sides: first the messages, in order, then
// the answer with its run id, latency, time to first token where it was streamed, and what [Run.SetGeneration] told. Latency
// counts from when the call has its turn; waiting for others does not belong to it.
//
// messages are one or more, none of them blank. Where the analytics cannot hold one as it is, its bytes that are no
// UTF-8, and NUL, are recorded as U+FFFD; the agent gets it unchanged.
//
// Calls on the same conversation of a client run one after the other, first come, first served. A conversation in which
// nobody waits takes no memory for that. The agent must not call Converse on the conversation it answers in: with its own ctx
// that is an error, else it waits for itself until ctx ends.
//
// Where the agent fails, the error wraps its own and the answer is recorded without success, with the error's text; the
// user's messages stay, also in the History, which gets no answer then. If ctx has ended by then, the answer is recorded as
// incomplete, too. An agent that panics or ends its goroutine is recorded in the same way, without the panic's value, and
// the panic goes on. An answer that comes without an error counts, also where ctx has ended.
//
// Before the agent is called, and with nothing recorded, these are errors: a *[FieldError] for every argument that breaks
// its limits, and the end of ctx. [Answer.RunID] is empty then.
//
// What goes wrong with recording never is an error of Converse; it is in [Answer.Unrecorded]. Messages that there is
// no room for are tried again before the answer. Under [OverflowBlock] each try waits for a tenth of a second at most,
// whatever ctx says. A Generation that breaks its limits, or any in [Config.Strict], is left out. After Close, and on a nil
// or zero client, which also checks nothing but the agent, the agent is called all the same. An interaction that ended
// before its agent, at [Client.Close] or after [Config.IdleTimeout] without a sign of life, was recorded as incomplete; its
// answer then comes too late ([ErrClosed], [ErrEnded]).
func (c *Client) Converse(ctx context.Context, conversation Conversation, messages []string, agent Agent) (Answer, error) {
	if err := c.checkConverse(&conversation, messages, agent); err != nil {
		return Answer{}, err
	}
	if runFrom(ctx).within(c, conversation.ID) {
		return Answer{}, errOwnTurn
	}
	if c != nil && conversation.ID != "" { // a disabled client accepts that, too
		leave, err := c.conversing.take(ctx, conversation.ID)
		if err != nil {
			return Answer{}, err
		}
		defer leave()
	}
	run := c.beginRun(ctx, &conversation, messages)
	run.record(ctx)
	return run.call(ctx, agent)
}

var (
	errOwnTurn = errors.New("align: Converse was called by the agent of the same conversation")
	errNoEnd   = errors.New("the agent did not return: it panicked, or ended its goroutine")
)

// checkConverse holds the arguments of [Client.Converse] against their limits.
func (c *Client) checkConverse(conversation *Conversation, messages []string, agent Agent) error {
	var problems []error
	if agent == nil {
		problems = append(problems, &FieldError{"agent", "type", "a function, not nil"})
	}
	if c == nil || c.buf == nil {
		return errors.Join(problems...)
	}
	if len(messages) == 0 {
		problems = append(problems, &FieldError{"messages", "min", "1 message"})
	}
	for i, text := range messages {
		if isBlank(text) {
			problems = append(problems, &FieldError{"messages[" + strconv.Itoa(i) + "]", "required", ""})
		}
	}
	err := c.refusing(c.rules.problems(conversation), problems)
	if err == nil && agent == nil { // a disabled client cannot do without one either
		err = problems[0]
	}
	return err
}

// Run is one invocation of an [Agent]. It is safe for concurrent use. It takes an answer that is streamed as an
// [io.Writer] that never fails, so that what writes to the user and to a Run at once goes on writing to the user. What
// comes after the agent has returned is ignored. A zero Run has no lines and records nothing: to test an agent, call it with
// one, or with [Client.Converse] of a nil client.
type Run struct {
	client      *Client
	outer       *Run // whose agent called Converse, if any
	interaction *Interaction
	questions   *exchange // what of the user's side is not recorded yet
	unsaid      error     // why
	history     *History
	lines       []Line

	mu         sync.Mutex // guards all below
	text       strings.Builder
	generation *Generation
	over       bool
}

// beginRun begins the run that answers messages.
func (c *Client) beginRun(ctx context.Context, conversation *Conversation, messages []string) *Run {
	said := make([]Line, len(messages))
	for i, text := range messages {
		said[i] = Line{RoleUser, text}
	}
	lines, before := conversation.History.extend(said)
	in := c.Begin(InteractionStart{
		ID: cmp.Or(c.newID(), requestID()), UserID: conversation.UserID, ConversationID: conversation.ID,
		AgentName: conversation.AgentName,
	})
	in.session.Continue(before + 1)
	questions := &exchange{session: in.start.opening(in.begun)}
	for _, text := range messages {
		questions.messages = append(questions.messages, &Message{Role: RoleUser, Content: printable(text), CreateTime: in.begun})
	}
	return &Run{
		client: c, outer: runFrom(ctx), interaction: in, questions: questions, history: conversation.History, lines: lines,
	}
}

// ID returns the run's id: a UUIDv7 in 32 hex digits.
func (r *Run) ID() string { return r.interaction.ID() }

// Lines returns what the agent answers to: the [History], as far as its budget goes, and then the user's new messages, all
// of them. The slice is the agent's own.
func (r *Run) Lines() []Line { return append([]Line(nil), r.lines...) }

// Write adds to the answer's text. The first that is not empty marks the time to first token. It never fails.
func (r *Run) Write(p []byte) (n int, err error) { return r.WriteString(string(p)) }

// WriteString is [Run.Write] of a string.
func (r *Run) WriteString(s string) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.text.WriteString(s)
		r.interaction.WriteString(s) // which may have ended
	}
	return len(s), nil
}

// FirstToken marks the time to first token, where the answer is not streamed into the run or begins with something that is
// no text. Only the first mark counts.
func (r *Run) FirstToken() { r.interaction.FirstToken() }

// SetGeneration says what is known of the answer: model, tokens, cost, tool calls, outcome. The last call counts. Of what
// Converse measures, Latency and TimeToFirstToken given here come first; so does Success, where the agent returns no error.
func (r *Run) SetGeneration(generation Generation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.generation = generation.detached()
}

// call calls the agent and records its answer.
func (r *Run) call(ctx context.Context, agent Agent) (Answer, error) {
	returned := false
	defer func() {
		if !returned { // without recover, the panic keeps its stack
			r.end(ctx, "", errNoEnd)
		}
	}()
	text, err := agent(context.WithValue(NewContext(ctx, r.interaction.session), runKey{}, r), r)
	returned = true
	answer := r.end(ctx, text, err)
	if err != nil {
		err = fmt.Errorf("align: the agent failed: %w", err)
	}
	return answer, err
}

// end ends the run with what the agent has returned, and records the answer.
func (r *Run) end(ctx context.Context, text string, err error) Answer {
	r.mu.Lock()
	r.over = true
	streamed, generation := r.text.String(), r.generation
	r.mu.Unlock()

	result := InteractionResult{Output: printable(text)}
	if err != nil {
		result.Success, result.Error = new(false), printable(err.Error())
	} else if text = cmp.Or(text, streamed); !isBlank(text) && r.history != nil {
		r.history.Add(Line{RoleAssistant, text})
	}
	answer := Answer{Text: cmp.Or(text, streamed), RunID: r.ID()}

	r.record(ctx)
	unrecorded := []error{r.unsaid}
	if problem := r.client.checkGeneration(generation); problem != nil {
		unrecorded, generation = append(unrecorded, problem), nil
	}
	if c := r.client; err != nil && ctx.Err() != nil && c != nil && !c.cfg.Strict {
		generation = cmp.Or(generation, &Generation{})
		generation.Incomplete = true
	}
	result.Generation = generation
	ctx, cancel := r.client.patience(ctx)
	defer cancel()
	if err := r.interaction.Finish(ctx, result); err != nil {
		unrecorded = append(unrecorded, fmt.Errorf("%w: answer not recorded", err))
	}
	answer.Index, answer.Unrecorded = r.interaction.Index(), errors.Join(unrecorded...)
	return answer
}

// record records what of the user's side is not recorded yet.
func (r *Run) record(ctx context.Context) {
	r.unsaid = nil
	if len(r.questions.messages) == 0 {
		return
	}
	err := ErrClosed
	if c := r.client; c != nil && !c.closing.Load() {
		ctx, cancel := c.patience(ctx)
		defer cancel()
		err = r.interaction.session.exchange(ctx, r.questions)
	}
	if err != nil {
		r.unsaid = fmt.Errorf("%w: %d of the user's messages not recorded", err, len(r.questions.messages))
	}
}

// checkGeneration holds what an agent told of its answer against the limits.
func (c *Client) checkGeneration(g *Generation) error {
	if g == nil || c == nil || c.buf == nil {
		return nil
	}
	return c.refusing(c.rules.problems(g), c.strictly(func() []string { return []string{"Generation"} }))
}

// maxPatience is how long [Client.Converse] waits for room under [OverflowBlock].
const maxPatience = 100 * time.Millisecond

// patience returns a context for recording that carries ctx's values, and ends when nobody should wait for room any
// longer. It does not end with ctx: how a run ended that was cancelled is recorded, too.
func (c *Client) patience(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx = context.WithoutCancel(ctx)
	if c == nil || c.cfg.Overflow != OverflowBlock {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, maxPatience)
}

type runKey struct{}

func runFrom(ctx context.Context) *Run {
	r, _ := ctx.Value(runKey{}).(*Run)
	return r
}

// within reports whether the run, or one that it is part of, has the conversation's turn.
func (r *Run) within(c *Client, id string) bool {
	for ; r != nil; r = r.outer {
		r.mu.Lock()
		over := r.over
		r.mu.Unlock()
		if !over && c != nil && r.client == c && r.interaction.session.id == id {
			return true
		}
	}
	return false
}

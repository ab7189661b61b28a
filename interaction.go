package align

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// DefaultAgentName stands for the agent of an interaction that names none.
const DefaultAgentName = "default"

// InteractionStart is what is known when an interaction begins. Every field is optional.
type InteractionStart struct {
	// ID names the interaction, for [Client.Interaction], and is the answer's [Generation.RunID]. At most 64 Unicode code
	// points; empty means a new one. Where an interaction of that ID is open, this one is found in its place.
	ID string `validate:"omitempty,nonblank,text,max=64"`
	// UserID says who asks, at most 64 Unicode code points. Empty means unknown: then no session is opened.
	UserID string `validate:"omitempty,nonblank,text,max=64"`
	// ConversationID is the session that the interaction belongs to, at most 64 Unicode code points. Empty means one of its
	// own.
	ConversationID string `validate:"omitempty,nonblank,text,max=64"`
	// AgentName is who answers, the session's AssistantID: at most 64 Unicode code points. Empty means "default".
	AgentName string `validate:"omitempty,nonblank,text,max=64"`
	// Input is what was asked. It may come later, or never.
	Input string `validate:"omitempty,text"`
	// Properties are the interaction's own; its answer carries them, or the question where there is no answer.
	Properties Properties `validate:"properties"`
}

// InteractionResult says how an interaction ended. Every field is optional.
type InteractionResult struct {
	// Output is the answer. Empty means the text that was streamed; where there is none and the interaction failed, Error.
	Output string `validate:"omitempty,text"`
	// Success says whether an answer was made. Nil means yes, unless Error says why not.
	Success *bool
	// Error says why none was. Beyond 2,000 Unicode code points it is cut. Where an interaction failed and Error is empty,
	// it is the Output.
	Error string `validate:"omitempty,text"`
	// Latency is the time from question to answer, not negative. Nil means what passed since Begin, by the monotonic clock;
	// a zero is a zero.
	Latency *time.Duration `validate:"omitempty,min=0"`
	// Generation says more: model, tokens, cost, tool calls, outcome. Nil means nothing. Of what both can say, the fields
	// above come first. RunID is always the interaction's ID.
	Generation *Generation
}

// TrackedInteraction is an interaction that is over. Every field is optional.
type TrackedInteraction struct {
	// UserID says who asked, at most 64 Unicode code points. Empty means unknown: then no session is opened.
	UserID string `validate:"omitempty,nonblank,text,max=64"`
	// Input is what was asked, Output what was answered; where Success is false, Output says why nothing was.
	Input, Output string `validate:"omitempty,text"`
	// AgentName is who answered, the session's AssistantID: at most 64 Unicode code points. Empty means "default".
	AgentName string `validate:"omitempty,nonblank,text,max=64"`
	// ConversationID is the session that the interaction belongs to, at most 64 Unicode code points. Empty means one of its
	// own.
	ConversationID string `validate:"omitempty,nonblank,text,max=64"`
	// Properties are the interaction's own; its answer carries them, or the question where there is no answer.
	Properties Properties `validate:"properties"`
	// Timestamp is when it began. Zero means so that it ends with the call.
	Timestamp time.Time `validate:"timestamp"`
	// Success says whether an answer was made. Nil means yes.
	Success *bool
	// Latency is the time from question to answer, not negative. Nil means unknown, which is no zero.
	Latency *time.Duration `validate:"omitempty,min=0"`
}

// Interaction is one question and its answer, from [Client.Begin] to its end. Nothing is sent before that. It is safe for
// concurrent use.
//
// An answer may be streamed into it: it is an [io.Writer]. The first write marks the time to first token.
//
// Where it ends it becomes two messages of its session: the question, at the time of Begin, and the answer, with latency
// and success, at the time of its end. Their indexes follow each other, also where others record into the session through
// a [SessionHandle] or interactions. A question without text is left out; so is an answer without text, unless the
// interaction failed, was never ended or has a [Generation] to tell of. With a UserID the session is opened first, unless
// [Client.StartSession] or another interaction of this client has done so. After [Client.OpenSession] it is opened again, and
// AgentName replaces the assistant given there: leave UserID out, or use StartSession.
//
// An interaction that nobody ends is recorded as incomplete, with what was streamed so far and Success unknown:
// when nothing was heard of it for [Config.IdleTimeout], or at [Client.Close]. [Stats.Incomplete] counts them.
// A negative IdleTimeout keeps it, and its memory, until Close.
type Interaction struct {
	client  *Client
	session *SessionHandle
	id      string
	begun   time.Time

	mu    sync.Mutex // guards all below; never held while something is recorded
	start InteractionStart
	seen  time.Time      // last sign of life
	first *time.Duration // time to first token
	text  stream
	ended bool
	left  *exchange // what there was no room for when the client ended it
	index int       // the answer's

	key string // under which the client has it; guarded by openInteractions.mu
}

// Begin begins an interaction, now. What breaks the limits is found out at its end. On a closed client its end returns
// [ErrClosed].
func (c *Client) Begin(start InteractionStart) *Interaction {
	start.ID = cmp.Or(start.ID, c.newID())
	start.ConversationID = cmp.Or(start.ConversationID, c.newID())
	start.Properties = maps.Clone(start.Properties)
	now := time.Now()
	in := &Interaction{client: c, session: c.Session(start.ConversationID), id: start.ID, begun: now, start: start, seen: now}
	if c == nil || c.buf == nil || c.closing.Load() {
		return in
	}
	in.text.limit = c.cfg.MaxContentBytes
	if c.cfg.Disabled {
		c.endSilent() // no watch does
	}
	if c.interactions.add(in) {
		signal(c.idleWake)
	}
	return in
}

// Interaction returns the open interaction of that ID, to end it elsewhere than where it began: in another goroutine, in
// a callback. It returns nil when there is none; the methods of a nil Interaction return [ErrEnded].
func (c *Client) Interaction(id string) *Interaction {
	if c == nil || c.buf == nil {
		return nil
	}
	return c.interactions.find(id)
}

// Track records an interaction that is over, and returns its id. What it becomes is said at [Interaction].
//
// Errors: *[FieldError] for every field that breaks its limits, [ErrBufferFull], [ErrClosed]; see [Interaction.End].
func (c *Client) Track(ctx context.Context, tracked TrackedInteraction) (id string, err error) {
	if c == nil || c.buf == nil || c.closing.Load() {
		return "", ErrClosed
	}
	var late []error // neither question nor answer is recorded where the answer cannot be
	if tracked.Latency != nil && isTimestamp(tracked.Timestamp) && !isTimestamp(tracked.Timestamp.Add(*tracked.Latency)) {
		late = []error{&FieldError{Field: "TrackedInteraction.Latency", Rule: "time"}}
	}
	if err := c.refusing(c.rules.problems(&tracked), late, c.strictly(tracked.beyondBase)); err != nil {
		return "", err
	}
	start := InteractionStart{
		ID: c.newID(), UserID: tracked.UserID, AgentName: tracked.AgentName, Input: tracked.Input,
		ConversationID: tracked.ConversationID, Properties: maps.Clone(tracked.Properties),
	}
	generation := &Generation{Latency: clone(tracked.Latency), Success: cmp.Or(clone(tracked.Success), new(true)), RunID: start.ID}
	if !*generation.Success {
		generation.Error = clip(tracked.Output, maxErrorLength)
	}
	var latency time.Duration
	if tracked.Latency != nil {
		latency = *tracked.Latency
	}
	begun := tracked.Timestamp
	if begun.IsZero() {
		begun = time.Now().Add(-latency)
	}
	answer := &Message{Content: tracked.Output, CreateTime: begun.Add(latency), Generation: generation}
	e := c.newExchange(start, begun, answer, false)
	if start.ConversationID != "" {
		err = c.Session(start.ConversationID).exchange(ctx, e)
	} else { // nobody else knows it: no turns to take, no count to keep
		s := &SessionHandle{client: c, id: c.newID(), state: newSessionState()}
		err = s.recordExchange(ctx, e)
	}
	if err != nil {
		return "", err
	}
	return start.ID, nil
}

// ID returns the interaction's id; empty for a nil Interaction.
func (in *Interaction) ID() string {
	if in == nil {
		return ""
	}
	return in.id
}

// Session returns a handle of the session that the interaction belongs to, for the thumb that comes after its end. It is
// nil for a nil Interaction.
func (in *Interaction) Session() *SessionHandle {
	if in == nil {
		return nil
	}
	return in.session
}

// Index returns the index of the answer in its session, for the thumb that may come later. It is 0 before the end, for an
// answer that was not recorded, and for a nil Interaction.
func (in *Interaction) Index() int {
	if in == nil {
		return 0
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.index
}

// SetInput says what was asked. The last call counts. It returns [ErrEnded] after the end.
func (in *Interaction) SetInput(text string) error {
	return in.change(func() { in.start.Input = text })
}

// SetProperty adds one property or replaces its value. It returns [ErrEnded] after the end, and a *[FieldError], changing
// nothing, where the interaction's [Properties] would break their limits.
func (in *Interaction) SetProperty(key, value string) error {
	return in.SetProperties(Properties{key: value})
}

// SetProperties adds properties to those there are; of two values of a key the later counts. It returns [ErrEnded] after
// the end, and a *[FieldError], changing nothing, where the interaction's [Properties] would break their limits.
func (in *Interaction) SetProperties(properties Properties) (err error) {
	ended := in.change(func() {
		merged := make(Properties, len(in.start.Properties)+len(properties))
		maps.Copy(merged, in.start.Properties)
		maps.Copy(merged, properties)
		if c := in.client; c != nil && c.rules != nil {
			if _, ok := c.rules.collect(nil, merged); !ok {
				err = c.refusing(c.rules.propertyProblems("InteractionStart.Properties", merged))
				return
			}
		}
		in.start.Properties = merged
	})
	return cmp.Or(ended, err)
}

// Write adds to the answer's text. The first that is not empty marks the time to first token. Of the text no more than
// [Config.MaxContentBytes] is kept; how long it was is sent. What is no UTF-8 in the end is replaced by U+FFFD. It returns
// [ErrEnded] after the end.
func (in *Interaction) Write(p []byte) (n int, err error) { return appendTo(in, p) }

// WriteString is [Interaction.Write] of a string.
func (in *Interaction) WriteString(s string) (n int, err error) { return appendTo(in, s) }

func appendTo[T string | []byte](in *Interaction, p T) (n int, err error) {
	err = in.change(func() {
		if len(p) > 0 {
			in.mark()
			add(&in.text, p)
		}
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// FirstToken marks the time to first token, where the answer is streamed past the interaction or begins with something
// that is no text. Only the first mark counts. It returns [ErrEnded] after the end.
func (in *Interaction) FirstToken() error { return in.change(in.mark) }

func (in *Interaction) mark() {
	if in.first == nil {
		in.first = new(time.Since(in.begun))
	}
}

// change does something to an open interaction, which is a sign of life.
func (in *Interaction) change(f func()) error {
	if in == nil {
		return ErrEnded
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended {
		return ErrEnded
	}
	f()
	in.seen = time.Now()
	if c := in.client; c != nil && c.buf != nil {
		c.interactions.touch(in, in.seen)
	}
	return nil
}

// End ends the interaction with its answer, successfully. Empty output means the text that was streamed.
//
// It returns [ErrEnded] where it has ended before, and [ErrClosed] after [Client.Close]. A *[FieldError] for what the
// interaction was told leaves it open, to be told better. Any other error ends it: after [ErrBufferFull] neither question
// nor answer was recorded, unless there was room for the question only. That then stays recorded without its answer, and
// the session's next message gets the index that the answer would have had.
func (in *Interaction) End(ctx context.Context, output string) error {
	return in.Finish(ctx, InteractionResult{Output: output})
}

// Fail ends the interaction without success. The answer is what was streamed, or else the text of cause, which is the
// error in both cases; a nil cause says nothing. Errors are those of [Interaction.End].
func (in *Interaction) Fail(ctx context.Context, cause error) error {
	result := InteractionResult{Success: new(false)}
	if cause != nil {
		result.Error = printable(cause.Error())
	}
	return in.Finish(ctx, result)
}

// Finish ends the interaction with all that is known of its answer. Errors are those of [Interaction.End]. In
// [Config.Strict] only the texts, times and properties are sent, and a Latency or Generation in the result is an error.
func (in *Interaction) Finish(ctx context.Context, result InteractionResult) error {
	if in == nil {
		return ErrEnded
	}
	c := in.client
	if c == nil || c.buf == nil || c.closing.Load() {
		return ErrClosed
	}
	e, err := in.finish(result)
	if err != nil {
		return err
	}
	c.interactions.remove(in)
	err = in.session.exchange(ctx, e)
	in.mu.Lock()
	defer in.mu.Unlock()
	in.index = e.answer
	return err
}

// finish ends the interaction and returns what is to be recorded of it.
func (in *Interaction) finish(result InteractionResult) (*exchange, error) {
	now, c := time.Now(), in.client
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.ended {
		return nil, ErrEnded
	}
	if err := c.refusing(c.rules.problems(&in.start), c.rules.problems(&result),
		c.strictly(result.beyondBase)); err != nil {
		return nil, err
	}
	answer := in.answer()
	g := cmp.Or(result.Generation.detached(), &Generation{})
	g.RunID = in.id
	g.Latency = cmp.Or(clone(result.Latency), g.Latency, new(now.Sub(in.begun)))
	g.TimeToFirstToken = cmp.Or(g.TimeToFirstToken, in.first)
	g.Error = cmp.Or(result.Error, g.Error)
	g.Success = cmp.Or(clone(result.Success), g.Success, new(g.Error == ""))
	if result.Output != "" {
		answer.Content, answer.stream = result.Output, nil
	}
	if !*g.Success {
		g.Error = cmp.Or(g.Error, answer.Content)
		answer.Content = cmp.Or(answer.Content, g.Error)
	}
	g.Error = clip(g.Error, maxErrorLength)
	answer.CreateTime = in.begun.Add(*g.Latency)
	answer.Generation = g
	return in.end(answer, result.Generation != nil), nil
}

// abandon records an interaction without a sign of life since deadline as incomplete, as far as there is room: else it
// returns [ErrBufferFull], and another call goes on from there.
func (in *Interaction) abandon(deadline time.Time) error {
	c := in.client
	in.mu.Lock()
	e := in.left // whoever takes it has it alone
	in.left = nil
	var err error
	if e == nil {
		if in.ended || in.seen.After(deadline) {
			in.mu.Unlock()
			return nil
		}
		err = c.refusing(c.rules.problems(&in.start)) // nobody asked so far
		answer := in.answer()
		answer.CreateTime = in.seen
		answer.Generation = &Generation{TimeToFirstToken: in.first, RunID: in.id, Incomplete: true}
		e = in.end(answer, false)
	}
	in.mu.Unlock()
	if err == nil {
		err = in.session.exchange(unwaiting, e)
	}
	if errors.Is(err, ErrBufferFull) {
		in.mu.Lock()
		in.left = e
		in.mu.Unlock()
		return err
	}
	c.interactions.remove(in)
	if err == nil {
		c.incomplete.Add(1)
	} else if _, told := c.told.LoadOrStore("interaction", true); !told {
		c.cfg.Logger.Warn("align: an interaction that nobody ended was not recorded", "error", err)
	}
	return nil
}

// unwaiting is a context for what the client records on its own account: it never waits for room.
var unwaiting = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// answer returns the answer as far as it was streamed.
func (in *Interaction) answer() *Message {
	text, part := in.text.result()
	if part != nil && !in.client.plain {
		part.unsure = maxPersonal
	}
	return &Message{Content: text, stream: part}
}

// maxPersonal bounds, in bytes, what is masked as one: an email address is the longest.
const maxPersonal = 320

// end makes the interaction an ended one and returns what is to be recorded. telling says that the answer tells something
// even without text.
func (in *Interaction) end(answer *Message, telling bool) *exchange {
	e := in.client.newExchange(in.start, in.begun, answer, telling)
	in.ended, in.text = true, stream{}
	return e
}

func (t *TrackedInteraction) beyondBase() []string {
	return inUse("TrackedInteraction.", fieldUse{"Latency", t.Latency != nil})
}

func (r *InteractionResult) beyondBase() []string {
	return inUse("InteractionResult.", fieldUse{"Latency", r.Latency != nil}, fieldUse{"Generation", r.Generation != nil})
}

// exchange is what is recorded of an interaction.
type exchange struct {
	session  *Session   // to be opened; nil: without a user there is nothing to open
	messages []*Message // not recorded yet
	answer   int        // index of the answer, once that is recorded
}

// newExchange tells an interaction in messages: the question, unless it has no text, and the answer, unless it has none
// and there is nothing else to tell of it: then it was a success, of which the question is witness.
func (c *Client) newExchange(start InteractionStart, begun time.Time, answer *Message, telling bool) *exchange {
	e := &exchange{session: start.opening(begun)}
	if !isBlank(start.Input) {
		e.messages = append(e.messages, &Message{Role: RoleUser, Content: start.Input, CreateTime: begun})
	}
	answer.Role = RoleAssistant
	success := answer.Generation.Success != nil && *answer.Generation.Success
	if c.cfg.Strict {
		answer.Generation = nil
	}
	switch silent := isBlank(answer.Content); {
	case !silent:
		e.messages = append(e.messages, answer)
	case c.cfg.Strict: // has no word for a message without text
	case telling || !success || len(e.messages) == 0:
		answer.Content, answer.shortened = "", true
		e.messages = append(e.messages, answer)
	}
	if n := len(e.messages); n > 0 {
		e.messages[n-1].Properties = start.Properties
	}
	return e
}

// opening returns the session to be opened for the interaction; nil where its user is not known.
func (start *InteractionStart) opening(begun time.Time) *Session {
	if start.UserID == "" {
		return nil
	}
	return &Session{UserID: start.UserID, AssistantID: cmp.Or(start.AgentName, DefaultAgentName), StartTime: begun}
}

// exchange records what is left of e, with indexes that follow each other.
func (s *SessionHandle) exchange(ctx context.Context, e *exchange) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.unlock()
	return s.recordExchange(ctx, e)
}

func (s *SessionHandle) recordExchange(ctx context.Context, e *exchange) error {
	if e.session != nil && len(e.messages) > 0 && !s.state.opened.Load() {
		session := *e.session
		session.ID = s.id
		if err := s.client.admit(ctx, &session); err != nil {
			return err
		}
		s.state.opened.Store(true)
	}
	for len(e.messages) > 0 {
		m := *e.messages[0] // what is not accepted is as it was, for another try
		if !s.client.plain {
			m.Properties, m.Generation = maps.Clone(m.Properties), m.Generation.detached()
		}
		s.place(&m)
		placed := m
		if err := s.client.admit(ctx, &m); err != nil {
			return err
		}
		s.state.note(&placed) // a hook may have changed m
		if placed.Role == RoleAssistant {
			e.answer = placed.Index
		}
		e.messages = e.messages[1:]
	}
	return nil
}

// stream is a text that comes in pieces, of which no more than limit bytes are kept.
type stream struct {
	limit int
	kept  []byte
	size  extent // of all of it
}

func add[T string | []byte](s *stream, p T) {
	s.size.bytes += len(p)
	for i := range len(p) {
		if utf8.RuneStart(p[i]) {
			s.size.codePoints++
		}
	}
	p = p[:min(len(p), s.limit-len(s.kept))]
	if need := len(s.kept) + len(p); need > cap(s.kept) { // append might take more than the limit
		grown := make([]byte, len(s.kept), min(max(2*cap(s.kept), need), s.limit))
		copy(grown, s.kept)
		s.kept = grown
	}
	s.kept = append(s.kept, p...)
}

// result returns the text as far as it was kept, and what it measured where that was not all.
func (s *stream) result() (text string, part *beginning) {
	if s.size.bytes > len(s.kept) {
		part = &beginning{whole: s.size}
	}
	return printable(string(s.kept)), part
}

// printable makes a text of anything: bytes that are no UTF-8, and NUL, become U+FFFD.
func printable(s string) string {
	if isText(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// openInteractions are a client's interactions that have not ended.
type openInteractions struct {
	mu     sync.Mutex // guards all below
	byKey  map[string]*Interaction
	silent *idleTracker // by key; nil where nothing is ever silent for too long
}

func (o *openInteractions) init(follow bool) {
	o.byKey = make(map[string]*Interaction)
	if follow {
		o.silent = newIdleTracker(time.Now())
	}
}

// add takes an interaction in, and reports whether it is the first to be watched.
func (o *openInteractions) add(in *Interaction) (first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if old := o.byKey[in.id]; old != nil { // is found no longer, but still watched
		old.key = old.client.newID()
		o.byKey[old.key] = old
		if o.silent != nil {
			o.silent.forget(in.id)
			o.silent.touch(old.key, in.begun, time.Time{})
		}
	}
	in.key = in.id
	o.byKey[in.key] = in
	return o.silent != nil && o.silent.touch(in.key, in.begun, time.Time{})
}

func (o *openInteractions) find(id string) *Interaction {
	o.mu.Lock()
	defer o.mu.Unlock()
	if in := o.byKey[id]; in != nil && in.id == id {
		return in
	}
	return nil
}

// touch notes a sign of life.
func (o *openInteractions) touch(in *Interaction, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.silent != nil && o.byKey[in.key] == in {
		o.silent.touch(in.key, now, time.Time{})
	}
}

func (o *openInteractions) remove(in *Interaction) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byKey[in.key] != in {
		return
	}
	delete(o.byKey, in.key)
	if o.silent != nil {
		o.silent.forget(in.key)
	}
}

// due returns some interactions without a sign of life since deadline, and, if there are none, when the most silent one
// was heard of; false if none is watched.
func (o *openInteractions) due(deadline time.Time) (list []*Interaction, last time.Time, any bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.silent == nil {
		return nil, time.Time{}, false
	}
	for _, q := range o.silent.due(64, deadline) {
		list = append(list, o.byKey[q.id])
	}
	last, any = o.silent.next()
	return list, last, any
}

// all returns the interactions in the order in which they began.
func (o *openInteractions) all() []*Interaction {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.SortedFunc(maps.Values(o.byKey), func(a, b *Interaction) int { return a.begun.Compare(b.begun) })
}

// endSilent ends every interaction that is due and returns how long until the next one is; false if none is open. Like
// [Client.closeDue] it leaves half of the buffer to the app; for an Acro endpoint that half is full of ended sessions, which
// make way.
func (c *Client) endSilent() (wait time.Duration, any bool) {
	for {
		deadline := time.Now().Add(-c.cfg.IdleTimeout)
		due, last, any := c.interactions.due(deadline)
		if c.idleCtx.Err() != nil {
			return 0, false
		}
		if len(due) == 0 {
			return max(time.Until(last.Add(c.cfg.IdleTimeout)), 0), any
		}
		for _, in := range due {
			if c.assembler == nil && c.buf.halfFull() || in.abandon(deadline) != nil {
				return idleRetry, true
			}
		}
	}
}

// endOpenInteractions ends every interaction that is still open, as room in the buffer allows, until ctx ends.
func (c *Client) endOpenInteractions(ctx context.Context) {
	open := c.interactions.all()
	never := time.Now().Add(time.Hour) // somebody may still write
	for i, in := range open {
		for in.abandon(never) != nil {
			if await(ctx, nil, idleRetry) != nil {
				c.cfg.Logger.Warn("align: interactions not recorded at shutdown: no room to say so", "interactions", len(open)-i)
				return
			}
		}
	}
}

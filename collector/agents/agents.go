// Package agents asks agents for answers: those that a configuration file names, each an endpoint that speaks OpenAI's chat
// completions, and echo, which needs none.
//
// An agent is asked once. Nothing is tried again, no redirect is followed, and all that it can make this process hold is
// bounded: the time it takes, the size of its answer and of each event that brings a piece of it. A failure says which agent
// and what kind, and nothing that was said.
package agents

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Line is what somebody said.
type Line struct {
	Role Role
	Text string
}

// Role says who.
type Role int

const (
	User Role = iota
	Assistant
	System
)

// Request is what an agent is asked.
type Request struct {
	History  []Line   // what was said before, oldest first
	Messages []string // what the user says now, all of which is to be answered
}

// Answer is what an agent said. The zero value is nothing; nil is unknown.
type Answer struct {
	Text string
	// Model is what the agent says that it used, else what it was asked to use.
	Model                     string
	InputTokens, OutputTokens *int64
	ToolCalls                 []ToolCall
	// Incomplete says that the agent ended before its answer did, at a limit of its own, or that it failed.
	Incomplete bool
}

// ToolCall is a tool that an agent wants to be called.
type ToolCall struct{ ID, Name, Arguments string }

// Agent answers users. It is safe for concurrent use.
type Agent struct {
	name, label string
	timeout     time.Duration
	history     Budget
	backend     backend
}

// Budget bounds the history that an agent gets; what is older is left out.
type Budget struct{ Messages, Bytes int }

// backend asks once. It returns what it got of an answer also with an error.
type backend interface {
	ask(ctx context.Context, req Request, say func(string) error) (Answer, error)
}

// Name is what the configuration calls the agent.
func (a *Agent) Name() string { return a.name }

// Label is what answers are recorded with: the name, and the version if there is one, with a hyphen between.
func (a *Agent) Label() string { return a.label }

// Timeout is how long the agent may take for a whole answer.
func (a *Agent) Timeout() time.Duration { return a.timeout }

// History is how much of what was said before the agent gets.
func (a *Agent) History() Budget { return a.history }

// Ask asks the agent. An agent that streams calls say with each piece of its answer, in order, until say returns an error;
// another never does. The error is a *[Failure], and the answer then what there was of one.
func (a *Agent) Ask(ctx context.Context, req Request, say func(piece string) error) (Answer, error) {
	limited, cancel := context.WithTimeoutCause(ctx, a.timeout, errTooSlow)
	defer cancel()
	gone := false
	answer, err := a.backend.ask(limited, req, func(piece string) error {
		err := say(piece)
		gone = gone || err != nil
		return err
	})
	if err == nil && answer.Text == "" {
		err = &Failure{Kind: NoAnswer}
	}
	if err == nil {
		return answer, nil
	}
	failure := &Failure{Kind: Broken}
	errors.As(err, &failure)
	failure.Agent = a.label
	switch {
	case ctx.Err() != nil || gone:
		failure.Kind = Canceled
	case limited.Err() != nil:
		failure.Kind, failure.limit = Timeout, a.timeout.String()
	}
	answer.Incomplete = true
	return answer, failure
}

// errTooSlow is why a context ends when an agent has had its time.
var errTooSlow = errors.New("agents: time is up")

// Set is all agents there are. It is safe for concurrent use; the zero value has none.
type Set struct {
	named   map[string]*Agent // by name and alias
	longest time.Duration
}

// Find returns the agent of that name or alias.
func (s *Set) Find(name string) (*Agent, bool) {
	a, ok := s.named[name]
	return a, ok
}

// Names lists names and aliases, sorted.
func (s *Set) Names() []string { return slices.Sorted(maps.Keys(s.named)) }

// Longest is the longest time that one of the agents may take.
func (s *Set) Longest() time.Duration { return s.longest }

func (s *Set) add(name string, a *Agent) {
	if s.named == nil {
		s.named = map[string]*Agent{}
	}
	s.named[name] = a
	s.longest = max(s.longest, a.timeout)
}

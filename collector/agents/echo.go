package agents

import (
	"context"
	"strings"
	"time"
)

// EchoName is the name of the agent that needs no model.
const EchoName = "echo"

// echoPieces is how many pieces an answer has at most.
const echoPieces = 512

// echo answers with what the user said, a line a message, word by word.
type echo struct{}

func newEcho() *Agent {
	// It takes no history, and no time.
	return &Agent{name: EchoName, label: EchoName, timeout: time.Minute, backend: echo{}}
}

func (echo) ask(ctx context.Context, req Request, say func(string) error) (Answer, error) {
	text := strings.Join(req.Messages, "\n")
	answer := Answer{Model: EchoName}
	least := len(text) / echoPieces
	for said := 0; said < len(text); {
		if ctx.Err() != nil {
			return answer, ctx.Err()
		}
		end := len(text)
		if from := said + least; from < len(text) {
			if space := strings.IndexAny(text[from:], " \n"); space >= 0 {
				end = from + space + 1
			}
		}
		if err := say(text[said:end]); err != nil {
			return answer, err
		}
		said = end
		answer.Text = text[:said]
	}
	return answer, nil
}

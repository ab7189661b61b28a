package agents

import (
	"context"
	"net/http"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// completions is an endpoint of OpenAI's chat completions protocol.
type completions struct {
	model, system string
	stream        bool
	maxBytes      int
	client        *http.Client
	options       []option.RequestOption
}

// newCompletions makes no use of the environment: the client's own constructor would send the variables it knows, keys
// among them, to whatever endpoint this is.
func newCompletions(baseURL, key string) *completions {
	c := &completions{client: &http.Client{
		Transport: newTransport(),
		// Where a redirect leads was not configured, and must not be told what was said.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	c.options = []option.RequestOption{option.WithBaseURL(baseURL), option.WithMaxRetries(0)}
	if key != "" {
		c.options = append(c.options, option.WithAPIKey(key))
	}
	return c
}

func (c *completions) ask(ctx context.Context, req Request, say func(string) error) (Answer, error) {
	exchange := &exchange{client: c.client, streams: c.stream, maxAnswer: c.maxBytes}
	service := openai.NewChatCompletionService(append(c.options, option.WithHTTPClient(exchange))...)
	params := openai.ChatCompletionNewParams{Model: c.model, Messages: c.messages(req)}
	got := collected{answer: Answer{Model: c.model}, limit: c.maxBytes}
	var err error
	if c.stream {
		err = c.askStreaming(ctx, &service, params, &got, say)
	} else {
		err = c.askOnce(ctx, &service, params, &got)
	}
	got.answer.Text = got.text.String()
	switch {
	case c.stream && got.finished && exchange.failure != nil && exchange.failure.Kind == Broken:
		return got.answer, nil // it broke off after the end
	case exchange.failure != nil: // it knows best: the client wraps some errors, and makes its own of others
		return got.answer, exchange.failure
	case err == nil && !got.finished && !exchange.done():
		return got.answer, &Failure{Kind: Broken}
	}
	return got.answer, err
}

// askOnce asks for the whole answer.
func (c *completions) askOnce(ctx context.Context, service *openai.ChatCompletionService, params openai.ChatCompletionNewParams, got *collected) error {
	completion, err := service.New(ctx, params)
	if err != nil {
		return &Failure{Kind: Unreadable} // all else the exchange has seen
	}
	got.about(completion.Model, completion.Usage)
	if len(completion.Choices) == 0 {
		return &Failure{Kind: Unreadable}
	}
	choice := &completion.Choices[0]
	got.end(choice.FinishReason)
	got.finished = true
	for _, call := range choice.Message.ToolCalls {
		if err := got.tool(len(got.answer.ToolCalls), call.ID, call.Function.Name, call.Function.Arguments); err != nil {
			return err
		}
	}
	return got.add(utf8Of(choice.Message.Content + choice.Message.Refusal))
}

// askStreaming asks for the answer piece by piece.
func (c *completions) askStreaming(ctx context.Context, service *openai.ChatCompletionService, params openai.ChatCompletionNewParams, got *collected, say func(string) error) error {
	params.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := service.NewStreaming(ctx, params)
	defer stream.Close()
	for stream.Next() {
		chunk := stream.Current()
		got.about(chunk.Model, chunk.Usage)
		for i := range chunk.Choices {
			choice := &chunk.Choices[i]
			if choice.Index != 0 {
				continue // one answer was asked for
			}
			for _, call := range choice.Delta.ToolCalls {
				if err := got.tool(int(call.Index), call.ID, call.Function.Name, call.Function.Arguments); err != nil {
					return err
				}
			}
			piece := utf8Of(choice.Delta.Content + choice.Delta.Refusal)
			if err := got.add(piece); err != nil {
				return err
			}
			got.end(choice.FinishReason)
			if piece == "" {
				continue
			}
			if err := say(piece); err != nil {
				return err
			}
		}
	}
	if stream.Err() != nil {
		return &Failure{Kind: Unreadable} // all else the exchange has seen
	}
	return nil
}

// messages is a request in the protocol's words.
func (c *completions) messages(req Request) []openai.ChatCompletionMessageParamUnion {
	list := make([]openai.ChatCompletionMessageParamUnion, 0, 1+len(req.History)+len(req.Messages))
	if c.system != "" {
		list = append(list, openai.SystemMessage(c.system))
	}
	for _, line := range req.History {
		switch line.Role {
		case User:
			list = append(list, openai.UserMessage(line.Text))
		case Assistant:
			list = append(list, openai.AssistantMessage(line.Text))
		case System:
			list = append(list, openai.SystemMessage(line.Text))
		}
	}
	for _, text := range req.Messages {
		list = append(list, openai.UserMessage(text))
	}
	return list
}

// What is kept of an answer beside its text: so many tools, and a name for the model of so many bytes.
const maxToolCalls, maxModel = 128, 128

// utf8Of is text with what is no UTF-8 replaced: the schema wants none, and the protocol's client lets it through.
func utf8Of(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// collected is what has come of an answer, up to a limit in bytes.
type collected struct {
	answer   Answer
	text     strings.Builder
	size     int // of text and tool calls
	limit    int
	finished bool // the agent said why it ended
}

// add adds text.
func (g *collected) add(piece string) error {
	if g.size+len(piece) > g.limit {
		return tooLarge(g.limit)
	}
	g.size += len(piece)
	g.text.WriteString(piece)
	return nil
}

// tool adds what a piece says of the tool at an index.
func (g *collected) tool(index int, id, name, arguments string) error {
	more := len(id) + len(name) + len(arguments)
	if index < 0 || index >= maxToolCalls || g.size+more > g.limit {
		return tooLarge(g.limit)
	}
	g.size += more
	for index >= len(g.answer.ToolCalls) {
		g.answer.ToolCalls = append(g.answer.ToolCalls, ToolCall{})
	}
	call := &g.answer.ToolCalls[index]
	call.ID += utf8Of(id)
	call.Name += utf8Of(name)
	call.Arguments += utf8Of(arguments)
	return nil
}

// about notes what model answers, and what it cost.
func (g *collected) about(model string, usage openai.CompletionUsage) {
	if model != "" && len(model) <= maxModel {
		g.answer.Model = strings.Clone(utf8Of(model)) // the client's text holds all of its event
	}
	if usage.JSON.PromptTokens.Valid() && usage.PromptTokens >= 0 {
		g.answer.InputTokens = new(usage.PromptTokens)
	}
	if usage.JSON.CompletionTokens.Valid() && usage.CompletionTokens >= 0 {
		g.answer.OutputTokens = new(usage.CompletionTokens)
	}
}

// end notes why the agent ended, if it did.
func (g *collected) end(reason string) {
	if reason != "" {
		g.finished = true
		g.answer.Incomplete = reason == "length" || reason == "content_filter"
	}
}

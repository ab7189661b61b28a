package otlp

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
)

// said is a message of the conventions: what was said to a model or by it.
type said struct {
	role   string
	texts  []string
	calls  []call // of tools: what the assistant asked for, or what came of it
	finish string
}

// call is of a tool. One that has only a result answers the call with its id.
type call struct{ id, name, arguments, result string }

// MaxMessages bounds the messages of one span that are looked at: those said last.
const MaxMessages = 1000

// messagesOf reads messages from an attribute: JSON, or a structured value. What is none is left out: the conventions change,
// and a part that is not understood must not cost the others.
func messagesOf(value *commonv1.AnyValue, role string) []said {
	return messagesIn(decoded(value), role)
}

// decoded is a value, with the JSON in a text decoded.
func decoded(value *commonv1.AnyValue) any {
	structured := plain(value)
	text, ok := structured.(string)
	if !ok {
		return structured
	}
	if trimmed := strings.TrimSpace(text); !strings.HasPrefix(trimmed, "[") && !strings.HasPrefix(trimmed, "{") {
		return text
	}
	if strings.Count(text, "{")+strings.Count(text, "[")+strings.Count(text, ",") > MaxValues {
		return nil // a value of two bytes takes some hundred once it is decoded
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	var fromText any
	if decoder.Decode(&fromText) != nil || decoder.More() {
		return text
	}
	return fromText
}

func messagesIn(value any, role string) (all []said) {
	switch value := value.(type) {
	case string:
		if value != "" {
			all = append(all, said{role: role, texts: []string{value}})
		}
	case []any:
		if len(value) > MaxMessages {
			value = value[len(value)-MaxMessages:]
		}
		for _, each := range value {
			all = append(all, messagesIn(each, role)...)
		}
	case map[string]any:
		if m, ok := messageIn(value, role); ok {
			all = append(all, m)
		}
	}
	return all
}

// messageIn reads one message: {role, parts: [{type, …}], finish_reason}, or in older conventions {role, content, tool_calls},
// or {message: {…}, finish_reason}. A part on its own, as system instructions are, is a message too.
func messageIn(object map[string]any, role string) (m said, ok bool) {
	if inner, nested := object["message"].(map[string]any); nested {
		m, ok = messageIn(inner, role)
		m.finish = firstText(object, "finish_reason")
		return m, ok
	}
	m = said{role: role, finish: firstText(object, "finish_reason")}
	if named := firstText(object, "role"); named != "" {
		m.role = named
	}
	parts, _ := object["parts"].([]any)
	switch content := object["content"].(type) {
	case string:
		if parts == nil {
			m.say(content)
		}
	case []any:
		parts = append(slices.Clone(parts), content...)
	}
	for _, each := range parts {
		switch part := each.(type) {
		case map[string]any:
			m.part(part)
		case string:
			m.say(part)
		}
	}
	calls, _ := object["tool_calls"].([]any)
	for _, each := range calls {
		if tool, ok := each.(map[string]any); ok {
			m.oldCall(tool)
		}
	}
	if m.role == "tool" && len(m.calls) == 0 {
		m.calls = []call{{id: firstText(object, "id", "tool_call_id"), name: firstText(object, "name"), result: m.text()}}
	}
	return m, len(m.texts) > 0 || len(m.calls) > 0 || len(parts) > 0
}

// flatMessages reads messages that are spread over attributes: prefix, the message's number from 0, and .role, .content and the
// like.
func flatMessages(a attributes, prefix, role string) (all []said) {
	for i := range MaxMessages {
		object := make(map[string]any)
		for _, member := range []string{"role", "content", "finish_reason", "tool_call_id"} {
			if value := a[prefix+strconv.Itoa(i)+"."+member]; value != nil {
				object[member] = plain(value)
			}
		}
		if len(object) == 0 {
			break
		}
		if m, ok := messageIn(object, role); ok {
			all = append(all, m)
		}
	}
	return all
}

// part adds a part of a message. Parts other than text and tools (reasoning, images, files) have no words that were said.
func (m *said) part(part map[string]any) {
	switch kind := firstText(part, "type"); kind {
	case "text", "input_text", "output_text", "":
		m.say(firstText(part, "content", "text"))
	case "tool_call":
		m.calls = append(m.calls, call{id: firstText(part, "id"), name: firstText(part, "name"), arguments: textOf(part["arguments"])})
	case "tool_call_response":
		result := part["response"]
		if result == nil {
			result = part["result"]
		}
		m.say(textOf(result))
		m.calls = append(m.calls, call{id: firstText(part, "id"), name: firstText(part, "name"), result: textOf(result)})
	}
}

// oldCall adds a call of {id, function: {name, arguments}}.
func (m *said) oldCall(tool map[string]any) {
	function, _ := tool["function"].(map[string]any)
	if function == nil {
		function = tool
	}
	m.calls = append(m.calls, call{id: firstText(tool, "id"), name: firstText(function, "name"), arguments: textOf(function["arguments"])})
}

func (m *said) say(text string) {
	if text != "" {
		m.texts = append(m.texts, text)
	}
}

func (m *said) text() string { return strings.Join(m.texts, "\n") }

func firstText(object map[string]any, names ...string) string {
	for _, name := range names {
		if text, ok := object[name].(string); ok && text != "" {
			return text
		}
	}
	return ""
}

// textOf is a value as text: itself, or JSON.
func textOf(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	}
	text, err := json.Marshal(value)
	if err != nil { // a number that JSON has not
		return ""
	}
	return string(text)
}

// isAssistant reports whether a message is one that a model said.
func (m *said) isAssistant() bool {
	return m.role == "assistant" || m.role == "model" || m.role == "ai"
}

// news is what is new in an input: what comes after the last message of the assistant's. first says that there is none.
func news(input []said) (fresh []said, first bool) {
	for i := len(input) - 1; i >= 0; i-- {
		if input[i].isAssistant() {
			return input[i+1:], false
		}
	}
	return input, true
}

// Package openaitest is a real HTTP server that speaks OpenAI's chat completions protocol, whole and streamed, well and badly.
package openaitest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// The models it knows, each of which behaves in its own way. Any other answers "You said: " and the last message.
const (
	Hang      = "hang"       // never answers
	Stall     = "stall"      // begins an answer and never goes on
	Garbage   = "garbage"    // answers what is no JSON
	HTML      = "html"       // answers a page
	Die       = "die"        // begins an answer and closes the connection
	DieClean  = "die-clean"  // begins an answer and ends it well formed, but without an end of the protocol's
	Limited   = "limited"    // 429, come again in 7 seconds
	Forbidden = "forbidden"  // 401, with a body that repeats the key
	Broken    = "broken"     // 500
	Redirect  = "redirect"   // 307 to elsewhere
	Huge      = "huge"       // an answer of 10 MB, in one piece
	HugeFlood = "huge-flood" // likewise, in many
	HugeEvent = "huge-event" // a line that never ends
	Silent    = "silent"     // an answer without text
	Cut       = "cut"        // an answer that ends at the model's own limit
	Tools     = "tools"      // an answer that also calls a tool
	BadUTF8   = "bad-utf8"   // an answer that is no UTF-8
	NoUsage   = "no-usage"   // an answer without numbers of tokens
	Late      = "late"       // dies after the end of its answer
)

// Request is what an agent was asked.
type Request struct {
	Model    string
	Stream   bool
	Messages []Message
	Header   http.Header `json:"-"`
}

// Message is one of its messages.
type Message struct{ Role, Content string }

// String is the messages, a line each.
func (r Request) String() string {
	var b strings.Builder
	for _, m := range r.Messages {
		fmt.Fprintf(&b, "%s: %s\n", m.Role, m.Content)
	}
	return b.String()
}

// Server is a running server.
type Server struct {
	*httptest.Server
	// Answer is what well-behaved models answer; nil is "You said: " and the last message.
	Answer func(Request) string

	mu       sync.Mutex
	requests []Request // guarded by mu
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	s := &Server{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.CloseClientConnections() // those of models that hang
		s.Close()
	})
	return s
}

// BaseURL is what an agent is configured with.
func (s *Server) BaseURL() string { return s.URL + "/v1" }

// Requests are those that came so far.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Last is the last of them.
func (s *Server) Last(t testing.TB) Request {
	t.Helper()
	all := s.Requests()
	if len(all) == 0 {
		t.Fatal("the agent was not asked")
	}
	return all[len(all)-1]
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	var req Request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil || r.URL.Path != "/v1/chat/completions" || r.Method != http.MethodPost {
		http.Error(w, "not understood", http.StatusBadRequest)
		return
	}
	req.Header = r.Header.Clone()
	s.mu.Lock()
	s.requests = append(s.requests, req)
	s.mu.Unlock()
	switch req.Model {
	case Hang:
		<-r.Context().Done()
	case Limited:
		w.Header().Set("Retry-After", "7")
		http.Error(w, `{"error":{"message":"slow down"}}`, http.StatusTooManyRequests)
	case Forbidden:
		http.Error(w, `{"error":{"message":"bad key `+r.Header.Get("Authorization")+`"}}`, http.StatusUnauthorized)
	case Broken:
		http.Error(w, `{"error":{"message":"oops"}}`, http.StatusInternalServerError)
	case Redirect:
		http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
	case HTML:
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>welcome</html>")
	default:
		if req.Stream {
			s.stream(w, r, req)
		} else {
			s.whole(w, r, req)
		}
	}
}

const tenMB = 10_000_000

func (s *Server) answer(req Request) string {
	switch {
	case req.Model == Silent:
		return ""
	case req.Model == Huge:
		return strings.Repeat("x", tenMB)
	case req.Model == BadUTF8:
		return "caf\xe9"
	case s.Answer != nil:
		return s.Answer(req)
	}
	return "You said: " + req.Messages[len(req.Messages)-1].Content
}

func quoted(text string) string {
	if strings.Contains(text, "\xe9") {
		return `"` + text + `"` // as it is
	}
	quoted, _ := json.Marshal(text)
	return string(quoted)
}

const usage = `{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}`

func (s *Server) whole(w http.ResponseWriter, r *http.Request, req Request) {
	w.Header().Set("Content-Type", "application/json")
	switch req.Model {
	case Garbage:
		fmt.Fprint(w, "{{{ not json")
		return
	case Stall, Die, DieClean:
		if req.Model != DieClean {
			w.Header().Set("Content-Length", "1000")
		}
		fmt.Fprint(w, `{"id":"c1","choices":[{"index":0,`)
		http.NewResponseController(w).Flush()
		if req.Model == Stall {
			<-r.Context().Done()
		}
		return
	case HugeFlood, HugeEvent:
		flood(w, r, strings.Repeat(" ", 1<<16))
		return
	}
	reason, tools := "stop", ""
	switch req.Model {
	case Cut:
		reason = "length"
	case Tools:
		tools = `,"tool_calls":[{"id":"t1","type":"function","function":{"name":"look_up","arguments":"{\"order\":7}"}}]`
	}
	used := usage
	if req.Model == NoUsage {
		used = "null"
	}
	fmt.Fprintf(w, `{"id":"c1","object":"chat.completion","created":1,"model":%s,"choices":[{"index":0,"finish_reason":%q,"message":{"role":"assistant","content":%s%s}}],"usage":%s}`,
		quoted(req.Model+"-2026"), reason, quoted(s.answer(req)), tools, used)
}

// flood writes 10 MB, a piece at a time, as long as somebody reads.
func flood(w http.ResponseWriter, r *http.Request, piece string) {
	for sent := 0; sent < tenMB && r.Context().Err() == nil; sent += len(piece) {
		if _, err := w.Write([]byte(piece)); err != nil {
			return
		}
	}
}

func (s *Server) stream(w http.ResponseWriter, r *http.Request, req Request) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	control := http.NewResponseController(w)
	chunk := func(delta, reason string) {
		fmt.Fprintf(w, "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":%s,\"choices\":[{\"index\":0,\"delta\":{%s},\"finish_reason\":%s}]}\n\n",
			quoted(req.Model+"-2026"), delta, reason)
		control.Flush()
	}
	fmt.Fprint(w, ": a comment\n\n")
	chunk(`"role":"assistant","content":""`, "null")
	switch req.Model {
	case Garbage:
		fmt.Fprint(w, "data: {{{ not json\n\n")
		return
	case Stall, Die, DieClean:
		chunk(`"content":"It is "`, "null")
		switch req.Model {
		case Stall:
			<-r.Context().Done()
		case Die:
			panic(http.ErrAbortHandler)
		}
		return
	case HugeFlood:
		flood(w, r, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\""+strings.Repeat("x", 1<<10)+"\"}}]}\n\n")
		return
	case HugeEvent:
		fmt.Fprint(w, "data: ")
		flood(w, r, strings.Repeat(" ", 1<<16))
		return
	case Huge:
		chunk(`"content":`+quoted(s.answer(req)), "null")
		return
	}
	text := s.answer(req)
	for _, word := range strings.SplitAfter(text, " ") {
		chunk(`"content":`+quoted(word), "null")
	}
	reason := `"stop"`
	switch req.Model {
	case Cut:
		reason = `"length"`
	case Tools:
		chunk(`"tool_calls":[{"index":0,"id":"t1","type":"function","function":{"name":"look_up","arguments":"{\"order\""}}]`, "null")
		chunk(`"tool_calls":[{"index":0,"function":{"arguments":":7}"}}]`, "null")
	}
	chunk("", reason)
	if req.Model == Late {
		panic(http.ErrAbortHandler)
	}
	if req.Model != NoUsage {
		fmt.Fprintf(w, "data: {\"id\":\"c1\",\"choices\":[],\"usage\":%s}\n\n", usage)
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// Wait waits until n requests came, and fails the test if they do not.
func (s *Server) Wait(t testing.TB, n int) {
	t.Helper()
	for patience := time.Now().Add(time.Minute); len(s.Requests()) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(patience) {
			t.Fatalf("%d requests came, want %d", len(s.Requests()), n)
		}
	}
}

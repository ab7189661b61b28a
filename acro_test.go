package align

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// acroServer is an Acro endpoint: it checks the protocol, keeps the last document of each conversation, and answers as
// it is told to.
type acroServer struct {
	// fault plays in place of an answer where it is not nil and returns true. It runs with the lock held.
	fault func(n int, doc *acroDoc, w http.ResponseWriter) bool

	mu       sync.Mutex // guards all below, and fault's own
	problems []string
	requests []acroDoc // every well-formed one, as it came
	stored   map[string]acroDoc
	headers  []http.Header
}

// acroDoc is a document as the endpoint reads it, and not as the SDK does.
type acroDoc struct {
	ConversationID      string `json:"conversationId"`
	Start, End          string
	Lines               []acroLine
	Duration            *int64
	Transfer, Completed *bool

	CustomerID    string `json:"customerId"`
	CustomerEmail string `json:"customerEmail"`
	CustomerPhone string `json:"customerPhone"`
	AgentID       string `json:"agentId"`
	AgentVersion  string `json:"agentVersion"`
	CompanyID     string `json:"externalCompanyId"`
	CompanyName   string `json:"externalCompanyName"`
	CompanyType   string `json:"externalCompanyType"`
	Source        string
	TextURL       string `json:"textUrl"`
	AudioURL      string `json:"audioUrl"`

	at time.Time
}

type acroLine struct {
	Role      string
	Content   *string
	Timestamp *string
}

// said is a document's lines in short.
func (d acroDoc) said() string {
	var text []string
	for _, line := range d.Lines {
		content := "null"
		if line.Content != nil {
			content = *line.Content
		}
		text = append(text, line.Role+":"+content)
	}
	return strings.Join(text, " ")
}

const (
	acroApplication = "app-1"
	acroSecret      = "secret-1"
)

func (s *acroServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	s.headers = append(s.headers, r.Header)
	switch {
	case r.Method != http.MethodPost || r.URL.Path != "/"+acroApplication+"/conversation":
		s.refuse(w, 404, "no such application")
		return
	case r.Header.Get("Authorization") != "Bearer "+acroSecret:
		s.refuse(w, 401, "wrong secret")
		return
	case r.Header.Get("Content-Type") != "application/json" || r.Header.Get("Content-Encoding") != "":
		s.refuse(w, 415, "wrong type")
		return
	case r.ContentLength != int64(len(body)) || r.Header.Get("Connect-Protocol-Version") != "":
		s.problems = append(s.problems, fmt.Sprint("headers ", r.Header))
	}
	if string(body) == "{}" { // the control
		s.refuse(w, 400, "conversationId is required")
		return
	}
	var doc acroDoc
	if err := json.Unmarshal(body, &doc); err != nil {
		s.problems = append(s.problems, err.Error())
		s.refuse(w, 400, "no JSON")
		return
	}
	if parsed, err := ParseTranscript(body); err != nil || parsed.UnknownFields > 0 || !isUUID(doc.ConversationID) {
		s.problems = append(s.problems, fmt.Sprintf("%v: %s", err, body))
	}
	doc.at = time.Now()
	s.requests = append(s.requests, doc)
	if s.fault != nil && s.fault(len(s.requests)-1, &doc, w) {
		return
	}
	status := 201
	if _, known := s.stored[doc.ConversationID]; known {
		status = 200
	}
	s.store(doc)
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"conversationId":%q,"requestId":"req_%d"}`, doc.ConversationID, len(s.requests))
}

func (s *acroServer) store(doc acroDoc) {
	if s.stored == nil {
		s.stored = make(map[string]acroDoc)
	}
	s.stored[doc.ConversationID] = doc
}

func (s *acroServer) refuse(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"error":%q,"requestId":"req_%d"}`, text, len(s.headers))
}

// RoundTrip serves without a network, in the time of a bubble.
func (s *acroServer) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("connection reset")
		}
	}()
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Result(), nil
}

func (s *acroServer) all() []acroDoc {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *acroServer) get(session string) acroDoc {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stored[AcroConversationID(session)]
}

func newAcroClient(t testing.TB, s *acroServer, change func(*Config)) *Client {
	t.Helper()
	cfg := Config{
		Acro: AcroConfig{ApplicationID: acroApplication}, APIKey: acroSecret, Host: "https://acro.example", Logger: discard,
		HTTPClient: &http.Client{Transport: s},
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, problem := range s.problems {
			t.Error(problem)
		}
	})
	return c
}

// ok fails the test for any error.
func ok(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// acroTest runs f in a bubble with an endpoint and a client of it.
func acroTest(t *testing.T, change func(*Config), f func(t *testing.T, c *Client, s *acroServer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &acroServer{}
		c := newAcroClient(t, s, change)
		f(t, c, s)
		c.Close(within(t, time.Minute))
		st := c.Stats()
		checkInvariant(t, st)
		if st.Pending != 0 || st.PendingBytes != 0 {
			t.Errorf("left behind: %+v", st)
		}
	})
}

func message(session string, index int, role Role, content string) Message {
	return Message{SessionID: session, Index: index, Role: role, Content: content}
}

func TestAcroConversationIsPostedWhenItsSessionCloses(t *testing.T) { // AC-1, AC-2, AC-6, AC-7, AC-10, AC-11
	acroTest(t, nil, func(t *testing.T, c *Client, s *acroServer) {
		start := time.Now()
		ok(t, c.IdentifyUser(bg, User{ID: "u1", Email: "ada@example.com", Traits: map[string]any{"phone": "+44"}, Company: &Company{ID: "c1", Name: "Example", Type: "shop"}}),
			c.OpenSession(bg, Session{ID: "s1", UserID: "u1", AssistantID: "support", Source: "site"}),
			c.CreateMessage(bg, message("s1", 3, RoleHuman, "third <&>")),
			c.CreateMessage(bg, message("s1", 1, RoleUser, "old")),
			c.CreateMessage(bg, message("s1", 5, RoleSystem, "fifth")),
			c.CreateMessage(bg, message("s1", 4, RoleTool, "fourth")),
			c.CreateMessage(bg, message("s1", 2, RoleAssistant, "second")))
		time.Sleep(time.Minute)
		ok(t, c.CreateMessage(bg, message("s1", 1, RoleUser, "first")))
		time.Sleep(time.Minute)
		if n := len(s.all()); n != 0 {
			t.Fatalf("%d requests before it ended", n)
		}
		if st := c.Stats(); st.Pending != 8 || st.Delivered != 0 {
			t.Errorf("%+v", st)
		}
		ok(t, c.CloseSession(bg, SessionEnd{SessionID: "s1", Transfer: new(true), Completed: new(false)}))
		synctest.Wait()
		if n := len(s.all()); n != 1 {
			t.Fatalf("%d requests", n)
		}
		d := s.get("s1")
		if want := "USER:first AI_ASSISTANT:second HUMAN:third <&> TOOL:fourth system:fifth"; d.said() != want {
			t.Errorf("said %s", d.said())
		}
		if d.CustomerID != "u1" || d.CustomerEmail != "ada@example.com" || d.CustomerPhone != "+44" || d.CompanyID != "c1" || d.CompanyName != "Example" ||
			d.CompanyType != "shop" || d.AgentID != "support" || d.Source != "site" || d.Transfer == nil || !*d.Transfer || d.Completed == nil || *d.Completed {
			t.Errorf("%+v", d)
		}
		if d.Start != documentTime(start) || d.End != documentTime(start.Add(time.Minute)) || *d.Lines[0].Timestamp != documentTime(start.Add(time.Minute)) {
			t.Errorf("from %s to %s, first line %s", d.Start, d.End, *d.Lines[0].Timestamp)
		}
		if st := c.Stats(); st.Delivered != 9 || st.Pending != 0 || st.Accepted != 9 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAcroTranscriptIsPostedAtOnceAsItWasGiven(t *testing.T) { // AC-1, AC-3 to AC-13
	acroTest(t, nil, func(t *testing.T, c *Client, s *acroServer) {
		in := example()
		ok(t, c.RecordTranscript(bg, in))
		synctest.Wait()
		d := s.get(conversationID)
		d.at = time.Time{}
		text := func(s string) *string { return &s }
		want := acroDoc{
			ConversationID: conversationID, Start: "2024-01-01T00:00:00Z", End: "2024-01-01T00:05:00.123456Z",
			Lines: []acroLine{
				{"AI_ASSISTANT", in.Lines[0].Content, text("2024-01-01T00:00:00Z")},
				{"USER", in.Lines[1].Content, text("2024-01-01T00:00:05.000005Z")},
				{"TOOL", nil, text("2024-01-01T00:00:06Z")},
				{"HUMAN", in.Lines[3].Content, nil},
			},
			Duration: new(int64(300)), Transfer: new(false), Completed: new(true),
			CustomerID: in.CustomerID, CustomerEmail: in.CustomerEmail, CustomerPhone: in.CustomerPhone, AgentID: in.AgentID, AgentVersion: in.AgentVersion,
			CompanyID: in.ExternalCompanyID, CompanyName: in.ExternalCompanyName, CompanyType: in.ExternalCompanyType,
			Source: in.Source, TextURL: in.TextURL, AudioURL: in.AudioURL,
		}
		if !reflect.DeepEqual(d, want) {
			t.Errorf("%+v\nwant %+v", d, want)
		}
		if st := c.Stats(); st.Delivered != 7 || st.Unsaid != 0 {
			t.Errorf("%+v", st)
		}
		// Again, and shorter: it replaces the whole.
		ok(t, c.RecordTranscript(bg, minimal(TranscriptLine{Role: TranscriptUser, Content: new("only")})))
		synctest.Wait()
		if d := s.get(conversationID); d.said() != "USER:only" || d.AgentID != "" || d.Duration != nil || d.CustomerID != "" || d.End != "" {
			t.Errorf("%+v", d)
		}
	})
}

func TestAcroTranscriptWithoutLinesIsPosted(t *testing.T) { // AC-12
	acroTest(t, nil, func(t *testing.T, c *Client, s *acroServer) {
		ok(t, c.RecordTranscript(bg, minimal()))
		synctest.Wait()
		if all := s.all(); len(all) != 1 || all[0].Lines == nil || len(all[0].Lines) != 0 {
			t.Errorf("%+v", all)
		}
	})
}

func TestAcroIdleSessionIsPostedAndAgainWholeWhenItGoesOn(t *testing.T) { // AC-13
	acroTest(t, nil, func(t *testing.T, c *Client, s *acroServer) {
		start := time.Now()
		ok(t, c.OpenSession(bg, Session{ID: "s1", UserID: "u1"}), c.CreateMessage(bg, message("s1", 1, RoleUser, "a")))
		time.Sleep(DefaultIdleTimeout + time.Second)
		if d := s.get("s1"); d.said() != "USER:a" || d.End != documentTime(start) || d.at != start.Add(DefaultIdleTimeout) {
			t.Fatalf("%+v", d)
		}
		time.Sleep(DefaultIdleTimeout - time.Minute) // still known
		ok(t, c.CreateMessage(bg, message("s1", 2, RoleAssistant, "b")))
		time.Sleep(DefaultIdleTimeout + time.Second)
		if d := s.get("s1"); d.said() != "USER:a AI_ASSISTANT:b" || d.CustomerID != "u1" {
			t.Errorf("%+v", d)
		}
		if st := c.Stats(); st.Delivered != 5 || st.IdleCloses != 2 || len(s.all()) != 2 {
			t.Errorf("%+v, %d requests", st, len(s.all()))
		}
		time.Sleep(2 * DefaultIdleTimeout) // no longer known
		ok(t, c.CreateMessage(bg, message("s1", 3, RoleUser, "c")), c.CloseSession(bg, SessionEnd{SessionID: "s1"}))
		synctest.Wait()
		if d := s.get("s1"); d.said() != "USER:c" {
			t.Errorf("%+v", d)
		}
	})
}

func TestAcroFlushPostsOpenSessionsAsTheyStand(t *testing.T) {
	acroTest(t, nil, func(t *testing.T, c *Client, s *acroServer) {
		ok(t, c.CreateMessage(bg, message("s1", 1, RoleUser, "a")), c.Flush(bg))
		if d := s.get("s1"); d.said() != "USER:a" || d.End != "" {
			t.Errorf("%+v", d)
		}
		ok(t, c.Flush(bg)) // no news
		ok(t, c.CreateMessage(bg, message("s1", 2, RoleUser, "b")), c.CloseSession(bg, SessionEnd{SessionID: "s1"}), c.Flush(bg))
		if d := s.get("s1"); d.said() != "USER:a USER:b" || d.End == "" || len(s.all()) != 2 {
			t.Errorf("%+v, %d requests", d, len(s.all()))
		}
	})
}

func TestAcroSessionsThatNobodyEndsAreForgotten(t *testing.T) {
	acroTest(t, func(cfg *Config) { cfg.IdleTimeout = -1 }, func(t *testing.T, c *Client, s *acroServer) {
		for i := range 10 {
			ok(t, c.CreateMessage(bg, message(fmt.Sprint("s", i), 1, RoleUser, "a")))
		}
		ok(t, c.Flush(bg))
		time.Sleep(DefaultIdleTimeout + time.Second)
		before := c.Stats().PendingBytes
		ok(t, c.CreateMessage(bg, message("s10", 1, RoleUser, "a")))
		if after := c.Stats().PendingBytes; after > before/2 {
			t.Errorf("%d bytes, %d before", after, before)
		}
	})
}

func TestAcroCloseLosesNoOpenSession(t *testing.T) {
	for _, end := range []bool{false, true} {
		acroTest(t, func(cfg *Config) { cfg.CloseSessionsOnShutdown = end }, func(t *testing.T, c *Client, s *acroServer) {
			for i := range 20 {
				ok(t, c.CreateMessage(bg, message(fmt.Sprint("s", i), 1, RoleUser, "a")))
			}
			ok(t, c.Close(bg))
			if n := len(s.all()); n != 20 || (s.get("s7").End != "") != end {
				t.Errorf("%d requests, %+v", n, s.get("s7"))
			}
		})
	}
}

func TestAcroSessionIDBecomesAUUID(t *testing.T) { // AC-4
	for in, want := range map[string]string{
		"1B4E28BA-2FA1-41D2-883F-0016D3CCA427": conversationID,
		"s1":                                   "e4feb1b3-e570-53fe-8121-9b00cd8ac726",
	} {
		got := AcroConversationID(in)
		if got != want {
			t.Errorf("%s became %s", in, got)
		}
	}
}

func TestAcroCountsWhatItCannotSay(t *testing.T) {
	var drops []Drop
	acroTest(t, func(cfg *Config) { cfg.OnDrop = func(d Drop) { drops = append(drops, d) } }, func(t *testing.T, c *Client, s *acroServer) {
		said := message("s1", 1, RoleUser, "a")
		said.Intent = &Intent{Name: "greeting"}
		ok(t, c.CreateMessage(bg, said),
			c.CreateMessage(bg, Message{SessionID: "s1", Index: 2, Role: RoleAssistant, Content: "b", Generation: &Generation{Model: "m"}}),
			c.CreateMessage(bg, Message{SessionID: "s1", Index: 3, Role: RoleAssistant, Content: "c", Properties: Properties{"a": "b"}}),
			c.CreateMessage(bg, message("s1", 4, RoleUser, "d")),
			c.OpenSession(bg, Session{ID: "s1", UserID: "u1", Title: "x"}),
			c.OpenSession(bg, Session{ID: "s1", UserID: "u1", Data: map[string]any{DataAgentVersion: "2"}}),
			c.OpenSession(bg, Session{ID: "s1", UserID: "u1", Data: map[string]any{"other": "2"}}),
			c.IdentifyUser(bg, User{ID: "u1", DisplayName: "Ada"}),
			c.CreateMessageFeedback(bg, MessageFeedback{SessionID: "s1", Index: 1, Type: ThumbsUp}),
			c.CreateSessionFeedback(bg, SessionFeedback{SessionID: "s1", Type: ThumbsUp}),
			c.CloseSession(bg, SessionEnd{SessionID: "unheard of"}),
			c.CloseSession(bg, SessionEnd{SessionID: "s1", Resolution: ResolutionResolved, Reason: CloseTransfer}))
		ctx, receipt := WithReceipt(bg)
		ok(t, c.CreateSessionFeedback(ctx, SessionFeedback{SessionID: "s1", Type: ThumbsUp}))
		if dropped, is := errors.AsType[*DropError](receipt.Wait(bg)); !is || dropped.Reason != DropUnsupported {
			t.Errorf("receipt says %v", dropped)
		}
		synctest.Wait()
		st := c.Stats()
		if st.Unsaid != 7 || st.Dropped[DropUnsupported] != 4 || st.Delivered != 9 || len(drops) != 4 {
			t.Errorf("%+v, %v", st, drops)
		}
		if d := s.get("s1"); d.said() != "USER:a AI_ASSISTANT:b AI_ASSISTANT:c USER:d" || d.AgentVersion != "2" || d.Transfer == nil || !*d.Transfer {
			t.Errorf("%+v", d)
		}
	})
}

func TestAcroUserWithoutConversationIsTold(t *testing.T) {
	var drops []Drop
	acroTest(t, func(cfg *Config) { cfg.OnDrop = func(d Drop) { drops = append(drops, d) } }, func(t *testing.T, c *Client, s *acroServer) {
		ok(t, c.IdentifyUser(bg, User{ID: "u1"}), c.Flush(bg))
		if st := c.Stats(); st.Pending != 1 {
			t.Errorf("%+v", st)
		}
		time.Sleep(DefaultIdleTimeout + time.Second)
		ok(t, c.IdentifyUser(bg, User{ID: "u2"})) // u1 has waited long enough
		if len(drops) != 1 || drops[0].Reason != DropUnsupported || drops[0].EventType != EventIdentify || drops[0].SessionID != "" {
			t.Errorf("%v", drops)
		}
		for range 3 { // seen again and again, but never in a conversation
			time.Sleep(DefaultIdleTimeout - time.Minute)
			ok(t, c.IdentifyUser(bg, User{ID: "u2", Email: "ada@example.com"}))
		}
		if st := c.Stats(); st.Dropped[DropUnsupported] != 3 || st.Pending != 2 {
			t.Errorf("%+v", st)
		}
		ok(t, c.Close(bg)) // which is no failure to deliver
		if st := c.Stats(); st.Dropped[DropUnsupported] != 5 || len(drops) != 5 {
			t.Errorf("%+v", st)
		}
	})
}

func TestAcroAnswersAreUnderstood(t *testing.T) { // AC-2
	for status, want := range map[int]DropReason{400: DropRejected, 413: DropRejected, 415: DropRejected, 422: DropRejected, 200: "", 201: "", 202: "", 429: "", 500: "", 503: ""} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			var drops []Drop
			acroTest(t, func(cfg *Config) { cfg.OnDrop = func(d Drop) { drops = append(drops, d) } }, func(t *testing.T, c *Client, s *acroServer) {
				failures := 2
				s.fault = func(_ int, doc *acroDoc, w http.ResponseWriter) bool {
					if doc.said() != "USER:bad" || status >= 429 && status != 422 && failures == 0 {
						return false
					}
					failures--
					if status < 300 {
						s.store(*doc)
						w.WriteHeader(status)
						return true
					}
					w.WriteHeader(status)
					io.WriteString(w, `{"error":"no","requestId":"req_7"}`)
					return true
				}
				for _, text := range []string{"bad", "good"} {
					ok(t, c.CreateMessage(bg, message(text, 1, RoleUser, text)), c.CloseSession(bg, SessionEnd{SessionID: text}))
				}
				ok(t, c.Flush(within(t, time.Hour)))
				if s.get("good").said() != "USER:good" {
					t.Error("the other is not there")
				}
				st := c.Stats()
				if want == "" {
					if st.Delivered != 4 || s.get("bad").said() != "USER:bad" {
						t.Errorf("%+v", st)
					}
					return
				}
				if st.Delivered != 2 || st.Dropped[want] != 2 || len(drops) != 2 || len(s.all()) != 2 {
					t.Fatalf("%+v %v, %d requests", st, drops, len(s.all()))
				}
				refusal, is := errors.AsType[*StatusError](drops[0].Err)
				if !is || refusal.Code != status || refusal.RequestID != "req_7" || !strings.Contains(refusal.Error(), "req_7") ||
					drops[0].SessionID != "bad" || drops[0].EventType != EventCreateMessage || drops[1].EventType != EventCloseSession {
					t.Errorf("%+v, %v", drops[0], drops[0].Err)
				}
			})
		})
	}
}

func TestAcroBlockedClientKeepsItsConversations(t *testing.T) { // AC-2
	for name, change := range map[string]func(*Config){
		"401": func(cfg *Config) { cfg.APIKey = "wrong" },
		"404": func(cfg *Config) { cfg.Acro.ApplicationID = "another" },
		"403": nil,
	} {
		t.Run(name, func(t *testing.T) {
			acroTest(t, change, func(t *testing.T, c *Client, s *acroServer) {
				s.fault = func(_ int, _ *acroDoc, w http.ResponseWriter) bool {
					s.refuse(w, 403, "the secret of another application")
					return true
				}
				ok(t, c.CreateMessage(bg, message("s1", 1, RoleUser, "a")), c.CloseSession(bg, SessionEnd{SessionID: "s1"}))
				time.Sleep(10 * time.Minute)
				s.mu.Lock()
				n := len(s.headers)
				s.mu.Unlock()
				if st := c.Stats(); st.Pending != 2 || n > 6 {
					t.Errorf("%+v, %d requests", st, n)
				}
				if status, is := errors.AsType[*StatusError](c.Health()); !is || fmt.Sprint(status.Code) != name {
					t.Errorf("%v", c.Health())
				}
				if err := c.Close(within(t, time.Second)); err == nil || c.Stats().Dropped[DropClosed] != 2 {
					t.Errorf("%v %+v", err, c.Stats())
				}
			})
		})
	}
}

// Something in front of the endpoint that answers 400 to everything is not about the conversation.
func TestAcroRefusalInOtherWordsIsCheckedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var front atomic.Bool
		front.Store(true)
		s := &acroServer{}
		c := newAcroClient(t, s, func(cfg *Config) {
			cfg.HTTPClient = &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				if front.Load() {
					return &http.Response{StatusCode: 400, Body: io.NopCloser(strings.NewReader("<h1>Bad Request</h1>")), Header: http.Header{}}, nil
				}
				return s.RoundTrip(r)
			})}
		})
		ok(t, c.CreateMessage(bg, message("s1", 1, RoleUser, "a")), c.CloseSession(bg, SessionEnd{SessionID: "s1"}))
		time.Sleep(time.Minute)
		if st := c.Stats(); st.Pending != 2 || c.Health() == nil {
			t.Errorf("%+v", st)
		}
		front.Store(false)
		time.Sleep(10 * time.Minute)
		if st := c.Stats(); st.Delivered != 2 {
			t.Errorf("%+v", st)
		}
		// An endpoint that is well, and a refusal in nobody's words: it is the conversation.
		s.mu.Lock()
		s.fault = func(_ int, doc *acroDoc, w http.ResponseWriter) bool {
			if doc.said() == "USER:large" {
				http.Error(w, "<h1>Too large</h1>", http.StatusRequestEntityTooLarge)
				return true
			}
			return false
		}
		s.mu.Unlock()
		for range 2 { // also right after another drop, when the endpoint's health is in doubt
			ok(t, c.CreateMessage(bg, message("s2", 1, RoleUser, "large")), c.CloseSession(bg, SessionEnd{SessionID: "s2"}), c.Flush(bg))
		}
		if st := c.Stats(); st.Dropped[DropRejected] != 4 {
			t.Errorf("%+v", st)
		}
		ok(t, c.Close(bg))
	})
}

func TestAcroReceiptWaitsForItsConversation(t *testing.T) {
	acroTest(t, nil, func(t *testing.T, c *Client, s *acroServer) {
		ctx, receipt := WithReceipt(bg)
		ok(t, c.CreateMessage(ctx, message("s1", 1, RoleUser, "a")), c.CreateMessage(ctx, message("s1", 2, RoleUser, "b")))
		if err := receipt.Wait(within(t, time.Minute)); err != context.DeadlineExceeded {
			t.Error(err)
		}
		ok(t, c.CloseSession(bg, SessionEnd{SessionID: "s1"}), receipt.Wait(within(t, time.Minute)))
	})
}

func TestAcroMemoryStaysWithinTheBuffersBudget(t *testing.T) {
	content := strings.Repeat("x", 10_000)
	set := func(overflow Overflow) func(*Config) {
		return func(cfg *Config) {
			cfg.Overflow, cfg.MaxContentBytes, cfg.BufferBytes = overflow, 20_000, 200_000
		}
	}
	t.Run("reject", func(t *testing.T) {
		acroTest(t, set(OverflowReject), func(t *testing.T, c *Client, s *acroServer) {
			n := 0
			for ; c.CreateMessage(bg, message(fmt.Sprint("s", n), 1, RoleUser, content)) == nil; n++ {
			}
			if st := c.Stats(); n < 15 || st.PendingBytes > 200_000 || st.Full != 1 || st.Accepted != uint64(n) {
				t.Errorf("%d, %+v", n, st)
			}
			// The end of a session always fits, and makes room.
			ok(t, c.CloseSession(bg, SessionEnd{SessionID: "s0"}), c.Flush(bg), c.CreateMessage(bg, message("s0", 1, RoleUser, content)))
		})
	})
	t.Run("an end always fits", func(t *testing.T) {
		acroTest(t, func(cfg *Config) { cfg.BufferEvents = 5 }, func(t *testing.T, c *Client, s *acroServer) {
			for i := range 5 {
				ok(t, c.CreateMessage(bg, message("s1", i+1, RoleUser, "a")))
			}
			if err := c.CreateMessage(bg, message("s1", 6, RoleUser, "a")); err != ErrBufferFull {
				t.Error(err)
			}
			ok(t, c.CloseSession(bg, SessionEnd{SessionID: "s1"}))
			synctest.Wait()
			if st := c.Stats(); st.Delivered != 6 {
				t.Errorf("%+v", st)
			}
		})
	})
	t.Run("on its way and kept", func(t *testing.T) {
		acroTest(t, set(OverflowReject), func(t *testing.T, c *Client, s *acroServer) {
			s.fault = func(_ int, _ *acroDoc, w http.ResponseWriter) bool { s.refuse(w, 503, "no"); return true }
			for i := range 15 {
				ok(t, c.CreateMessage(bg, message("s1", i+1, RoleUser, content)))
			}
			ok(t, c.CloseSession(bg, SessionEnd{SessionID: "s1"}))
			if st := c.Stats(); st.Pending != 16 || st.PendingBytes > 200_000 {
				t.Errorf("%+v", st)
			}
		})
	})
	t.Run("full and idle", func(t *testing.T) {
		acroTest(t, set(OverflowReject), func(t *testing.T, c *Client, s *acroServer) {
			n := 0
			for ; c.CreateMessage(bg, message(fmt.Sprint("s", n), 1, RoleUser, content)) == nil; n++ {
			}
			time.Sleep(DefaultIdleTimeout + time.Minute)
			if st := c.Stats(); int(st.IdleCloses) != n || len(s.all()) != n || st.Pending != 0 {
				t.Errorf("%d, %+v, %d requests", n, st, len(s.all()))
			}
		})
	})
	t.Run("kept sessions make way", func(t *testing.T) {
		acroTest(t, set(OverflowReject), func(t *testing.T, c *Client, s *acroServer) {
			for i := range 100 {
				id := fmt.Sprint("s", i)
				ok(t, c.CreateMessage(bg, message(id, 1, RoleUser, content)), c.CloseSession(bg, SessionEnd{SessionID: id}), c.Flush(bg))
				if st := c.Stats(); st.PendingBytes > 200_000 {
					t.Fatalf("%+v", st)
				}
			}
		})
	})
	t.Run("drop oldest", func(t *testing.T) {
		acroTest(t, set(OverflowDropOldest), func(t *testing.T, c *Client, s *acroServer) {
			for i := range 100 {
				ok(t, c.CreateMessage(bg, message(fmt.Sprint("s", i), 1, RoleUser, content)))
			}
			st := c.Stats()
			if st.Dropped[DropOverflow] < 80 || st.PendingBytes > 200_000 {
				t.Errorf("%+v", st)
			}
			ok(t, c.Close(bg))
			if s.get("s99").said() == "" || s.get("s0").said() != "" {
				t.Error("dropped the wrong ones")
			}
		})
	})
	t.Run("block", func(t *testing.T) {
		acroTest(t, set(OverflowBlock), func(t *testing.T, c *Client, s *acroServer) {
			n := 0
			for ; ; n++ {
				if err := c.CreateMessage(within(t, time.Second), message(fmt.Sprint("s", n), 1, RoleUser, content)); err != nil {
					if !errors.Is(err, ErrBufferFull) || !errors.Is(err, context.DeadlineExceeded) {
						t.Error(err)
					}
					break
				}
			}
			go func() {
				time.Sleep(time.Minute)
				c.CloseSession(bg, SessionEnd{SessionID: "s0"})
			}()
			ok(t, c.CreateMessage(within(t, time.Hour), message("late", 1, RoleUser, content)))
		})
	})
	t.Run("users", func(t *testing.T) {
		acroTest(t, func(cfg *Config) { cfg.BufferEvents = 50 }, func(t *testing.T, c *Client, s *acroServer) {
			for i := range 200 {
				ok(t, c.IdentifyUser(bg, User{ID: fmt.Sprint("u", i)}))
			}
			ok(t, c.CreateMessage(bg, message("s1", 1, RoleUser, "a")))
			if st := c.Stats(); st.Dropped[DropUnsupported] != 151 || st.Pending != 50 {
				t.Errorf("%+v", st)
			}
		})
	})
}

func TestAcroWithoutContentSaysNothingButTheRoles(t *testing.T) {
	acroTest(t, func(cfg *Config) { cfg.NoContent = true }, func(t *testing.T, c *Client, s *acroServer) {
		ok(t, c.CreateMessage(bg, message("s1", 1, RoleUser, "secret")), c.Flush(bg))
		if d := s.get("s1"); d.said() != "USER:null" {
			t.Error(d.said())
		}
	})
}

func TestAcroSettingsAreChecked(t *testing.T) {
	t.Setenv("ALIGNAI_HOST", "")
	for want, cfg := range map[string]Config{
		"Config.Host setting":               {Acro: AcroConfig{ApplicationID: "a"}, APIKey: "k"},
		"Config.Strict setting":             {Acro: AcroConfig{ApplicationID: "a"}, APIKey: "k", Host: "https://x", Strict: true},
		"Config.Acro.ApplicationID setting": {Acro: AcroConfig{ApplicationID: "a/b"}, APIKey: "k", Host: "https://x"},
		"Config.APIKey required":            {Acro: AcroConfig{ApplicationID: "a"}, Host: "https://x"},
	} {
		c, err := New(cfg)
		if got := fieldsOf(t, err); !slices.Equal(got, []string{want}) {
			t.Errorf("%v, want %s", got, want)
		}
		c.Close(bg)
	}
	for _, id := range []string{".", "..", "a b", "é", strings.Repeat("a", 129), "a?"} {
		if _, err := New(Config{Acro: AcroConfig{ApplicationID: id}, APIKey: "k", Host: "https://x"}); err == nil {
			t.Errorf("%q is taken", id)
		}
	}
}

// Over real HTTP, with every fault the network and the endpoint have.
func TestAcroDeliversOverHTTPThroughFaults(t *testing.T) { // AC-1, AC-2
	rng := rand.New(rand.NewPCG(1, 2))
	s := &acroServer{}
	s.fault = func(_ int, doc *acroDoc, w http.ResponseWriter) bool {
		if doc.said() == "USER:poison" {
			s.refuse(w, 422, "poison")
			return true
		}
		switch rng.IntN(4) {
		case 0:
			s.refuse(w, 500, "no")
		case 1:
			s.store(*doc)
			panic(http.ErrAbortHandler) // stored, and the answer is lost
		case 2:
			w.Header().Set("Retry-After", "0")
			s.refuse(w, 429, "slow down")
		default:
			return false
		}
		return true
	}
	srv := httptest.NewUnstartedServer(s)
	srv.Config.ErrorLog = slog.NewLogLogger(discard.Handler(), 0)
	srv.Start()
	defer srv.Close()
	c := newAcroClient(t, s, func(cfg *Config) {
		cfg.Host, cfg.HTTPClient, cfg.Senders, cfg.Overflow = srv.URL, srv.Client(), 4, OverflowBlock
	})
	all := dialogues(t, 10)
	for _, in := range all {
		ok(t, c.RecordTranscript(bg, in))
	}
	ok(t, c.CreateMessage(bg, message("bad", 1, RoleUser, "poison")), c.CloseSession(bg, SessionEnd{SessionID: "bad"}))
	ok(t, c.Close(within(t, time.Minute)))
	checkInvariant(t, c.Stats())
	if st := c.Stats(); st.Dropped[DropRejected] != 2 || st.Accepted != st.Delivered+2 {
		t.Errorf("%+v", st)
	}
	for _, in := range all {
		var want []string
		for _, line := range in.Lines {
			want = append(want, string(acroRoles[transcriptRoles[line.Role]])+":"+*line.Content)
		}
		if got := s.get(in.ConversationID).said(); got != strings.Join(want, " ") {
			t.Errorf("%s: %s", in.ConversationID, got)
		}
	}
}

// The endpoint is down, and then a dead process: what was open there is lost, and Close says how much.
func TestAcroCloseAccountsForWhatItCouldNotPost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	l.Close() // nobody listens
	var drops []Drop
	c, err := New(Config{
		Acro: AcroConfig{ApplicationID: "a"}, APIKey: "k", Host: "http://" + l.Addr().String(), Logger: discard,
		HTTPClient: &http.Client{Transport: &http.Transport{}},
		OnDrop:     func(d Drop) { drops = append(drops, d) },
	})
	ok(t, err)
	ok(t, c.IdentifyUser(bg, User{ID: "u1"}), c.OpenSession(bg, Session{ID: "s1", UserID: "u1"}), c.CreateMessage(bg, message("s1", 1, RoleUser, "a")),
		c.CreateMessage(bg, message("s2", 1, RoleUser, "a")), c.CloseSession(bg, SessionEnd{SessionID: "s2"}))
	ctx, cancel := context.WithCancel(bg)
	cancel()
	var lost *DeliveryError
	if err := c.Close(ctx); !errors.As(err, &lost) || lost.Dropped != 5 || len(drops) != 5 {
		t.Errorf("%v, %v", err, drops)
	}
	checkInvariant(t, c.Stats())
}

// However many goroutines record a session while it is posted, ended and opened again, and however often an attempt fails:
// the last thing the endpoint stored is all of it.
func TestAcroLastPostIsTheWholeSession(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 3))
			s := &acroServer{}
			s.fault = func(_ int, doc *acroDoc, w http.ResponseWriter) bool {
				switch rng.IntN(3) {
				case 0:
					s.refuse(w, 503, "no")
					return true
				case 1:
					s.store(*doc)
					panic(http.ErrAbortHandler)
				}
				return false
			}
			c := newAcroClient(t, s, func(cfg *Config) { cfg.Senders = 4 })
			var wg sync.WaitGroup
			for g := range 64 {
				wg.Go(func() {
					for i := range 5 {
						for version := range 2 {
							ok(t, c.CreateMessage(bg, message("s1", 1+g*5+i, RoleUser, fmt.Sprint("v", version))))
							time.Sleep(time.Duration(g*i+version) * time.Millisecond)
						}
						switch g {
						case 1:
							ok(t, c.CloseSession(bg, SessionEnd{SessionID: "s1"}))
						case 2:
							c.Flush(within(t, time.Millisecond))
						}
					}
				})
			}
			wg.Wait()
			ok(t, c.Close(within(t, time.Hour)))
			d := s.get("s1")
			if len(d.Lines) != 320 || strings.Contains(d.said(), "v0") {
				t.Errorf("%d lines, old versions: %t", len(d.Lines), strings.Contains(d.said(), "v0"))
			}
			if st := c.Stats(); st.Delivered != st.Accepted || st.Accepted != 645 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// playAcroWorld plays a random schedule against an endpoint with moods.
func playAcroWorld(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex // guards rng and told
	roll := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rng.IntN(n)
	}
	told := make(map[DropReason]uint64)
	ids := make(map[string]bool)
	s := &acroServer{}
	faulty := roll(101)
	s.fault = func(_ int, doc *acroDoc, w http.ResponseWriter) bool {
		if roll(100) >= faulty {
			return false
		}
		switch roll(5) {
		case 0:
			s.store(*doc)
			panic(http.ErrAbortHandler)
		case 1:
			panic(http.ErrAbortHandler)
		default:
			s.refuse(w, []int{400, 401, 413, 422, 429, 500, 503}[roll(7)], "a mood")
		}
		return true
	}
	keep := time.Duration(1+roll(20)) * time.Second
	c := newAcroClient(t, s, func(cfg *Config) {
		cfg.BufferEvents, cfg.Overflow, cfg.Senders = 10+roll(200), Overflow(roll(3)), 1+roll(4)
		cfg.MaxContentBytes, cfg.BufferBytes = 256, 45_000+roll(25_000)
		cfg.IdleTimeout, cfg.CloseSessionsOnShutdown = keep, roll(2) == 0
		cfg.OnDrop = func(d Drop) {
			mu.Lock()
			defer mu.Unlock()
			told[d.Reason]++
			if ids[d.EventID] {
				t.Errorf("told twice of %s", d.EventID)
			}
			ids[d.EventID] = true
		}
	})
	var wg sync.WaitGroup
	for g := range 1 + roll(16) {
		wg.Go(func() {
			index := 0
			for range roll(60) {
				session := fmt.Sprint("s", g, "-", roll(3))
				ctx, cancel := context.WithTimeout(bg, time.Duration(roll(2000))*time.Millisecond)
				index++
				var err error
				switch roll(12) {
				case 0:
					err = c.CloseSession(ctx, SessionEnd{SessionID: session})
				case 1:
					err = c.OpenSession(ctx, Session{ID: session, UserID: fmt.Sprint("u", g)})
				case 2:
					err = c.IdentifyUser(ctx, User{ID: fmt.Sprint("u", roll(4)), Email: "ada@example.com"})
				case 3:
					err = c.CreateSessionFeedback(ctx, SessionFeedback{SessionID: session, Type: ThumbsUp})
				case 4:
					in := minimal(slices.Repeat([]TranscriptLine{{Role: TranscriptUser, Content: new("line")}}, roll(9))...)
					in.ConversationID, in.CustomerID = AcroConversationID(session), fmt.Sprint("u", g)
					err = c.RecordTranscript(ctx, in)
				case 5:
					c.Flush(ctx)
				default:
					err = c.CreateMessage(ctx, message(session, 1+index%20, RoleUser, strings.Repeat("x", roll(300)+1)))
				}
				cancel()
				if err != nil && !errors.Is(err, ErrBufferFull) && !errors.Is(err, ErrClosed) {
					t.Error(err)
				}
				if st := c.Stats(); st.Accepted != st.Delivered+st.dropped()+st.Pending {
					t.Errorf("%+v", st)
				}
				if roll(3) == 0 {
					time.Sleep(time.Duration(roll(8000)) * time.Millisecond)
				}
			}
		})
	}
	if roll(2) == 0 {
		wg.Wait()
	}
	time.Sleep(time.Duration(roll(60)) * time.Second)
	err := c.Close(within(t, time.Duration(roll(30))*time.Second))
	wg.Wait()
	st := c.Stats()
	checkInvariant(t, st)
	if st.Pending != 0 || st.PendingBytes != 0 {
		t.Errorf("left behind: %+v", st)
	}
	if (st.Dropped[DropClosed] > 0) != (err != nil) {
		t.Errorf("%d lost at Close, which said %v", st.Dropped[DropClosed], err)
	}
	for _, reason := range slices.Sorted(mapKeys(told, st.Dropped)) {
		if told[reason] != st.Dropped[reason] {
			t.Errorf("%s: %d counted, %d told", reason, st.Dropped[reason], told[reason])
		}
	}
}

// mapKeys yields the keys of several maps.
func mapKeys[K cmp.Ordered, V any](all ...map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for _, m := range all {
			for k := range m {
				if !yield(k) {
					return
				}
			}
		}
	}
}

func TestAcroInvariantHoldsUnderRandomFaults(t *testing.T) {
	for seed := range someSchedules(4) {
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { playAcroWorld(t, seed) })
		})
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestAcroSilentInteractionEndsBesideKeptSessions(t *testing.T) {
	acroTest(t, func(cfg *Config) { cfg.BufferBytes, cfg.MaxContentBytes = 1<<20, 64<<10 }, func(t *testing.T, c *Client, s *acroServer) {
		c.Begin(InteractionStart{Input: "hello", ConversationID: "quiet"})
		for i := range 40 { // what has ended takes nearly all of the buffer all the time
			id := fmt.Sprint("s", i)
			for k := range 10 {
				ok(t, c.CreateMessage(bg, message(id, k+1, RoleUser, strings.Repeat("x", 6<<10))))
			}
			ok(t, c.CloseSession(bg, SessionEnd{SessionID: id}))
			time.Sleep(time.Minute)
		}
		if st := c.Stats(); st.Incomplete != 1 {
			t.Errorf("after 40 min: %+v", st)
		}
	})
}

func TestAcroSecondEndReplacesNothingWhereTheSessionMadeWay(t *testing.T) {
	const budget = 100 << 10
	acroTest(t, func(cfg *Config) { cfg.BufferBytes, cfg.MaxContentBytes = budget, 48<<10 }, func(t *testing.T, c *Client, s *acroServer) {
		ok(t, c.CreateMessage(bg, message("s1", 1, RoleUser, strings.Repeat("x", 20<<10))), c.CloseSession(bg, SessionEnd{SessionID: "s1"}))
		synctest.Wait()
		for i := 1; c.Stats().PendingBytes+1<<10 < budget; i++ { // so much that the end is what s1 has to make way for
			ok(t, c.CreateMessage(bg, message("s2", i, RoleUser, strings.Repeat("x", 512))))
		}
		for i := 1000; c.Stats().PendingBytes+heldCharge <= budget; i++ {
			left := int(budget - c.Stats().PendingBytes)
			ok(t, c.CreateMessage(bg, Message{SessionID: "s2", Index: i, Role: RoleUser, Content: strings.Repeat("x", max(left-2*heldCharge, 1))}))
		}
		if c.assembler.conversations[AcroConversationID("s1")] == nil {
			t.Fatal("it is gone before")
		}
		ok(t, c.CloseSession(bg, SessionEnd{SessionID: "s1"}))
		synctest.Wait()
		if n := len(s.get("s1").Lines); n != 1 {
			t.Errorf("the endpoint has %d lines of it now", n)
		}
		if st := c.Stats(); st.Dropped[DropUnsupported] != 1 {
			t.Errorf("%+v", st)
		}
	})
}

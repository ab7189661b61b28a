package align

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// problems lists the *FieldErrors joined in err as "Field rule limit".
func problems(t *testing.T, err error) (list []string) {
	t.Helper()
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("%T is not a joined error: %v", err, err)
	}
	for _, e := range joined.Unwrap() {
		var fe *FieldError
		if !errors.As(e, &fe) {
			t.Fatalf("%T: %v", e, e)
		}
		list = append(list, strings.TrimSpace(fmt.Sprintf("%s %s %s", fe.Field, fe.Rule, fe.Limit)))
	}
	slices.Sort(list)
	return list
}

func TestLimitsAreEnforcedBeforeBuffering(t *testing.T) { // AL-10 to AL-66
	é := func(n int) string { return strings.Repeat("é", n) } // two bytes a code point
	props := func(n int) Properties {
		p := Properties{}
		for i := range n {
			p[fmt.Sprint("k", i)] = "v"
		}
		return p
	}
	key := func(k string) Properties { return Properties{k: ""} }
	user := func(change func(*User)) *User {
		u := &User{ID: "u"}
		change(u)
		return u
	}
	msg := func(change func(*Message)) *Message {
		m := &Message{SessionID: "s", Index: 1, Role: RoleUser, Content: "x"}
		change(m)
		return m
	}
	mf := func(change func(*MessageFeedback)) *MessageFeedback {
		f := &MessageFeedback{SessionID: "s", Index: 1, Type: ThumbsUp}
		change(f)
		return f
	}
	tests := []struct {
		name string
		p    payload
		want string // "" for none, else problems joined by "; "
	}{
		{"user, id alone", &User{ID: "u"}, ""},
		{"user id 64", &User{ID: é(64)}, ""},
		{"user id 65", &User{ID: é(65)}, "User.ID max 64 code points"},
		{"user id missing", &User{}, "User.ID required"},
		{"user id blank", &User{ID: " \t\n"}, "User.ID required"},
		{"user id NUL", &User{ID: "a\x00"}, "User.ID utf8"},
		{"user id invalid UTF-8", &User{ID: "a\xff"}, "User.ID utf8"},
		{"display name 64", user(func(u *User) { u.DisplayName = é(64) }), ""},
		{"display name 65", user(func(u *User) { u.DisplayName = é(65) }), "User.DisplayName max 64 code points"},
		{"email", user(func(u *User) { u.Email = "ada@example.com" }), ""},
		{"email format", user(func(u *User) { u.Email = "ada" }), "User.Email email"},
		{"email 257", user(func(u *User) { u.Email = "a@" + strings.Repeat("b", 251) + ".com" }), "User.Email max 256 code points"},
		{"ip v4", user(func(u *User) { u.IP = "192.0.2.1" }), ""},
		{"ip v6", user(func(u *User) { u.IP = "2001:db8::1" }), "User.IP ipv4"},
		{"country lower case", user(func(u *User) { u.CountryCode = "kr" }), ""},
		{"country UK", user(func(u *User) { u.CountryCode = "UK" }), "User.CountryCode country"},
		{"country XK", user(func(u *User) { u.CountryCode = "XK" }), ""},
		{"country three letters", user(func(u *User) { u.CountryCode = "KOR" }), "User.CountryCode country"},
		{"create time year 10000", user(func(u *User) { u.CreateTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }), "User.CreateTime time"},
		{"create time year 0", user(func(u *User) { u.CreateTime = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) }), "User.CreateTime time"},

		{"property keys", user(func(u *User) { u.Properties = Properties{"a": "", strings.Repeat("a", 64): "", "aB_9": ""} }), ""},
		{"property key 65", user(func(u *User) { u.Properties = key(strings.Repeat("a", 65)) }), "User.Properties key " + PropertyKeyPattern},
		{"property key 1a", user(func(u *User) { u.Properties = key("1a") }), "User.Properties key " + PropertyKeyPattern},
		{"property key _a", user(func(u *User) { u.Properties = key("_a") }), "User.Properties key " + PropertyKeyPattern},
		{"property key a-b", user(func(u *User) { u.Properties = key("a-b") }), "User.Properties key " + PropertyKeyPattern},
		{"property key é", user(func(u *User) { u.Properties = key("é") }), "User.Properties key " + PropertyKeyPattern},
		{"property key newline", user(func(u *User) { u.Properties = key("a\n") }), "User.Properties key " + PropertyKeyPattern},
		{"property key empty", user(func(u *User) { u.Properties = key("") }), "User.Properties key " + PropertyKeyPattern},
		{"property value 256", user(func(u *User) { u.Properties = Properties{"a": é(256)} }), ""},
		{"property value 257", user(func(u *User) { u.Properties = Properties{"a": é(257)} }), "User.Properties.a max 256 code points"},
		{"property value NUL", user(func(u *User) { u.Properties = Properties{"a": "\x00"} }), "User.Properties.a utf8"},
		{"properties none", user(func(u *User) { u.Properties = Properties{} }), ""},
		{"properties 10", user(func(u *User) { u.Properties = props(10) }), ""},
		{"properties 11", user(func(u *User) { u.Properties = props(11) }), "User.Properties count 10 properties"},

		{"session", &Session{ID: "s", UserID: "u"}, ""},
		{"session blank ids", &Session{ID: " ", UserID: ""}, "Session.ID required; Session.UserID required"},
		{"session ids 65", &Session{ID: é(65), UserID: é(65), AssistantID: é(65)}, "Session.AssistantID max 64 code points; Session.ID max 64 code points; Session.UserID max 64 code points"},
		{"session assistant blank", &Session{ID: "s", UserID: "u", AssistantID: "\t"}, "Session.AssistantID required"},
		{"session title 257", &Session{ID: "s", UserID: "u", Title: é(257)}, "Session.Title max 256 code points"},
		{"session properties 11", &Session{ID: "s", UserID: "u", Properties: props(11)}, "Session.Properties count 10 properties"},
		{"session end", &SessionEnd{SessionID: "s"}, ""},
		{"session end blank", &SessionEnd{}, "SessionEnd.SessionID required"},
		{"session end reason", &SessionEnd{SessionID: "s", Reason: "tired"}, "SessionEnd.Reason oneof explicit, idle, shutdown, transfer"},

		{"message", msg(func(m *Message) {}), ""},
		{"message index 0", msg(func(m *Message) { m.Index = 0 }), "Message.Index min 1"},
		{"message index negative", msg(func(m *Message) { m.Index = -1 }), "Message.Index min 1"},
		{"message index 2147483647", msg(func(m *Message) { m.Index = 1<<31 - 1 }), ""},
		{"message index 2147483648", msg(func(m *Message) { m.Index = 1 << 31 }), "Message.Index max 2147483647"},
		{"message role missing", msg(func(m *Message) { m.Role = "" }), "Message.Role oneof user, assistant, system, tool, human"},
		{"message role", msg(func(m *Message) { m.Role = "User" }), "Message.Role oneof user, assistant, system, tool, human"},
		{"message content missing", msg(func(m *Message) { m.Content = "" }), "Message.Content required"},
		{"message content blank", msg(func(m *Message) { m.Content = " \n\u00a0" }), "Message.Content required"},
		{"message content NUL", msg(func(m *Message) { m.Content = "a\x00b" }), "Message.Content utf8"},
		{"message content long", msg(func(m *Message) { m.Content = strings.Repeat("x", 3<<20) }), ""},
		{"everything at once", &Message{Properties: props(11)}, "Message.Content required; Message.Index min 1; Message.Properties count 10 properties; Message.Role oneof user, assistant, system, tool, human; Message.SessionID required"},

		{"message roles", msg(func(m *Message) { m.Role = RoleHuman }), ""},
		{"message intent blank", msg(func(m *Message) { m.Intent = &Intent{} }), "Message.Intent.Name required"},
		{"message generation empty", msg(func(m *Message) { m.Generation = &Generation{} }), ""},
		{"message generation zeros", msg(func(m *Message) {
			m.Generation = &Generation{Latency: new(time.Duration(0)), InputTokens: new(int64(0)), Cost: new(0.0), Success: new(false)}
		}), ""},
		{"message generation below zero", msg(func(m *Message) {
			m.Generation = &Generation{Latency: new(-time.Nanosecond), TimeToFirstToken: new(-time.Hour), InputTokens: new(int64(-1)), Cost: new(-0.01)}
		}), "Message.Generation.Cost min 0; Message.Generation.InputTokens min 0; Message.Generation.Latency min 0; Message.Generation.TimeToFirstToken min 0"},
		{"message generation cost NaN", msg(func(m *Message) { m.Generation = &Generation{Cost: new(math.NaN())} }), "Message.Generation.Cost finite"},
		{"message generation outcome", msg(func(m *Message) { m.Generation = &Generation{Outcome: "fine"} }),
			"Message.Generation.Outcome oneof response_generated, not_understood, error, escalation_required, fallback"},
		{"message generation lengths", msg(func(m *Message) {
			m.Generation = &Generation{Error: é(2001), Model: é(129), RunID: é(65), ToolCalls: []ToolCall{{Name: "n", Arguments: é(16385)}, {}}}
		}), "Message.Generation.Error max 2000 code points; Message.Generation.Model max 128 code points; Message.Generation.RunID max 64 code points; " +
			"Message.Generation.ToolCalls[0].Arguments max 16384 code points; Message.Generation.ToolCalls[1].Name required"},
		{"message generation tool calls 65", msg(func(m *Message) { m.Generation = &Generation{ToolCalls: make([]ToolCall, 65)} }), "Message.Generation.ToolCalls count 64 elements"},

		{"session channel", &Session{ID: "s", UserID: "u", Channel: "phone"}, "Session.Channel oneof chat, ticket"},
		{"session language", &Session{ID: "s", UserID: "u", Language: "pt-BR"}, ""},
		{"session language too long", &Session{ID: "s", UserID: "u", Language: "de-x" + strings.Repeat("-abcdefgh", 10_000)}, "Session.Language max 64 code points"},
		{"session language unknown", &Session{ID: "s", UserID: "u", Language: "not a language"}, "Session.Language language"},
		{"session labels", &Session{ID: "s", UserID: "u", Labels: []string{"a", ""}}, "Session.Labels[1] required"},
		{"session labels 21", &Session{ID: "s", UserID: "u", Labels: make([]string, 21)}, "Session.Labels count 20 elements"},
		{"session source 65", &Session{ID: "s", UserID: "u", Source: é(65)}, "Session.Source max 64 code points"},
		{"session data", &Session{ID: "s", UserID: "u", Data: map[string]any{"a": []any{1, "b", nil}}}, ""},
		{"session data too long", &Session{ID: "s", UserID: "u", Data: map[string]any{"a": é(8192)}}, "Session.Data json 16384 bytes"},
		{"session data no JSON", &Session{ID: "s", UserID: "u", Data: map[string]any{"a": make(chan int)}}, "Session.Data json 16384 bytes"},
		{"session end status", &SessionEnd{SessionID: "s", Status: "done"}, "SessionEnd.Status oneof botHandled, email, agent, customEscalation, failedEscalation"},
		{"session end resolution", &SessionEnd{SessionID: "s", Resolution: ResolutionUndefined}, ""},
		{"user company", user(func(u *User) { u.Company = &Company{Name: é(257)} }), "User.Company.ID required; User.Company.Name max 256 code points"},
		{"user traits", user(func(u *User) { u.Traits = map[string]any{"email": "nobody", "name": é(65)} }), "User.DisplayName max 64 code points; User.Email email"},

		{"message feedback", mf(func(f *MessageFeedback) {}), ""},
		{"message feedback index", mf(func(f *MessageFeedback) { f.Index = 0 }), "MessageFeedback.Index min 1"},
		{"message feedback type", mf(func(f *MessageFeedback) { f.Type = "love" }), "MessageFeedback.Type oneof thumbs_up, thumbs_down, none"},
		{"message feedback type missing", mf(func(f *MessageFeedback) { f.Type = "" }), "MessageFeedback.Type oneof thumbs_up, thumbs_down, none"},
		{"message feedback comment 2000", mf(func(f *MessageFeedback) { f.Comment = é(2000) }), ""},
		{"message feedback comment 2001", mf(func(f *MessageFeedback) { f.Comment = é(2001) }), "MessageFeedback.Comment max 2000 code points"},
		{"message feedback reasons", mf(func(f *MessageFeedback) { f.Reasons = []string{"slow", " "} }), "MessageFeedback.Reasons[1] required"},
		{"message feedback reasons 11", mf(func(f *MessageFeedback) { f.Reasons = make([]string, 11) }), "MessageFeedback.Reasons count 10 elements"},
		{"message feedback taken back", mf(func(f *MessageFeedback) { f.Type = ThumbsNone }), ""},
		{"message feedback score", mf(func(f *MessageFeedback) { f.Score = Score{4, 1, 5} }), ""},
		{"message feedback score at its ends", mf(func(f *MessageFeedback) { f.Score = Score{-5, -5, 0} }), ""},
		{"message feedback score below", mf(func(f *MessageFeedback) { f.Score = Score{0, 1, 5} }), "MessageFeedback.Score.Value min Min"},
		{"message feedback score above", mf(func(f *MessageFeedback) { f.Score = Score{6, 1, 5} }), "MessageFeedback.Score.Value max Max"},
		{"message feedback score without scale", mf(func(f *MessageFeedback) { f.Score = Score{Value: 4} }), "MessageFeedback.Score.Value max Max"},
		{"message feedback score of one point", mf(func(f *MessageFeedback) { f.Score = Score{3, 3, 3} }), "MessageFeedback.Score.Max above Min"},
		{"message feedback score NaN", mf(func(f *MessageFeedback) { f.Score = Score{math.NaN(), 1, 5} }), "MessageFeedback.Score.Value finite"},
		{"message feedback score endless", mf(func(f *MessageFeedback) { f.Score = Score{4, math.Inf(-1), math.Inf(1)} }), "MessageFeedback.Score.Max finite; MessageFeedback.Score.Min finite"},
		{"session feedback score", &SessionFeedback{SessionID: "s", Type: ThumbsUp, Score: Score{0, 0, 10}}, ""},
		{"session feedback score without scale", &SessionFeedback{SessionID: "s", Type: ThumbsUp, Score: Score{Value: -1}}, "SessionFeedback.Score.Value min Min"},
		{"session feedback", &SessionFeedback{SessionID: "s", Type: ThumbsDown}, ""},
		{"session feedback blank", &SessionFeedback{}, "SessionFeedback.SessionID required; SessionFeedback.Type oneof thumbs_up, thumbs_down, none"},
		{"session feedback voter blank", &SessionFeedback{SessionID: "s", Type: ThumbsUp, UserID: " "}, "SessionFeedback.UserID required"},
		{"session feedback voter 65", &SessionFeedback{SessionID: "s", Type: ThumbsUp, UserID: é(65)}, "SessionFeedback.UserID max 64 code points"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				c := newClient(t, rec, nil)
				err := c.record(context.Background(), test.p)
				if got := strings.Join(problems(t, err), "; "); got != test.want {
					t.Errorf("got  %s\nwant %s", got, test.want)
				}
				s := c.Stats()
				if want := uint64(min(len(test.want), 1)); s.Invalid != want || s.Accepted != 1-want {
					t.Errorf("%d invalid, %d accepted", s.Invalid, s.Accepted)
				}
				if err := c.Close(context.Background()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestLimitsCanBeSetPerClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, &recorder{}, func(cfg *Config) { cfg.Limits = Limits{Properties: 1, PropertyValue: 300} })
		defer c.Close(context.Background())
		ctx := context.Background()
		if err := c.IdentifyUser(ctx, User{ID: "u", Properties: Properties{"a": strings.Repeat("x", 300)}}); err != nil {
			t.Error(err)
		}
		err := c.IdentifyUser(ctx, User{ID: "u", Properties: Properties{"a": strings.Repeat("x", 301), "b": ""}})
		if got := fmt.Sprint(problems(t, err)); got != "[User.Properties count 1 properties User.Properties.a max 300 code points]" {
			t.Error(got)
		}
	})
}

func TestErrorsNeverCarryContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, &recorder{}, nil)
		defer c.Close(context.Background())
		const marker = "s3cret marker"
		bad := strings.Repeat(marker, 200) + "\x00"
		ctx := context.Background()
		for _, err := range []error{
			c.IdentifyUser(ctx, User{ID: bad, DisplayName: bad, Email: bad, IP: bad, CountryCode: bad, Properties: Properties{bad: bad, "a": bad}}),
			c.OpenSession(ctx, Session{ID: bad, UserID: bad, AssistantID: bad, Title: bad}),
			c.CreateMessage(ctx, Message{SessionID: bad, Role: Role(bad), Content: bad, Properties: Properties{bad: bad}}),
			c.CreateMessageFeedback(ctx, MessageFeedback{SessionID: bad, Type: FeedbackType(bad), Comment: bad, Reasons: []string{bad}, UserID: bad}),
			c.CloseSession(ctx, SessionEnd{SessionID: bad, Reason: CloseReason(bad)}),
		} {
			if err == nil {
				t.Error("accepted")
			} else if strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), "s3cret") {
				t.Errorf("content shows: %v", err)
			}
		}
	})
}

func TestFieldErrorSaysFieldRuleAndLimit(t *testing.T) {
	for want, e := range map[string]*FieldError{
		"align: Message.SessionID must be at most 64 code points":                       {"Message.SessionID", "max", "64 code points"},
		"align: Message.Content must not be blank":                                      {"Message.Content", "required", ""},
		"align: User.Properties must have keys that match ^[a-zA-Z][a-zA-Z0-9_]{0,63}$": {"User.Properties", "key", PropertyKeyPattern},
		"align: Message.Role must be one of user, assistant":                            {"Message.Role", "oneof", "user, assistant"},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestLongContentIsCutVisiblyAndCounted(t *testing.T) { // AL-41
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.MaxContentBytes = 256 })
		ctx := context.Background()
		whole := strings.Repeat("é", 128)
		for i, content := range []string{whole, whole + "é", strings.Repeat("😀", 1000)} {
			if err := c.CreateMessage(ctx, Message{SessionID: "s", Index: i + 1, Role: RoleUser, Content: content}); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(ctx); err != nil {
			t.Fatal(err)
		}
		got := rec.delivered()
		if m := got[0].Properties.GetMessageProperties(); m.MessageContent != whole || m.ContentLength != nil {
			t.Errorf("content within the limit was changed: %v", m)
		}
		for i, length := range []int64{129, 1000} {
			m := got[i+1].Properties.GetMessageProperties()
			if len(m.MessageContent) > 256 || !strings.Contains(m.MessageContent, "… [cut, ") || m.GetContentLength() != length {
				t.Errorf("%d bytes, original length %d: %q", len(m.MessageContent), m.GetContentLength(), m.MessageContent)
			}
		}
		if s := c.Stats(); s.Truncated != 2 {
			t.Errorf("%d counted as cut", s.Truncated)
		}
	})
}

func TestCallersMapMayChangeAfterTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, nil)
		props := Properties{"plan": "pro"}
		if err := c.IdentifyUser(context.Background(), User{ID: "u", Properties: props}); err != nil {
			t.Fatal(err)
		}
		props["plan"] = "free"
		delete(props, "plan")
		if err := c.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if got := rec.delivered()[0].Properties.CustomProperties["plan"].GetStringValue(); got != "pro" {
			t.Errorf("the event says %q", got)
		}
	})
}

func TestTextIsUTF8WithoutNUL(t *testing.T) {
	parts := []string{"", "a", "plain ascii, ", "\x00", "\x7f", "é", "日本", "🙂", "\xff", "\xc3", "\ufffd", "\xed\xa0\x80", "12345678"}
	for _, a := range parts {
		for _, b := range parts {
			for _, c := range parts {
				s := a + b + c + a
				if got, want := isText(s), utf8.ValidString(s) && !strings.Contains(s, "\x00"); got != want {
					t.Errorf("isText(%q) = %v, want %v", s, got, want)
				}
			}
		}
	}
}

func TestStrictRefusesWhatTheBaseSchemaCannotSay(t *testing.T) {
	tests := []struct {
		p    payload
		want string
	}{
		{&User{ID: "u", Company: &Company{ID: "c"}, Traits: map[string]any{"seats": 3}}, "User.Company strict; User.Traits strict"},
		{&User{ID: "u", Traits: map[string]any{"email": "ada@example.com"}}, ""}, // has a field there
		{&Session{ID: "s", UserID: "u", Title: "t", Channel: ChannelChat, Data: map[string]any{"a": 1}}, "Session.Channel strict; Session.Data strict"},
		{&SessionEnd{SessionID: "s"}, ""},
		{&SessionEnd{SessionID: "s", Reason: CloseTransfer, Transfer: new(true)}, "SessionEnd.Reason strict; SessionEnd.Transfer strict"},
		{&Message{SessionID: "s", Index: 1, Role: RoleTool, Content: "x"}, "Message.Role strict"},
		{&Message{SessionID: "s", Index: 1, Role: RoleUser, Content: "x", Intent: &Intent{Name: "i"}}, "Message.Intent strict"},
		{&Message{SessionID: "s", Index: 1, Role: RoleAssistant, Content: "x", Generation: &Generation{}}, "Message.Generation strict"},
		{&MessageFeedback{SessionID: "s", Index: 1, Type: ThumbsUp, Comment: "c", Reasons: []string{"r"}, UserID: "u"},
			"MessageFeedback.Comment strict; MessageFeedback.Reasons strict; MessageFeedback.UserID strict"},
		{&SessionFeedback{SessionID: "s", Type: ThumbsUp}, ""},
		{&SessionFeedback{SessionID: "s", Type: ThumbsNone, Score: Score{Value: 1, Max: 5}}, "SessionFeedback.Score strict; SessionFeedback.Type strict"},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, &recorder{}, func(cfg *Config) { cfg.Strict = true })
			if got := strings.Join(problems(t, c.record(bg, test.p)), "; "); got != test.want {
				t.Errorf("%T: got  %s\nwant %s", test.p, got, test.want)
			}
			if err := c.Close(bg); err != nil {
				t.Error(err)
			}
		})
	}
}

// In strict mode nothing from field 1000 up leaves, whatever the client adds on its own account.
func TestStrictSendsTheBaseSchemaOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.Strict, cfg.MaxContentBytes = true, 256 })
		for _, p := range []payload{
			&User{ID: "u"}, &Session{ID: "s1", UserID: "u"}, &SessionEnd{SessionID: "s1"}, &Session{ID: "s2", UserID: "u"},
			&Message{SessionID: "s2", Index: 1, Role: RoleUser, Content: strings.Repeat("long ", 100)},
			&MessageFeedback{SessionID: "s2", Index: 1, Type: ThumbsUp},
		} {
			if err := c.record(bg, p); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Hour) // s2 goes idle
		if err := c.Close(bg); err != nil {
			t.Fatal(err)
		}
		events := rec.delivered()
		if len(events) != 7 {
			t.Errorf("%d events, want 6 and an idle close", len(events))
		}
		for _, e := range events {
			var walk func(m protoreflect.Message)
			walk = func(m protoreflect.Message) {
				m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
					if f.Number() >= 1000 {
						t.Errorf("%s has %s", e.Type, f.Name())
					}
					if f.Message() != nil && !f.IsMap() && !f.IsList() {
						walk(v.Message())
					}
					return true
				})
			}
			walk(e.ProtoReflect())
		}
	})
}

// What a call was given is the caller's: neither masks nor the hook may write to it.
func TestHooksNeverWriteToWhatTheCallerHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, &recorder{}, func(cfg *Config) {
			cfg.Redact = RedactAll
			cfg.BeforeSend = func(e *Event) bool {
				switch {
				case e.Session != nil:
					e.Session.Labels[0], e.Session.Data["nested"].(map[string]any)["a"], e.Session.Properties["k"] = "x", "x", "x"
				case e.Message != nil:
					*e.Message.Generation.Success, e.Message.Generation.ToolCalls[0].Name, e.Message.Intent.Name = false, "x", "x"
				case e.User != nil:
					e.User.Company.Name, e.User.Traits["seats"] = "x", "x"
				case e.SessionEnd != nil:
					*e.SessionEnd.Transfer, e.SessionEnd.Labels[0] = false, "x"
				}
				return true
			}
		})
		mail := "ada@example.com"
		session := Session{ID: "s", UserID: "u", Labels: []string{"l"}, Properties: Properties{"k": mail}, Data: map[string]any{"nested": map[string]any{"a": mail}, "list": []any{mail}}}
		message := Message{SessionID: "s", Index: 1, Role: RoleAssistant, Content: mail, Intent: &Intent{Name: "i"},
			Generation: &Generation{Success: new(true), Error: mail, ToolCalls: []ToolCall{{Name: "t", Arguments: mail, Result: mail}}}}
		user := User{ID: "u", Company: &Company{ID: "c", Name: "n"}, Traits: map[string]any{"seats": "3", "mail": mail, "name": "Ada"}}
		end := SessionEnd{SessionID: "s", Transfer: new(true), Labels: []string{"l"}}
		before := fmt.Sprintf("%+v %+v %v %+v %+v %v", session, message.Properties, *message.Generation.Success, message.Generation.ToolCalls, user.Traits, *end.Transfer)
		for _, err := range []error{c.OpenSession(bg, session), c.CreateMessage(bg, message), c.IdentifyUser(bg, user), c.CloseSession(bg, end)} {
			if err != nil {
				t.Error(err)
			}
		}
		after := fmt.Sprintf("%+v %+v %v %+v %+v %v", session, message.Properties, *message.Generation.Success, message.Generation.ToolCalls, user.Traits, *end.Transfer)
		if after != before || message.Intent.Name != "i" || user.Company.Name != "n" || end.Labels[0] != "l" || message.Generation.Error != mail {
			t.Errorf("before %s\nafter  %s", before, after)
		}
		if err := c.Close(bg); err != nil {
			t.Error(err)
		}
	})
}

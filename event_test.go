package align

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

var update = flag.Bool("update", false, "write the golden files anew")

var (
	goldenID   = uuid.MustParse("01990000-0000-7000-8000-00000000abcd")
	goldenTime = time.Date(2026, 3, 1, 12, 30, 45, 123456789, time.UTC)
)

// goldenEvents are the SDK's side of testdata/wire: what it puts on the wire, at its plainest and at every limit.
func goldenEvents() map[string]payload {
	long := func(n int) string { return strings.Repeat("é", n) }
	full := Properties{}
	for i := range 10 {
		full[string(rune('a'+i))+strings.Repeat("_", 63)] = long(256)
	}
	return map[string]payload{
		"user":                &User{ID: "u1"},
		"user_limits":         &User{ID: long(64), DisplayName: long(64), Email: "a@" + strings.Repeat("b", 250) + ".com", CountryCode: "kr", IP: "192.0.2.1", CreateTime: goldenTime, Properties: full},
		"user_ip":             &User{ID: "u1", IP: "192.0.2.1"},
		"session_open":        &Session{ID: "s1", UserID: "u1"},
		"session_open_limits": &Session{ID: long(64), UserID: long(64), AssistantID: long(64), Title: long(256), StartTime: goldenTime, Properties: full},
		"session_open_full": &Session{ID: "s1", UserID: "u1", Channel: ChannelTicket, Source: "mywebsite.com", Language: "pt-BR", Labels: []string{"vip", "beta"}, TestMode: true,
			Data: map[string]any{"cart": map[string]any{"items": []any{1.5, "two", nil, true}}, "plan": "pro"}},
		"session_close_full": &SessionEnd{SessionID: "s1", Reason: CloseTransfer, Status: StatusAgent, Resolution: ResolutionEscalated, Transfer: new(true), Completed: new(false), Labels: []string{"late"}},
		"user_full":          &User{ID: "u1", Company: &Company{ID: "c1", Name: "Example Ltd", Type: "enterprise"}, Traits: map[string]any{"email": "ada@example.com", "name": "Ada", "seats": 3}},
		"session_close":      &SessionEnd{SessionID: "s1"},
		"session_close_idle": &SessionEnd{SessionID: "s1", Reason: CloseIdle, EndTime: goldenTime},
		"message":            &Message{SessionID: "s1", Index: 1, Role: RoleUser, Content: "Where is my order?"},
		"message_limits":     &Message{SessionID: long(64), Index: 1<<31 - 1, Role: RoleAssistant, Content: strings.Repeat("😀", 5000), CreateTime: goldenTime, Properties: full},
		"message_human":      &Message{SessionID: "s1", Index: 3, Role: RoleHuman, Content: "Ada here.", Intent: &Intent{Name: "greeting", NotMeaningful: true}},
		"message_generation": &Message{SessionID: "s1", Index: 2, Role: RoleAssistant, Content: "On its way.", Generation: &Generation{
			Latency: new(1500 * time.Millisecond), TimeToFirstToken: new(time.Duration(0)), Success: new(false), Error: long(2000),
			Outcome: OutcomeFallback, Model: long(128), InputTokens: new(int64(0)), OutputTokens: new(int64(1 << 40)), Cost: new(0.25), RunID: "r1", Incomplete: true,
			ToolCalls: []ToolCall{{ID: "c1", Name: "orders", Arguments: `{"id":1}`, Result: long(16384)}, {Name: "noop"}},
		}},
		"message_1969":            &Message{SessionID: "s1", Index: 1, Role: RoleUser, Content: "x", CreateTime: time.Date(1969, 12, 31, 23, 59, 59, 500, time.UTC)},
		"message_feedback":        &MessageFeedback{SessionID: "s1", Index: 2, Type: ThumbsUp},
		"message_feedback_full":   &MessageFeedback{SessionID: "s1", Index: 2, Type: ThumbsDown, Comment: long(2000), Reasons: []string{"slow", "wrong"}, UserID: "u2"},
		"session_feedback":        &SessionFeedback{SessionID: "s1", Type: ThumbsDown},
		"message_feedback_score":  &MessageFeedback{SessionID: "s1", Index: 2, Type: ThumbsDown, Score: Score{Value: 0, Min: -1.5, Max: 5}},
		"message_feedback_undo":   &MessageFeedback{SessionID: "s1", Index: 2, Type: ThumbsNone, UserID: "u2"},
		"session_feedback_limits": &SessionFeedback{SessionID: long(64), Type: ThumbsUp, Comment: long(2000), Reasons: slices.Repeat([]string{long(64)}, 10), Score: Score{Value: 5, Max: 5}, UserID: long(64)},
		"session_feedback_undo":   &SessionFeedback{SessionID: "s1", Type: ThumbsNone},
	}
}

func jsonOf(data map[string]any) string {
	if len(data) == 0 {
		return ""
	}
	text, err := json.Marshal(data)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// wanted builds with the generated code what p says.
func wanted(p payload) *ingestionv1alpha.Event {
	timestamp := func(t time.Time) *timestamppb.Timestamp {
		if t.IsZero() {
			return nil
		}
		return timestamppb.New(t)
	}
	props := &ingestionv1alpha.EventProperties{}
	if custom := p.properties(); custom != nil {
		for k, v := range *custom {
			if props.CustomProperties == nil {
				props.CustomProperties = make(map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue)
			}
			props.CustomProperties[k] = &ingestionv1alpha.EventProperties_CustomPropertyValue{StringValue: v}
		}
	}
	kindOfVote := func(t FeedbackType) string {
		if t == ThumbsNone {
			return ""
		}
		return string(t)
	}
	score := func(s Score) *float64 {
		if s == (Score{}) {
			return nil
		}
		return &s.Value
	}
	switch p := p.(type) {
	case *User:
		u := &ingestionv1alpha.EventProperties_UserProperties{
			Traits: jsonOf(p.Traits),
			UserId: p.ID, UserEmail: p.Email, UserIp: p.IP, UserCreateTime: timestamp(p.CreateTime), UserDisplayName: p.DisplayName,
		}
		if p.CountryCode != "" {
			u.UserIp = ""
			u.UserLocation = &ingestionv1alpha.EventProperties_UserProperties_Location{CountryCode: p.CountryCode}
		}
		if c := p.Company; c != nil {
			u.Company = &ingestionv1alpha.EventProperties_UserProperties_Company{Id: c.ID, Name: c.Name, Type: c.Type}
		}
		props.ReservedProperties = &ingestionv1alpha.EventProperties_UserProperties_{UserProperties: u}
	case *Session:
		props.ReservedProperties = &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{
			SessionId: p.ID, SessionTitle: p.Title, SessionStartTime: timestamp(p.StartTime), UserId: p.UserID, AssistantId: p.AssistantID,
			Labels: p.Labels, Channel: string(p.Channel), Source: p.Source, Language: p.Language, TestMode: p.TestMode, Data: jsonOf(p.Data),
		}}
	case *SessionEnd:
		reason := ingestionv1alpha.EventProperties_SessionProperties_CloseReason_value["CLOSE_REASON_"+strings.ToUpper(string(p.Reason))]
		if p.Reason == CloseExplicit {
			reason = 0 // what base clients say by saying nothing
		}
		props.ReservedProperties = &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{
			SessionId: p.SessionID, CloseReason: ingestionv1alpha.EventProperties_SessionProperties_CloseReason(reason), SessionEndTime: timestamp(p.EndTime),
			Outcome: string(p.Status), LastResolution: string(p.Resolution), Transfer: p.Transfer, Completed: p.Completed, Labels: p.Labels,
		}}
	case *Message:
		role, extended := p.Role, ingestionv1alpha.EventProperties_MessageProperties_ExtendedRole_value["EXTENDED_ROLE_"+strings.ToUpper(string(p.Role))]
		if extended != 0 {
			role = RoleAssistant
		}
		m := &ingestionv1alpha.EventProperties_MessageProperties{
			SessionId: p.SessionID, MessageIndexHint: int32(p.Index), MessageContent: p.Content, MessageCreateTime: timestamp(p.CreateTime),
			MessageRole:  ingestionv1alpha.EventProperties_MessageProperties_Role(ingestionv1alpha.EventProperties_MessageProperties_Role_value["ROLE_"+strings.ToUpper(string(role))]),
			ExtendedRole: ingestionv1alpha.EventProperties_MessageProperties_ExtendedRole(extended),
		}
		if i := p.Intent; i != nil {
			m.Intent = &ingestionv1alpha.EventProperties_MessageProperties_Intent{Name: i.Name, NotMeaningful: i.NotMeaningful}
		}
		if g := p.Generation; g != nil {
			m.Success, m.Error, m.Outcome, m.Model, m.RunId, m.Incomplete = g.Success, g.Error, string(g.Outcome), g.Model, g.RunID, g.Incomplete
			m.InputTokens, m.OutputTokens, m.Cost = g.InputTokens, g.OutputTokens, g.Cost
			if g.Latency != nil {
				m.Latency = durationpb.New(*g.Latency)
			}
			if g.TimeToFirstToken != nil {
				m.TimeToFirstToken = durationpb.New(*g.TimeToFirstToken)
			}
			for _, call := range g.ToolCalls {
				m.ToolCalls = append(m.ToolCalls, &ingestionv1alpha.EventProperties_MessageProperties_ToolCall{Id: call.ID, Name: call.Name, Arguments: call.Arguments, Result: call.Result})
			}
		}
		if p.shortened {
			m.ContentLength = proto.Int64(int64(p.contentLength))
		}
		props.ReservedProperties = &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: m}
	case *MessageFeedback:
		props.ReservedProperties = &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: &ingestionv1alpha.EventProperties_FeedbackProperties{
			SessionId: p.SessionID, MessageIndexHint: int32(p.Index), Type: kindOfVote(p.Type), Comment: p.Comment, Reasons: p.Reasons, UserId: p.UserID,
			Score: score(p.Score), ScoreMin: p.Score.Min, ScoreMax: p.Score.Max,
			FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE,
		}}
	case *SessionFeedback:
		props.ReservedProperties = &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: &ingestionv1alpha.EventProperties_FeedbackProperties{
			SessionId: p.SessionID, Type: kindOfVote(p.Type), Comment: p.Comment, Reasons: p.Reasons, UserId: p.UserID,
			Score: score(p.Score), ScoreMin: p.Score.Min, ScoreMax: p.Score.Max,
			FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION,
		}}
	}
	return &ingestionv1alpha.Event{
		Id: strings.ReplaceAll(goldenID.String(), "-", ""), Type: string(p.kind()), CreateTime: timestamppb.New(goldenTime),
		Properties: props, ProjectId: "p1",
	}
}

// decode reads one entry with the generated code, which must know every field in it.
func decode(t testing.TB, entry []byte) *ingestionv1alpha.Event {
	t.Helper()
	var req ingestionv1alpha.CollectEventsRequest
	if err := proto.Unmarshal(entry, &req); err != nil {
		t.Fatalf("%v\n%x", err, entry)
	}
	if len(req.Events) != 1 || len(req.ProtoReflect().GetUnknown()) > 0 {
		t.Fatalf("%d events, unknown fields %x", len(req.Events), req.ProtoReflect().GetUnknown())
	}
	return req.Events[0]
}

func TestEventsEqualTheirGoldenFiles(t *testing.T) {
	dir := filepath.Join("testdata", "wire", "sdk")
	for name, p := range goldenEvents() {
		t.Run(name, func(t *testing.T) {
			p.normalize()
			if err := newRules(Config{}.withDefaults().Limits).problems(p); err != nil {
				t.Fatal(err)
			}
			entry := appendEvent(nil, "p1", goldenID, goldenTime, p)
			event := decode(t, entry)
			if want := wanted(p); !proto.Equal(event, want) {
				t.Errorf("got  %v\nwant %v", event, want)
			}
			// The same in words, for people who review a change: protojson varies its spaces, so they are made anew.
			raw, err := protojson.Marshal(event)
			if err != nil {
				t.Fatal(err)
			}
			var words bytes.Buffer
			if err := json.Indent(&words, raw, "", "  "); err != nil {
				t.Fatal(err)
			}
			words.WriteByte('\n')
			for file, got := range map[string][]byte{name + ".binpb": entry, name + ".json": words.Bytes()} {
				file = filepath.Join(dir, file)
				if *update {
					if err := os.WriteFile(file, got, 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got, want) {
					t.Errorf("%s differs; if that is meant, run go test -run Golden -update", file)
				}
			}
		})
	}
}

func TestEventIsTheSameBytesEveryTime(t *testing.T) {
	p := goldenEvents()["user_limits"] // ten properties: map order would show
	first := appendEvent(nil, "p1", goldenID, goldenTime, p)
	for range 50 {
		if again := appendEvent(nil, "p1", goldenID, goldenTime, p); !bytes.Equal(first, again) {
			t.Fatal("the order of the map shows on the wire")
		}
	}
}

// FuzzEncode proves both ways: what we write, the generated code reads as it was meant; what the generated code writes,
// our reader of dropped events understands.
func FuzzEncode(f *testing.F) {
	f.Add("s1", "u1", "hello", "k", "v", int64(1), int64(0))
	f.Add("é", "", strings.Repeat("x", 127), "key", "", int64(1<<31-1), int64(-1))
	f.Add("s", "u", strings.Repeat("x", 16384), "a", "b", int64(128), int64(253402300799))
	f.Fuzz(func(t *testing.T, session, user, content, key, value string, index, seconds int64) {
		for _, s := range []string{session, user, content, key, value} {
			if !utf8.ValidString(s) {
				t.Skip("validation refuses it")
			}
		}
		if key == "" {
			t.Skip("validation refuses it")
		}
		at := time.Unix(seconds%253402300800, seconds&0xfff)
		if !isTimestamp(at) || index < 0 || index > 1<<31-1 {
			t.Skip("validation refuses it")
		}
		props := Properties{key: value, key + "2": value}
		for _, p := range []payload{
			&User{ID: user, DisplayName: content, Email: value, IP: key, CountryCode: session, CreateTime: at, Properties: props},
			&Session{ID: session, UserID: user, AssistantID: key, Title: content, StartTime: at, Properties: props},
			&SessionEnd{SessionID: session, Reason: CloseShutdown, EndTime: at},
			&Message{SessionID: session, Index: int(index), Role: RoleAssistant, Content: content, CreateTime: at, Properties: props, shortened: len(content)%2 == 0, contentLength: len(content)},
			&MessageFeedback{SessionID: session, Index: int(index), Type: FeedbackType(key), Comment: content, Reasons: []string{"r" + value, "r"}, Score: Score{Value: float64(seconds), Min: float64(index), Max: float64(seconds % 7)}, UserID: user},
			&SessionFeedback{SessionID: session, Type: FeedbackType(key), Comment: content, UserID: user},
		} {
			entry := appendEvent(nil, "p1", goldenID, goldenTime, p)
			event, want := decode(t, entry), wanted(p)
			if !proto.Equal(event, want) {
				t.Fatalf("got  %v\nwant %v", event, want)
			}
			if n := entrySize(append(entry, entry...)); n != len(entry) {
				t.Fatalf("entrySize %d, is %d", n, len(entry))
			}
			theirs, err := proto.Marshal(&ingestionv1alpha.CollectEventsRequest{Events: []*ingestionv1alpha.Event{want}})
			if err != nil {
				t.Fatal(err)
			}
			if len(theirs) != len(entry) {
				t.Fatalf("we need %d bytes, the generated code %d", len(entry), len(theirs))
			}
			id, kind, about := describe(theirs)
			if id != want.Id || kind != p.kind() || about != sessionOf(p) {
				t.Fatalf("described as %q %q %q", id, kind, about)
			}
		}
	})
}

func TestIDsAreUnpredictableAndInOrderOfTime(t *testing.T) {
	var ids idSource
	last := ""
	tails := make(map[string]bool)
	now := time.Now()
	for i := range 10_000 {
		switch { // several in one instant, in time, and a clock that steps back
		case i%3 == 1:
			now = now.Add(time.Duration(i) * 10 * time.Microsecond)
		case i == 5000:
			now = now.Add(-time.Hour)
		}
		id := ids.next(now)
		if sec, nsec := id.Time().UnixTime(); i < 5000 && now.Sub(time.Unix(sec, nsec)).Abs() > 2*time.Millisecond {
			t.Fatalf("id of %v says %v", now, time.Unix(sec, nsec))
		}
		if id.Version() != 7 || id.Variant() != uuid.RFC4122 {
			t.Fatalf("%v is not a UUIDv7", id)
		}
		if s := id.String(); s <= last {
			t.Fatalf("%s after %s", s, last)
		} else {
			last = s
		}
		tails[last[19:]] = true
	}
	if len(tails) != 10_000 {
		t.Errorf("%d different random parts in 10,000 ids", len(tails))
	}
}

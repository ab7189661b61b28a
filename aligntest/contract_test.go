package aligntest_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/aligntest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// check sends what edit makes of a good request to a server, and returns what the server would fail the test for.
func check(t *testing.T, limits aligntest.Limits, batch *Batch, edit func(*http.Request)) (failed string, got result) {
	t.Helper()
	tb := &failures{TB: t}
	srv := aligntest.NewServer(tb)
	defer srv.Close()
	srv.SetLimits(limits)
	r := newRequest(t, srv.URL, marshal(t, batch))
	if edit != nil {
		edit(r)
	}
	got = do(srv.HTTPClient(), r)
	return tb.String(), got
}

func TestContractOfHeaders(t *testing.T) {
	for _, test := range []struct {
		name   string
		edit   func(*http.Request)
		want   string
		status int
	}{
		{"path", func(r *http.Request) { r.URL.Path = "/v1/events" }, `path is "/v1/events"`, 404},
		{"double slash", func(r *http.Request) { r.URL.Path = "/" + collectPath }, "path is", 404},
		{"method", func(r *http.Request) { r.Method = http.MethodPut }, "method is PUT, want POST", 405},
		{"no content type", func(r *http.Request) { r.Header.Del("Content-Type") }, "Content-Type is", 415},
		{"JSON", func(r *http.Request) { r.Header.Set("Content-Type", "application/json") }, "Content-Type is", 415},
		{"charset", func(r *http.Request) { r.Header.Set("Content-Type", "application/proto; charset=utf-8") }, "Content-Type is", 415},
		{"unknown encoding", func(r *http.Request) { r.Header.Set("Content-Encoding", "br") }, `Content-Encoding is "br"`, 415},
		{"not gzip", func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, "body is not gzip", 400},
		{"no key", func(r *http.Request) { r.Header.Del("Authorization") }, "Authorization holds no bearer key", 401},
		{"empty key", func(r *http.Request) { r.Header.Set("Authorization", "Bearer ") }, "Authorization holds no bearer key", 401},
		{"basic auth", func(r *http.Request) { r.SetBasicAuth("u", "p") }, "Authorization holds no bearer key", 401},
		{"chunked", func(r *http.Request) { r.ContentLength = -1 }, "body is chunked", 200},
		{"version", func(r *http.Request) { r.Header.Set("Connect-Protocol-Version", "2") }, "Connect-Protocol-Version", 200},
		{"no version", func(r *http.Request) { r.Header.Del("Connect-Protocol-Version") }, "", 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			failed, got := check(t, aligntest.Limits{}, batchOf(user("u1")), test.edit)
			wantFailure(t, failed, test.want)
			if got.status != test.status {
				t.Errorf("status = %d (%v), want %d", got.status, got.err, test.status)
			}
		})
	}
}

// wantFailure wants a failure that contains text, none for an empty text.
func wantFailure(t *testing.T, failed, text string) {
	t.Helper()
	if text == "" && failed != "" || !strings.Contains(failed, text) {
		t.Errorf("failures = %q, want %q", failed, text)
	}
}

func TestContractOfBodies(t *testing.T) {
	for _, test := range []struct {
		name, body, want string
	}{
		{"not protobuf", "\xff\xff", "body is not a CollectEventsRequest"},
		{"not UTF-8", string(protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), "\xff")), "body is not a CollectEventsRequest"},
		{"empty", "", "request_id is not"},
	} {
		t.Run(test.name, func(t *testing.T) {
			tb := &failures{TB: t}
			srv := aligntest.NewServer(tb)
			do(srv.HTTPClient(), newRequest(t, srv.URL, []byte(test.body)))
			srv.Close()
			wantFailure(t, tb.String(), test.want)
		})
	}
}

func TestContractOfBatches(t *testing.T) {
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1)
	for _, test := range []struct {
		name   string
		limits aligntest.Limits
		batch  func() *Batch
		want   string
	}{
		{"good", aligntest.Limits{}, func() *Batch { return batchOf(user("u1")) }, ""},
		{"no request id", aligntest.Limits{}, func() *Batch { return &Batch{Events: []*Wire{user("u1")}} }, "request_id is not"},
		{"dashed request id", aligntest.Limits{}, func() *Batch {
			return &Batch{RequestId: "0190a1b2-0000-7000-8000-000000000000", Events: []*Wire{user("u1")}}
		}, "request_id is not"},
		{"upper-case request id", aligntest.Limits{}, func() *Batch {
			return &Batch{RequestId: strings.Repeat("A", 32), Events: []*Wire{user("u1")}}
		}, "request_id is not"},
		{"twice the same", aligntest.Limits{}, func() *Batch { e := user("u1"); return batchOf(e, e) }, "event 2 (user_recognize): id stands twice"},
		{"two projects", aligntest.Limits{}, func() *Batch {
			e := user("u2")
			e.ProjectId = "p2"
			return batchOf(user("u1"), e)
		}, "project_id differs"},
		{"as many as allowed", aligntest.Limits{BatchEvents: 2}, func() *Batch { return batchOf(user("u1"), user("u2")) }, ""},
		{"too many", aligntest.Limits{BatchEvents: 1}, func() *Batch { return batchOf(user("u1"), user("u2")) }, "carries 2 events, want at most 1"},
		{"too large", aligntest.Limits{BatchBytes: 99}, func() *Batch { return batchOf(user("u1"), user("u2")) }, "bytes, want at most 99"},
		{"unknown field", aligntest.Limits{}, func() *Batch {
			b := batchOf(user("u1"))
			b.ProtoReflect().SetUnknown(unknown)
			return b
		}, "request has fields that the schema does not know"},
	} {
		t.Run(test.name, func(t *testing.T) {
			failed, _ := check(t, test.limits, test.batch(), nil)
			wantFailure(t, failed, test.want)
		})
	}
}

// TestContractOfEvents has, for each rule, an event at its limit and one past it.
func TestContractOfEvents(t *testing.T) {
	long := func(n int) string { return strings.Repeat("é", n) } // two bytes, one code point
	custom := func(properties map[string]*Custom) *Wire {
		e := user("u1")
		e.Properties.CustomProperties = properties
		return e
	}
	key := func(key string) *Wire { return custom(map[string]*Custom{key: {StringValue: "v"}}) }
	many := func(n int) map[string]*Custom {
		properties := make(map[string]*Custom)
		for i := range n {
			properties[fmt.Sprintf("k%d", i)] = &Custom{StringValue: "v"}
		}
		return properties
	}
	edit := func(e *Wire, change func(*Wire)) *Wire { change(e); return e }
	named := func(id string) *Wire { return edit(user("u1"), func(e *Wire) { e.Id = id }) }
	voted := func(change func(*FeedbackP)) *Wire {
		return edit(thumb("s1", 2, "thumbs_down"), func(e *Wire) { change(e.Properties.GetFeedbackProperties()) })
	}
	said := func(change func(*MessageP)) *Wire {
		return edit(message("s1", 2, "hi"), func(e *Wire) { change(e.Properties.GetMessageProperties()) })
	}
	known := func(p *UserP) *Wire { p.UserId = "u1"; return event(p) }
	in := func(code string) *ingestionv1alpha.EventProperties_UserProperties_Location {
		return &ingestionv1alpha.EventProperties_UserProperties_Location{CountryCode: code}
	}
	unknown := protowire.AppendVarint(protowire.AppendTag(nil, 999, protowire.VarintType), 1)

	for _, test := range []struct {
		name  string
		event *Wire
		want  string
	}{
		{"event id missing", named(""), "id is not a UUIDv7"},
		{"event id of version 4", named("0190a1b200004000800000000000000f"), "id is not a UUIDv7"},
		{"event id of another variant", named("0190a1b2000070000000000000000000"), "id is not a UUIDv7"},
		{"event id dashed", named("0190a1b2-0000-7000-8000-00000000000f"), "id is not a UUIDv7"},
		{"event id upper-case", named("0190A1B200007000800000000000000F"), "id is not a UUIDv7"},
		{"event id", named("0190a1b200007000b00000000000000f"), ""},
		{"project missing", edit(user("u1"), func(e *Wire) { e.ProjectId = "" }), "project_id is missing"},
		{"type unknown", edit(user("u1"), func(e *Wire) { e.Type = "user_identify" }), "type is not one of the schema's"},
		{"no create time", edit(user("u1"), func(e *Wire) { e.CreateTime = nil }), ""},
		{"create time in the year 10000", edit(user("u1"), func(e *Wire) { e.CreateTime = &timestamppb.Timestamp{Seconds: 253402300800} }), "create_time is not a time"},
		{"negative nanos", edit(user("u1"), func(e *Wire) { e.CreateTime = &timestamppb.Timestamp{Nanos: -1} }), "create_time is not a time"},
		{"no properties", edit(user("u1"), func(e *Wire) { e.Properties = nil }), "user_properties are missing"},
		{"field unknown", edit(user("u1"), func(e *Wire) { e.ProtoReflect().SetUnknown(unknown) }), "has fields that the schema does not know"},
		{"field unknown within", said(func(m *MessageP) { m.ProtoReflect().SetUnknown(unknown) }), "properties.message_properties has fields that the schema does not know"},

		{"opening with a message's properties", edit(message("s1", 1, "hi"), func(e *Wire) { e.Type = "session_open" }), "session_properties are missing"},
		{"end with a user's properties", edit(user("u1"), func(e *Wire) { e.Type = "session_close" }), "session_properties are missing"},
		{"message with a user's properties", edit(user("u1"), func(e *Wire) { e.Type = "message_create" }), "message_properties are missing"},
		{"feedback with a user's properties", edit(user("u1"), func(e *Wire) { e.Type = "feedback_create" }), "feedback_properties are missing"},

		{"user id missing", user(""), "user_id has 0 code points, want 1 to 64"},
		{"user id of 64", user(long(64)), ""},
		{"user id of 65", user(long(65)), "user_id has 65 code points, want 1 to 64"},
		{"user id with NUL", user("u\x00"), "properties.user_properties.user_id contains NUL"},
		{"name of 64", known(&UserP{UserDisplayName: long(64)}), ""},
		{"name of 65", known(&UserP{UserDisplayName: long(65)}), "user_display_name has 65"},
		{"email of 256", known(&UserP{UserEmail: long(256)}), ""},
		{"email of 257", known(&UserP{UserEmail: long(257)}), "user_email has 257"},
		{"IPv4", known(&UserP{UserIp: "203.0.113.7"}), ""},
		{"IPv6", known(&UserP{UserIp: "2001:db8::1"}), "user_ip is not an IPv4 address"},
		{"IPv4 in IPv6", known(&UserP{UserIp: "::ffff:203.0.113.7"}), "user_ip is not an IPv4 address"},
		{"country", known(&UserP{UserLocation: in("KR")}), ""},
		{"country in lower case", known(&UserP{UserLocation: in("kr")}), "country_code is not two upper-case letters"},
		{"country of three letters", known(&UserP{UserLocation: in("KOR")}), "country_code is not two upper-case letters"},
		{"location without country", known(&UserP{UserLocation: in("")}), "country_code is not two upper-case letters"},
		{"country and IP", known(&UserP{UserLocation: in("KR"), UserIp: "203.0.113.7"}), "user_ip stands beside user_location"},

		{"properties, 10", custom(many(10)), ""},
		{"properties, 11", custom(many(11)), "event has 11 custom properties, want at most 10"},
		{"property of 256", custom(map[string]*Custom{"k": {StringValue: long(256)}}), ""},
		{"property of 257", custom(map[string]*Custom{"k": {StringValue: long(257)}}), "1 custom property values have more than 256"},
		{"property empty", custom(map[string]*Custom{"k": {}}), ""},
		{"property with NUL", custom(map[string]*Custom{"k": {StringValue: "\x00"}}), "contains NUL"},
		{"key", key("aZ_09"), ""},
		{"key of 64", key(strings.Repeat("a", 64)), ""},
		{"key of 65", key(strings.Repeat("a", 65)), "1 custom property keys do not match"},
		{"key with a digit first", key("1a"), "1 custom property keys do not match"},
		{"key with an underscore first", key("_a"), "1 custom property keys do not match"},
		{"key with a dash", key("a-b"), "1 custom property keys do not match"},
		{"key not ASCII", key("é"), "1 custom property keys do not match"},
		{"key with a newline", key("a\n"), "1 custom property keys do not match"},
		{"key empty", key(""), "1 custom property keys do not match"},

		{"opening at its limits", event(&SessionP{SessionId: long(64), UserId: long(64), AssistantId: long(64), SessionTitle: long(256)}), ""},
		{"opening without session", opening("", "u1"), "session_id has 0"},
		{"opening with session of 65", opening(long(65), "u1"), "session_id has 65"},
		{"opening without user", opening("s1", ""), "user_id has 0"},
		{"opening with user of 65", opening("s1", long(65)), "user_id has 65"},
		{"assistant of 65", event(&SessionP{SessionId: "s1", UserId: "u1", AssistantId: long(65)}), "assistant_id has 65"},
		{"title of 257", event(&SessionP{SessionId: "s1", UserId: "u1", SessionTitle: long(257)}), "session_title has 257"},
		{"opening with a reason to close", event(&SessionP{SessionId: "s1", UserId: "u1", CloseReason: 1}), "an opening says how the session ended"},
		{"end", closing("s1"), ""},
		{"end without session", closing(""), "session_id has 0"},
		{"end with unknown reason", edit(closing("s1"), func(e *Wire) { e.Properties.GetSessionProperties().CloseReason = 99 }), "close_reason has a value that the schema does not know"},

		{"message without session", message("", 1, "hi"), "session_id has 0"},
		{"message with session of 65", message(long(65), 1, "hi"), "session_id has 65"},
		{"message index 0", message("s1", 0, "hi"), "message_index_hint is 0"},
		{"message index negative", message("s1", -1, "hi"), "message_index_hint is -1"},
		{"message index the largest", message("s1", math.MaxInt32, "hi"), ""},
		{"message without role", said(func(m *MessageP) { m.MessageRole = 0 }), "message_role is missing"},
		{"message with unknown role", said(func(m *MessageP) { m.MessageRole = 3 }), "message_role has a value that the schema does not know"},
		{"message from a tool", said(func(m *MessageP) { m.ExtendedRole = 2 }), ""},
		{"message from a tool and a user", said(func(m *MessageP) { m.ExtendedRole, m.MessageRole = 2, 1 }), "extended_role without"},
		{"message empty", message("s1", 1, ""), "message_content is empty"},
		{"message withheld", said(func(m *MessageP) { m.MessageContent, m.ContentLength = "", proto.Int64(2) }), ""},
		{"message of negative length", said(func(m *MessageP) { m.ContentLength = proto.Int64(-1) }), "content_length is negative"},
		{"latency", said(func(m *MessageP) { m.Latency = &durationpb.Duration{Nanos: 1} }), ""},
		{"latency negative", said(func(m *MessageP) { m.Latency = &durationpb.Duration{Seconds: -1} }), "latency is not a duration"},

		{"thumb on a session", thumb("s1", 0, "thumbs_up"), ""},
		{"feedback without session", thumb("", 2, "thumbs_up"), "session_id has 0"},
		{"feedback with session of 65", thumb(long(65), 2, "thumbs_up"), "session_id has 65"},
		{"feedback without target", voted(func(f *FeedbackP) { f.FeedbackTarget = 0 }), "feedback_target is missing"},
		{"feedback on a message without index", voted(func(f *FeedbackP) { f.MessageIndexHint = 0 }), "message_index_hint is 0"},
		{"feedback on a session with index", voted(func(f *FeedbackP) { f.FeedbackTarget = 1 }), "message_index_hint is 2 on a whole session"},
		{"feedback taken back", thumb("s1", 2, ""), ""},
		{"feedback of another type", thumb("s1", 2, "like"), "neither thumbs_up nor thumbs_down"},
		{"voter of 65", voted(func(f *FeedbackP) { f.UserId = long(65) }), "feedback user_id has 65"},
		{"comment of 2000", voted(func(f *FeedbackP) { f.Comment = long(2000) }), ""},
		{"comment of 2001", voted(func(f *FeedbackP) { f.Comment = long(2001) }), "comment has 2001"},
		{"reasons, 10 of 64", voted(func(f *FeedbackP) { f.Reasons = strings.SplitN(strings.Repeat(long(64)+" ", 9)+long(64), " ", -1) }), ""},
		{"reasons, 11", voted(func(f *FeedbackP) { f.Reasons = strings.Fields(strings.Repeat("r ", 11)) }), "feedback has 11 reasons, want at most 10"},
		{"reason empty", voted(func(f *FeedbackP) { f.Reasons = []string{""} }), "reason 1 has 0"},
		{"reason of 65", voted(func(f *FeedbackP) { f.Reasons = []string{long(65)} }), "reason 1 has 65"},
		{"reason with NUL", voted(func(f *FeedbackP) { f.Reasons = []string{"a\x00"} }), "reasons contains NUL"},
		{"score", voted(func(f *FeedbackP) { f.Score, f.ScoreMin, f.ScoreMax = proto.Float64(5), 1, 5 }), ""},
		{"score outside", voted(func(f *FeedbackP) { f.Score, f.ScoreMin, f.ScoreMax = proto.Float64(6), 1, 5 }), "score is not within"},
		{"score not a number", voted(func(f *FeedbackP) { f.Score, f.ScoreMax = proto.Float64(math.NaN()), 5 }), "score is not within"},
	} {
		t.Run(test.name, func(t *testing.T) {
			failed, got := check(t, aligntest.Limits{}, batchOf(test.event), nil)
			wantFailure(t, failed, test.want)
			if got.status != http.StatusOK {
				t.Errorf("status = %d, %v; want 200: what can be read is accepted", got.status, got.err)
			}
		})
	}
}

func TestLimitsOfAProjectReplaceTheDefaults(t *testing.T) {
	e := user("u1")
	e.Properties.CustomProperties = map[string]*Custom{"a": {StringValue: "123"}, "b": {StringValue: strings.Repeat("x", 257)}}
	failed, _ := check(t, aligntest.Limits{Properties: 1, PropertyValue: 257}, batchOf(e), nil)
	wantFailure(t, failed, "event has 2 custom properties, want at most 1")
	if strings.Contains(failed, "code points") {
		t.Errorf("failures = %q, want nothing of a value's length", failed)
	}
}

func TestRetryMustCarryTheSameBytes(t *testing.T) {
	tb := &failures{TB: t}
	srv := aligntest.NewServer(tb)
	batch := batchOf(user("u1"))
	send(t, srv, batch)
	send(t, srv, batch)
	wantFailure(t, tb.String(), "")
	batch.Events = append(batch.Events, user("u2"))
	send(t, srv, batch)
	srv.Close()
	wantFailure(t, tb.String(), "request_id was used before with other bytes")
	if got := srv.Requests()[2].Attempt; got != 3 {
		t.Errorf("attempt = %d, want 3", got)
	}
}

func TestEventIDMustMeanTheSameEvent(t *testing.T) {
	tb := &failures{TB: t}
	srv := aligntest.NewServer(tb)
	e := user("u1")
	send(t, srv, batchOf(e))
	send(t, srv, batchOf(user("u2"), e)) // another batch may carry it again
	wantFailure(t, tb.String(), "")
	e.Properties.GetUserProperties().UserEmail = "ada@example.com"
	send(t, srv, batchOf(e))
	srv.Close()
	wantFailure(t, tb.String(), "event 1 (user_recognize): id was used before for another event")
}

func TestFailuresAreShortAndShowNoContent(t *testing.T) {
	var events []*Wire
	for range 50 {
		events = append(events, message(strings.Repeat("secret", 20), 0, "secret"))
	}
	failed, _ := check(t, aligntest.Limits{}, batchOf(events...), nil)
	wantFailure(t, failed, "request 1 breaks the wire contract in 100 points")
	if n := strings.Count(failed, "\n"); n != 11 {
		t.Errorf("failure has %d lines, want 12", n+1)
	}
	if strings.Contains(failed, "secret") {
		t.Errorf("failure shows content: %s", failed)
	}
}

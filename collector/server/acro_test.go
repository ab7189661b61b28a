package server_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest/acro"
	"github.com/openalign/align/collector/keys"
)

const conversationID = "6f1d0a2b-3c4d-4e5f-8a9b-00000000c0de"

// tell is an Acro request that tells a conversation. with is put before its lines.
func tell(with, lines string) exchange {
	return exchange{
		path:   "/shop/conversation",
		header: map[string]string{"Authorization": "Bearer {ingest key}"},
		body:   `{"conversationId":"` + conversationID + `","start":"2026-03-14T12:00:00Z"` + with + `,"lines":[` + lines + `]}`,
		status: http.StatusOK,
		want:   `{"conversationId":"` + conversationID + `","requestId":"ID"}`,
	}
}

const twoLines = `{"role":"USER","content":"Where is my order?","timestamp":"2026-03-14T12:00:05Z"},{"role":"AI_ASSISTANT","content":"On its way."}`

func refusal(what string) string { return `{"error":"` + what + `","requestId":"ID"}` }

// AC-2: a status for each thing that can be wrong with a request as such, and a requestId in every answer and in the log.
func TestAcroStatuses(t *testing.T) {
	w := newWorld(t)
	other, key, err := keys.New("other", collector.ScopeIngest)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.store.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	large := strings.Repeat(" ", acro.MaxBytes)
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	if _, err := zip.Write([]byte(large + large)); err != nil || zip.Close() != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		edit   func(*exchange)
		status int
		want   string
	}{
		{"a conversation", func(*exchange) {}, 200, tell("", "").want},
		{"told again", func(*exchange) {}, 200, tell("", "").want},
		{"gzip", func(e *exchange) { e.header["Content-Encoding"], e.body = "gzip", zipped(t, e.body) }, 200, tell("", "").want},
		{"a charset", func(e *exchange) { e.header["Content-Type"] = "application/json; charset=utf-8" }, 200, tell("", "").want},
		{"GET", func(e *exchange) { e.method = http.MethodGet }, 405, refusal("use POST")},
		{"no secret", func(e *exchange) { delete(e.header, "Authorization") }, 401, refusal("an API key is needed: send it as Authorization: Bearer KEY")},
		{"a bad secret", func(e *exchange) { e.header["Authorization"] = "Bearer nobody's" }, 401, refusal("this API key is not known here")},
		{"a key that may not send", func(e *exchange) { e.header["Authorization"] = "Bearer {read key}" }, 403, refusal("this API key has scope read; this call needs ingest")},
		{"the secret of another application", func(e *exchange) { e.header["Authorization"] = "Bearer " + other }, 403, refusal("this secret belongs to another application")},
		{"an unknown application", func(e *exchange) { e.path = "/nobody/conversation" }, 404, refusal("there is no such application")},
		{"another type", func(e *exchange) { e.header["Content-Type"] = "text/plain" }, 415, refusal("send application/json")},
		{"no type", func(e *exchange) { e.header["Content-Type"] = "" }, 415, refusal("send application/json")},
		{"another encoding", func(e *exchange) { e.header["Content-Encoding"] = "br" }, 415, refusal("content encoding not understood: send identity or gzip")},
		{"too large", func(e *exchange) { e.body += large }, 413, refusal("request too large: the limit is 10485760 bytes")},
		{"too large once unzipped", func(e *exchange) { e.header["Content-Encoding"], e.body = "gzip", bomb.String() }, 413,
			refusal("request too large: the limit is 10485760 bytes after decompression")},
		{"no JSON", func(e *exchange) { e.body = `{"conversationId":` }, 400, refusal("the body must be a JSON object")},
		{"no body", func(e *exchange) { e.body = "" }, 400, refusal("the body must be a JSON object")},
		{"no object", func(e *exchange) { e.body = "[]" }, 400, refusal("the body must be a JSON object")},
	} {
		e := tell("", twoLines)
		c.edit(&e)
		status, header, body := w.do(t, e)
		if status != c.status || requestIDs.ReplaceAllString(body, "ID") != c.want {
			t.Errorf("%s: %d %s, want %d %s", c.name, status, body, c.status, c.want)
		}
		if id := requestIDs.FindString(body); !strings.Contains(w.log.String(), "request_id="+id) {
			t.Errorf("%s: request %q is not in the log", c.name, id)
		}
		if header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: Content-Type %q", c.name, header.Get("Content-Type"))
		}
	}
	if got, want := w.totals(t), (collector.Totals{Facts: 4, Conversations: 1, Messages: 2}); got != want {
		t.Errorf("stored %+v, want %+v", got, want)
	}
	for _, secret := range []string{"Where is my order", conversationID, other, "nobody"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	if _, err := zip.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	return zipped.String()
}

// AC-3 to AC-11 and AC-15: what is refused names its field; nothing of it is stored.
func TestAcroRefusesWhatItsDocumentDoesNotAllow(t *testing.T) {
	const (
		date = "must be an ISO 8601 date, or milliseconds since 1970"
		role = "must be one of AI_ASSISTANT, USER, HUMAN, TOOL, assistant, user, tool, system"
		of   = "must be a whole number of seconds from 0 to 1000000000"
	)
	line := func(members string) string { return "{" + members + "}" }
	w := newWorld(t)
	for _, c := range []struct{ rule, body, want string }{
		{"AC-3", `{"lines":[],"start":"2026-03-14"}`, "conversationId is required"},
		{"AC-3", `{"conversationId":"` + conversationID + `","start":"2026-03-14"}`, "lines is required"},
		{"AC-3", `{"conversationId":"` + conversationID + `","lines":[]}`, "start is required"},
		{"AC-3", `{"conversationId":null,"lines":[],"start":"2026-03-14"}`, "conversationId is required"},
		{"AC-4", `{"conversationId":"` + strings.ReplaceAll(conversationID, "-", "") + `","lines":[],"start":"2026-03-14"}`, "conversationId must be a UUID of 36 characters"},
		{"AC-4", `{"conversationId":"urn:uuid:` + conversationID + `","lines":[],"start":"2026-03-14"}`, "conversationId must be a UUID of 36 characters"},
		{"AC-4", `{"conversationId":7,"lines":[],"start":"2026-03-14"}`, "conversationId must be a string"},
		{"AC-5", tell(`,"end":"yesterday"`, "").body, "end " + date},
		{"AC-5", tell(`,"end":true`, "").body, "end " + date},
		{"AC-5", tell(`,"end":"9999-12-31T23:59:59-14:00"`, "").body, "end " + date},
		{"AC-6", tell(`,"customerId":"`+strings.Repeat("é", 65)+`"`, "").body, "customerId must have at most 64 characters"},
		{"AC-6", tell(`,"customerEmail":"`+strings.Repeat("x", 318)+`@é.de"`, "").body, "customerEmail must have at most 320 characters"},
		{"AC-6", tell(`,"customerEmail":"Ada <ada@example.com>"`, "").body, "customerEmail must be an email address"},
		{"AC-6", tell(`,"customerPhone":"`+strings.Repeat("1", 129)+`"`, "").body, "customerPhone must have at most 128 characters"},
		{"AC-6", tell(`,"agentId":"`+strings.Repeat("x", 65)+`"`, "").body, "agentId must have at most 64 characters"},
		{"AC-6", tell(`,"agentVersion":"`+strings.Repeat("x", 129)+`"`, "").body, "agentVersion must have at most 128 characters"},
		{"AC-6", tell(`,"externalCompanyId":"`+strings.Repeat("x", 65)+`"`, "").body, "externalCompanyId must have at most 64 characters"},
		{"AC-6", tell(`,"externalCompanyName":"`+strings.Repeat("x", 257)+`"`, "").body, "externalCompanyName must have at most 256 characters"},
		{"AC-6", tell(`,"externalCompanyType":"`+strings.Repeat("x", 129)+`"`, "").body, "externalCompanyType must have at most 128 characters"},
		{"AC-6", tell(`,"agentId":7`, "").body, "agentId must be a string"},
		{"AC-7", tell(`,"source":"`+strings.Repeat("x", 65)+`"`, "").body, "source must have at most 64 characters"},
		{"AC-8", tell(`,"end":"2026-03-14T11:59:59Z"`, "").body, "end must not be before start"},
		{"AC-8", tell(`,"duration":-1`, "").body, "duration " + of},
		{"AC-8", tell(`,"duration":1.5`, "").body, "duration " + of},
		{"AC-8", tell(`,"duration":"60"`, "").body, "duration " + of},
		{"AC-8", tell(`,"transfer":"true"`, "").body, "transfer must be a boolean"},
		{"AC-8", tell(`,"completed":0`, "").body, "completed must be a boolean"},
		{"AC-8", tell(`,"textUrl":"ftp://example.com/x"`, "").body, "textUrl must be an http or https URL"},
		{"AC-8", tell(`,"audioUrl":"/relative"`, "").body, "audioUrl must be an http or https URL"},
		{"AC-9", tell("", line(`"content":"x"`)).body, "lines[0].role is required"},
		{"AC-9", tell("", twoLines+","+line(`"role":"user"`)).body, "lines[2].content is required"},
		{"AC-9", tell("", line(`"role":"user","content":7`)).body, "lines[0].content must be a string or null"},
		{"AC-9", tell("", `"hello"`).body, "lines[0] must be an object"},
		{"AC-10", tell("", line(`"role":"System","content":"x"`)).body, "lines[0].role " + role},
		{"AC-10", tell("", line(`"role":"human","content":"x"`)).body, "lines[0].role " + role},
		{"AC-10", tell("", line(`"role":"Assistant","content":"x"`)).body, "lines[0].role " + role},
		{"AC-11", tell("", line(`"role":"user","content":"x","timestamp":"soon"`)).body, "lines[0].timestamp " + date},
		{"AC-15", `{"conversationId":"` + conversationID + `","lines":{},"start":"2026-03-14"}`, "lines must be an array"},
	} {
		e := tell("", "")
		e.name, e.body, e.status, e.want = c.rule+" "+c.want, c.body, http.StatusBadRequest, refusal(c.want)
		w.exchange(t, e)
	}
	if got := w.totals(t); got != (collector.Totals{}) {
		t.Errorf("stored %+v of refused conversations", got)
	}
}

// AC-3 to AC-14: a conversation with everything there is.
func TestAcroConversation(t *testing.T) {
	w := newWorld(t)
	e := tell(`,"end":"2026-03-14T12:10:00+00:00","duration":60.0,"customerId":"c1","customerEmail":"ada@example.com","customerPhone":"+46 1",
		"agentId":"support","agentVersion":"7","source":"mywebsite.com","externalCompanyId":"x1","externalCompanyName":"Acme","externalCompanyType":"trial",
		"textUrl":"https://example.com/t","audioUrl":"http://example.com/a","transfer":true,"completed":false,"future":{"a":[1]}`,
		`{"role":"AI_ASSISTANT","content":"1","timestamp":"2026-03-14T12:00:01.000005"},{"role":"assistant","content":"2"},
		{"role":"USER","content":"3","timestamp":"2026-03-14"},{"role":"user","content":null,"mood":"good"},{"role":"HUMAN","content":"5"},
		{"role":"TOOL","content":"6"},{"role":"tool","content":"7","timestamp":1773489602000},{"role":"system","content":"8"}`)
	e.body = strings.Replace(e.body, conversationID, strings.ToUpper(conversationID), 1)
	w.exchange(t, e)
	same(t, "messages", w.shown(t, conversationID), []string{"1 assistant: 1", "2 assistant: 2", "3 user: 3", "4 user: ", "5 human: 5", "6 tool: 6", "7 tool: 7", "8 system: 8"})

	c := w.conversation(t, conversationID)
	start := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	// AC-11: a line's time is kept as it is, so it may be before the start.
	if c.UserID != "c1" || c.AssistantID != "support" || !c.StartTime.Equal(start.Truncate(24*time.Hour)) || c.CloseReason != collector.CloseTransfer {
		t.Errorf("conversation %+v", c)
	}
	if state, end, _ := c.State(time.Now(), 0); state != collector.StateClosed || !end.Equal(start.Add(10*time.Minute)) {
		t.Errorf("state %v, end %v", state, end)
	}
	same(t, "properties", []string{fmt.Sprint(c.Properties)},
		[]string{"map[agent_version:7 audio_url:http://example.com/a duration:60 text_url:https://example.com/t]"})
	u, err := w.store.User(t.Context(), project, "c1")
	if err != nil || u.Email != "ada@example.com" || u.CompanyID != "x1" || u.CompanyName != "Acme" || u.CompanyType != "trial" || u.Properties["phone"] != "+46 1" {
		t.Errorf("user %+v, %v", u, err)
	}
	if counts := w.server.IngestedByDialect()["acro"]; counts.Stored != 11 || counts.Unknown != 2 {
		t.Errorf("counts %+v, want 11 stored and 2 unknown members (AC-15)", counts)
	}
	messages, _, err := w.store.Messages(t.Context(), project, conversationID, collector.Page{})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Time{start.Add(time.Second + 5*time.Microsecond), start.Add(time.Second + 5*time.Microsecond), start.Add(-12 * time.Hour)} {
		if !messages[i].Time.Equal(want) {
			t.Errorf("message %d was at %v, want %v (AC-5, AC-11)", i+1, messages[i].Time, want)
		}
	}
}

// AC-8: end, else start and duration, else the last line that has a time, else nothing.
func TestAcroEnd(t *testing.T) {
	for _, c := range []struct {
		with, lines string
		want        time.Duration // after the start
	}{
		{`,"end":"2026-03-14T13:00:00Z"`, twoLines, time.Hour},
		{`,"end":"2026-03-14T13:00:00Z","duration":60`, twoLines, time.Hour},
		{`,"duration":60`, twoLines, time.Minute},
		{``, twoLines, 5 * time.Second},
		{``, `{"role":"user","content":"x"}`, 0},
		{``, ``, 0},
	} {
		w := newWorld(t)
		w.exchange(t, tell(c.with, c.lines))
		got := w.conversation(t, conversationID)
		state, end, _ := got.State(time.Now(), 0)
		if state != collector.StateClosed || end.Sub(got.StartTime) != c.want {
			t.Errorf("%s: state %v, end %v after the start, want %v", c.with, state, end.Sub(got.StartTime), c.want)
		}
		if engaged, told := got.Properties["engaged"]; told != (c.lines == "") || told && engaged != "false" {
			t.Errorf("%s: engaged %q (AC-12)", c.lines, engaged)
		}
	}
}

// AC-13: a conversation that is told again replaces its lines; what it said before stays among the facts.
func TestAcroTellingAgainReplaces(t *testing.T) {
	w := newWorld(t)
	line := func(content string) string { return `{"role":"user","content":"` + content + `"}` }
	for _, step := range []struct {
		what  string
		lines []string
		want  []string
		facts int
	}{
		{"three lines", []string{"a", "b", "c"}, []string{"1 user: a", "2 user: b", "3 user: c"}, 5},
		{"the same again", []string{"a", "b", "c"}, []string{"1 user: a", "2 user: b", "3 user: c"}, 5},
		{"one line changed", []string{"a", "B", "c"}, []string{"1 user: a", "2 user: B", "3 user: c"}, 10},
		{"shorter", []string{"a"}, []string{"1 user: a"}, 13},
		{"longer", []string{"a", "b", "c", "d"}, []string{"1 user: a", "2 user: b", "3 user: c", "4 user: d"}, 19},
		{"a late repetition of the first", []string{"a", "b", "c"}, []string{"1 user: a", "2 user: b", "3 user: c", "4 user: d"}, 19},
		{"nothing", nil, nil, 21},
	} {
		var lines []string
		for _, content := range step.lines {
			lines = append(lines, line(content))
		}
		w.exchange(t, tell("", strings.Join(lines, ",")))
		same(t, step.what, w.shown(t, conversationID), step.want)
		if got := w.totals(t); got.Facts != step.facts || got.Messages != len(step.want) || w.conversation(t, conversationID).MessageCount != len(step.want) {
			t.Errorf("%s: %+v, want %d facts and %d messages", step.what, got, step.facts, len(step.want))
		}
	}
	// White space, order of members and what nobody knows say nothing.
	e := tell(`,"zzz":1`, "")
	e.body = strings.ReplaceAll(e.body, ",", " ,\n")
	w.exchange(t, e)
	if got := w.totals(t).Facts; got != 21 {
		t.Errorf("%d facts, want 21", got)
	}
}

// AC-5: every form of a date that clients send, and what is meant where no zone is given.
func TestAcroDates(t *testing.T) {
	noon := time.Date(2024, 1, 2, 12, 0, 0, 0, time.UTC)
	for date, want := range map[string]time.Time{
		`"2024-01-02T12:00:00Z"`:             noon,
		`"2024-01-02T12:00:00.000Z"`:         noon, // JavaScript
		`"2024-01-02T12:00:00"`:              noon, // Python's datetime.isoformat
		`"2024-01-02T12:00:00.000005"`:       noon.Add(5 * time.Microsecond),
		`"2024-01-02T12:00:00.123456789Z"`:   noon.Add(123456789),
		`"2024-01-02T14:00:00+02:00"`:        noon,
		`"2024-01-02T14:00:00.000005+02:00"`: noon.Add(5 * time.Microsecond),
		`"2024-01-02T14:00:00+0200"`:         noon,
		`"2024-01-02T12:00"`:                 noon,
		`"2024-01-02 12:00:00"`:              noon, // Python's str(datetime)
		`"2024-01-02 12:00:00.000005+00:00"`: noon.Add(5 * time.Microsecond),
		`"2024-01-02"`:                       noon.Add(-12 * time.Hour),
		`1704196800000`:                      noon,
		`"2024\u002d01-02T12:00:00Z"`:        noon, // JSON
	} {
		w := newWorld(t)
		e := tell("", "")
		e.body = strings.Replace(e.body, `"2026-03-14T12:00:00Z"`, date, 1)
		w.exchange(t, e)
		if got := w.conversation(t, conversationID).StartTime; !got.Equal(want) {
			t.Errorf("%s is %v, want %v", date, got, want)
		}
	}
}

// AC-6 and AC-7: limits are code points, and what is at the limit is taken.
func TestAcroTakesWhatIsAtTheLimit(t *testing.T) {
	w := newWorld(t)
	é := func(n int) string { return strings.Repeat("é", n) }
	email := strings.Repeat("x", 310) + "@b.example"
	w.exchange(t, tell(`,"customerId":"`+é(64)+`","customerEmail":"`+email+`","customerPhone":"`+é(128)+`","agentId":"`+é(64)+
		`","agentVersion":"`+é(128)+`","source":"`+é(64)+`","externalCompanyId":"`+é(64)+`","externalCompanyName":"`+é(256)+
		`","externalCompanyType":"`+é(128)+`","duration":1000000000,"end":null,"transfer":null,"textUrl":"","audioUrl":null`, twoLines))
	u, err := w.store.User(t.Context(), project, é(64))
	if err != nil || u.Email != email || u.CompanyName != é(256) || u.Properties["phone"] != é(128) {
		t.Errorf("user %+v, %v", u, err)
	}
	for _, fact := range w.store.batches[0].Facts {
		if s := fact.Event.GetProperties().GetSessionProperties(); s != nil && (s.Transfer != nil || s.Completed != nil || s.GetOutcome() != "") {
			t.Errorf("absent booleans are told: %v (AC-8)", s)
		}
	}
}

// AC-8 and AC-14: absent is not false.
func TestAcroOutcome(t *testing.T) {
	for with, want := range map[string]string{
		``:                                    "<nil> <nil> ",
		`,"transfer":true`:                    "true <nil> agent",
		`,"transfer":true,"completed":true`:   "true true agent",
		`,"transfer":false,"completed":true`:  "false true botHandled",
		`,"completed":true`:                   "<nil> true botHandled",
		`,"transfer":false,"completed":false`: "false false ",
		`,"completed":false`:                  "<nil> false ",
	} {
		w := newWorld(t)
		w.exchange(t, tell(with, twoLines))
		facts := w.store.batches[0].Facts
		end := facts[len(facts)-1].Event.GetProperties().GetSessionProperties()
		show := func(b *bool) string {
			if b == nil {
				return "<nil>"
			}
			return fmt.Sprint(*b)
		}
		if got := show(end.Transfer) + " " + show(end.Completed) + " " + end.GetOutcome(); got != want {
			t.Errorf("%s: %q, want %q", with, got, want)
		}
	}
}

package align

import (
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

const conversationID = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"

// examplePayload has the form of the document's own example: every field it lists, and times as Python's datetime.isoformat
// writes them, without a zone, with microseconds or none.
const examplePayload = `{
	"conversationId": "1B4E28BA-2FA1-41D2-883F-0016D3CCA427",
	"lines": [
		{"role": "AI_ASSISTANT", "content": "Hello! How can I help you today?", "timestamp": "2024-01-01T00:00:00"},
		{"role": "USER", "content": "I have a question about my account.", "timestamp": "2024-01-01T00:00:05.000005"},
		{"role": "TOOL", "content": null, "timestamp": "2024-01-01T00:00:06"},
		{"role": "HUMAN", "content": "Let me have a look."}
	],
	"start": "2024-01-01T00:00:00",
	"end": "2024-01-01T00:05:00.123456",
	"duration": 300,
	"transfer": false,
	"completed": true,
	"customerId": "customer_123",
	"customerEmail": "customer@example.com",
	"customerPhone": "+1234567890",
	"agentId": "agent_123",
	"agentVersion": "1.0.0",
	"externalCompanyId": "company_123",
	"externalCompanyName": "Example Corp",
	"externalCompanyType": "Technology",
	"source": "mywebsite.com",
	"textUrl": "https://example.com/text/123",
	"audioUrl": "https://example.com/audio/123"
}`

// example is what examplePayload says.
func example() Transcript {
	at := func(s string) time.Time {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			panic(err)
		}
		return t
	}
	return Transcript{
		ConversationID: "1B4E28BA-2FA1-41D2-883F-0016D3CCA427",
		Lines: []TranscriptLine{
			{TranscriptAIAssistant, new("Hello! How can I help you today?"), at("2024-01-01T00:00:00Z")},
			{TranscriptUser, new("I have a question about my account."), at("2024-01-01T00:00:05.000005Z")},
			{TranscriptTool, nil, at("2024-01-01T00:00:06Z")},
			{TranscriptHuman, new("Let me have a look."), time.Time{}},
		},
		Start: at("2024-01-01T00:00:00Z"), End: at("2024-01-01T00:05:00.123456Z"), Duration: new(300 * time.Second),
		Transfer: new(false), Completed: new(true),
		CustomerID: "customer_123", CustomerEmail: "customer@example.com", CustomerPhone: "+1234567890",
		AgentID: "agent_123", AgentVersion: "1.0.0",
		ExternalCompanyID: "company_123", ExternalCompanyName: "Example Corp", ExternalCompanyType: "Technology",
		Source: "mywebsite.com", TextURL: "https://example.com/text/123", AudioURL: "https://example.com/audio/123",
	}
}

// minimal is a transcript with what is required alone.
func minimal(lines ...TranscriptLine) Transcript {
	return Transcript{ConversationID: conversationID, Start: time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC), Lines: lines}
}

// joined returns the errors that errors.Join put together.
func joined(err error) []error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return list.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// fieldsOf lists the *FieldErrors in err, joined or alone, as "Field rule".
func fieldsOf(t *testing.T, err error) (list []string) {
	t.Helper()
	for _, e := range joined(err) {
		field, ok := e.(*FieldError)
		if !ok {
			t.Fatalf("%T: %v", e, e)
		}
		list = append(list, field.Field+" "+field.Rule)
	}
	return list
}

func TestExamplePayloadParses(t *testing.T) { // AC-5, AC-9, AC-10
	got, err := ParseTranscript([]byte(examplePayload))
	if err != nil {
		t.Fatal(err)
	}
	if want := example(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	written, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	var again Transcript
	if err := json.Unmarshal(written, &again); err != nil || !reflect.DeepEqual(again, got) {
		t.Errorf("written and read again: %v\n%s", err, written)
	}
}

// recordOne records a transcript and returns what arrived.
func recordOne(t *testing.T, transcript Transcript, change func(*Config)) (events []*ingestionv1alpha.Event) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, change)
		if err := c.RecordTranscript(bg, transcript); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(bg); err != nil {
			t.Fatal(err)
		}
		checkInvariant(t, c.Stats())
		events = rec.delivered()
	})
	return events
}

func TestTranscriptIsRecordedAsItsEvents(t *testing.T) { // AC-6, AC-7, AC-8, AC-11
	events := recordOne(t, example(), nil)
	var types []string
	for _, e := range events {
		types = append(types, e.Type)
	}
	if want := []string{"user_recognize", "session_open", "message_create", "message_create", "message_create", "message_create", "session_close"}; !slices.Equal(types, want) {
		t.Fatalf("recorded %v", types)
	}
	want := example()
	u := events[0].Properties.GetUserProperties()
	if u.UserId != want.CustomerID || u.GetUserEmail() != want.CustomerEmail || u.GetCompany().GetId() != want.ExternalCompanyID ||
		u.GetCompany().GetName() != want.ExternalCompanyName || u.GetCompany().GetType() != want.ExternalCompanyType {
		t.Errorf("user %v", u)
	}
	s := events[1].Properties.GetSessionProperties()
	if s.SessionId != conversationID || s.GetUserId() != want.CustomerID || s.GetAssistantId() != want.AgentID || s.GetSource() != want.Source ||
		!s.GetSessionStartTime().AsTime().Equal(want.Start) {
		t.Errorf("session %v", s)
	}
	var data map[string]any
	if err := json.Unmarshal([]byte(s.GetData()), &data); err != nil {
		t.Fatal(err)
	}
	if wantData := map[string]any{
		DataAgentVersion: "1.0.0", DataCustomerPhone: "+1234567890", DataDuration: 300.0,
		DataTextURL: want.TextURL, DataAudioURL: want.AudioURL,
	}; !reflect.DeepEqual(data, wantData) {
		t.Errorf("data %v", data)
	}
	for i, line := range want.Lines {
		m := events[2+i].Properties.GetMessageProperties()
		if m.SessionId != conversationID || m.MessageIndexHint != int32(i+1) {
			t.Errorf("message %d: %v", i, m)
		}
		if line.Content == nil {
			if m.MessageContent != "" || m.ContentLength == nil || *m.ContentLength != 0 {
				t.Errorf("null content became %v", m)
			}
		} else if m.MessageContent != *line.Content || m.ContentLength != nil {
			t.Errorf("message %d: %v", i, m)
		}
		if line.Timestamp.IsZero() != (m.MessageCreateTime == nil) || m.MessageCreateTime != nil && !m.MessageCreateTime.AsTime().Equal(line.Timestamp) {
			t.Errorf("message %d: time %v, want %v", i, m.MessageCreateTime, line.Timestamp)
		}
	}
	end := events[6].Properties.GetSessionProperties()
	if end.SessionId != conversationID || !end.SessionEndTime.AsTime().Equal(want.End) || end.Transfer == nil || *end.Transfer || end.Completed == nil || !*end.Completed {
		t.Errorf("end %v", end)
	}
}

func TestEightRoleSpellingsExactly(t *testing.T) { // AC-10
	for spelling, role := range transcriptRoles {
		events := recordOne(t, minimal(TranscriptLine{Role: spelling, Content: new("x")}), nil)
		m := events[1].Properties.GetMessageProperties()
		if uint64(m.MessageRole) != wireRole(role) || uint64(m.GetExtendedRole()) != wireExtendedRole(role) {
			t.Errorf("%s became %v %v, want %s", spelling, m.MessageRole, m.GetExtendedRole(), role)
		}
	}
	if len(transcriptRoles) != 8 {
		t.Errorf("%d spellings", len(transcriptRoles))
	}
	c := newClient(t, &recorder{}, nil)
	defer c.Close(bg)
	for _, role := range []TranscriptRole{"System", "human", "Assistant", "User", "SYSTEM", "ASSISTANT", "agent", "bot", " user", ""} {
		err := c.RecordTranscript(bg, minimal(TranscriptLine{Role: role, Content: new("x")}))
		if got := fieldsOf(t, err); !slices.Equal(got, []string{"Transcript.Lines[0].Role oneof"}) {
			t.Errorf("%q: %v", role, got)
		}
	}
}

func TestTriStateBooleansStayApart(t *testing.T) { // AC-8, AC-14
	for _, v := range []*bool{nil, new(false), new(true)} {
		in := minimal()
		in.Transfer, in.Completed = v, v
		events := recordOne(t, in, nil)
		end := events[len(events)-1].Properties.GetSessionProperties()
		if !reflect.DeepEqual(end.Transfer, v) || !reflect.DeepEqual(end.Completed, v) {
			t.Errorf("%v became %v, %v", v, end.Transfer, end.Completed)
		}
	}
}

func TestEndTimeFollowsItsRules(t *testing.T) { // AC-8
	start := minimal().Start
	late, early := TranscriptLine{TranscriptUser, new("x"), start.Add(time.Hour)}, TranscriptLine{TranscriptUser, new("x"), start.Add(time.Minute)}
	for name, tc := range map[string]struct {
		in   Transcript
		want time.Time
	}{
		"end counts, the duration is kept": {Transcript{End: start.Add(5 * time.Minute), Duration: new(7 * time.Second)}, start.Add(5 * time.Minute)},
		"only duration":                    {Transcript{Duration: new(90 * time.Second), Lines: []TranscriptLine{late}}, start.Add(90 * time.Second)},
		"a duration of zero":               {Transcript{Duration: new(time.Duration(0))}, start},
		"the last line, not the latest":    {Transcript{Lines: []TranscriptLine{late, early}}, early.Timestamp},
		"a last line without a time":       {Transcript{Lines: []TranscriptLine{late, {TranscriptUser, new("x"), time.Time{}}}}, time.Time{}},
		"nothing is known":                 {Transcript{}, time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.in.ConversationID, tc.in.Start = conversationID, start
			events := recordOne(t, tc.in, nil)
			end := events[len(events)-1].Properties.GetSessionProperties().SessionEndTime
			if tc.want.IsZero() != (end == nil) || end != nil && !end.AsTime().Equal(tc.want) {
				t.Errorf("end %v, want %v", end, tc.want)
			}
			data := events[0].Properties.GetSessionProperties().GetData()
			if kept := strings.Contains(data, DataDuration); kept != (tc.in.Duration != nil) {
				t.Errorf("data %s", data)
			}
		})
	}
}

func TestNonMonotonicTimestampsKeepTheLinesOrder(t *testing.T) { // AC-11
	start := minimal().Start
	in := minimal()
	for i := range 10 {
		in.Lines = append(in.Lines, TranscriptLine{TranscriptUser, new(fmt.Sprint("line ", i)), start.Add(time.Duration(10-i) * time.Minute)})
	}
	events := recordOne(t, in, nil)
	for i, e := range events[1 : len(events)-1] {
		m := e.Properties.GetMessageProperties()
		if m.MessageIndexHint != int32(i+1) || m.MessageContent != fmt.Sprint("line ", i) {
			t.Errorf("%d: %v", i, m)
		}
	}
}

func TestTranscriptWithoutLinesIsASession(t *testing.T) { // AC-12
	parsed, err := ParseTranscript([]byte(`{"conversationId":"` + conversationID + `","start":"2024-01-01","lines":[]}`))
	if err != nil {
		t.Fatal(err)
	}
	events := recordOne(t, parsed, nil)
	if len(events) != 2 || events[0].Type != "session_open" || events[1].Type != "session_close" {
		t.Errorf("recorded %v", events)
	}
	if user := events[0].Properties.GetSessionProperties().GetUserId(); user != conversationID {
		t.Errorf("user %q", user)
	}
}

func TestWhatHasNoFieldIsKeptAsData(t *testing.T) { // AC-6
	in := minimal()
	in.CustomerEmail = strings.Repeat("a", 60) + "@" + strings.Repeat(strings.Repeat("b", 60)+".", 4) + "example.com"
	in.ExternalCompanyName, in.ExternalCompanyType = "Example Corp", "Technology"
	var data map[string]any
	if err := json.Unmarshal([]byte(recordOne(t, in, nil)[0].Properties.GetSessionProperties().GetData()), &data); err != nil {
		t.Fatal(err)
	}
	if want := map[string]any{DataCustomerEmail: in.CustomerEmail, DataExternalCompanyName: "Example Corp", DataExternalCompanyType: "Technology"}; !reflect.DeepEqual(data, want) {
		t.Errorf("data %v", data)
	}
}

func TestEveryProblemOfATranscriptIsToldAndNothingRecorded(t *testing.T) { // AC-3, AC-4, AC-6, AC-7, AC-8
	long := func(n int) string { return strings.Repeat("é", n) }
	for want, change := range map[string]func(*Transcript){
		"Transcript.ConversationID uuid":     func(tr *Transcript) { tr.ConversationID = "" },
		"Transcript.ConversationID uuid ":    func(tr *Transcript) { tr.ConversationID = strings.ReplaceAll(conversationID, "-", "") },
		"Transcript.ConversationID uuid  ":   func(tr *Transcript) { tr.ConversationID = "urn:uuid:" + conversationID },
		"Transcript.ConversationID uuid   ":  func(tr *Transcript) { tr.ConversationID = "{" + conversationID + "}" },
		"Transcript.ConversationID uuid    ": func(tr *Transcript) { tr.ConversationID = "g" + conversationID[1:] },
		"Transcript.Start required":          func(tr *Transcript) { tr.Start = time.Time{} },
		"Transcript.Start time": func(tr *Transcript) {
			tr.Start, tr.End, tr.Duration = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Time{}, nil
		},
		"Transcript.Duration time": func(tr *Transcript) {
			tr.Start, tr.End = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Time{}
		},
		"Transcript.End min":                 func(tr *Transcript) { tr.End = tr.Start.Add(-time.Nanosecond) },
		"Transcript.Duration min":            func(tr *Transcript) { tr.Duration = new(-time.Second) },
		"Transcript.Duration setting":        func(tr *Transcript) { tr.Duration = new(1500 * time.Millisecond) },
		"Transcript.CustomerID max":          func(tr *Transcript) { tr.CustomerID = long(65) },
		"Transcript.CustomerID required":     func(tr *Transcript) { tr.CustomerID = " " },
		"Transcript.CustomerEmail max":       func(tr *Transcript) { tr.CustomerEmail = long(310) + "@example.com" },
		"Transcript.CustomerEmail email":     func(tr *Transcript) { tr.CustomerEmail = "nobody" },
		"Transcript.CustomerPhone max":       func(tr *Transcript) { tr.CustomerPhone = long(129) },
		"Transcript.AgentID max":             func(tr *Transcript) { tr.AgentID = long(65) },
		"Transcript.AgentVersion max":        func(tr *Transcript) { tr.AgentVersion = long(129) },
		"Transcript.ExternalCompanyID max":   func(tr *Transcript) { tr.ExternalCompanyID = long(65) },
		"Transcript.ExternalCompanyName max": func(tr *Transcript) { tr.ExternalCompanyName = long(257) },
		"Transcript.ExternalCompanyType max": func(tr *Transcript) { tr.ExternalCompanyType = long(129) },
		"Transcript.Source max":              func(tr *Transcript) { tr.Source = long(65) },
		"Transcript.Source utf8":             func(tr *Transcript) { tr.Source = "a\x00" },
		"Transcript.TextURL url":             func(tr *Transcript) { tr.TextURL = "ftp://example.com/x" },
		"Transcript.AudioURL url":            func(tr *Transcript) { tr.AudioURL = "example.com/x" },
		"Transcript.AudioURL url ":           func(tr *Transcript) { tr.AudioURL = "https:///x" },
		"Transcript.AudioURL url  ":          func(tr *Transcript) { tr.AudioURL = "javascript:alert(1)" },
		"Transcript.AudioURL max":            func(tr *Transcript) { tr.AudioURL = "https://example.com/" + long(2048) },
		"Transcript.Lines[3].Role oneof":     func(tr *Transcript) { tr.Lines[3].Role = "robot" },
		"Transcript.Lines[1].Content utf8":   func(tr *Transcript) { tr.Lines[1].Content = new("\xff") },
		"Transcript.Lines[0].Timestamp time": func(tr *Transcript) { tr.Lines[0].Timestamp = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) },
		"Transcript.Properties key":          func(tr *Transcript) { tr.Properties = Properties{"a b": "x"} },
		"Transcript setting": func(tr *Transcript) {
			tr.TextURL = "https://example.com/?" + strings.Repeat("&", 2000)
			tr.AudioURL = tr.TextURL
		},
	} {
		t.Run(strings.TrimSpace(want), func(t *testing.T) {
			rec := &recorder{}
			c := newClient(t, rec, nil)
			defer c.Close(bg)
			in := example()
			in.Lines = slices.Clone(in.Lines)
			change(&in)
			err := c.RecordTranscript(bg, in)
			if got := fieldsOf(t, err); !slices.Equal(got, []string{strings.TrimSpace(want)}) {
				t.Errorf("%v", got)
			}
			if s := c.Stats(); s.Accepted != 0 || s.Invalid != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
	t.Run("all at once", func(t *testing.T) {
		c := newClient(t, &recorder{}, nil)
		defer c.Close(bg)
		in := Transcript{ConversationID: "secret-id", Lines: make([]TranscriptLine, 10_000), Source: long(65)}
		in.Lines[0].Content = new("secret content\x00")
		err := c.RecordTranscript(bg, in)
		if got := fieldsOf(t, err); len(got) != maxProblems || got[0] != "Transcript.ConversationID uuid" {
			t.Errorf("%d problems: %v", len(got), got[0])
		}
		if strings.Contains(err.Error(), "secret") {
			t.Error("quotes what it was given")
		}
	})
}

func TestLimitsOfATranscriptAreTheDocuments(t *testing.T) { // AC-6, AC-7
	long := func(n int) string { return strings.Repeat("é", n) }
	in := example()
	in.CustomerID, in.CustomerPhone, in.AgentID, in.AgentVersion = long(64), long(128), long(64), long(128)
	in.ExternalCompanyID, in.ExternalCompanyName, in.ExternalCompanyType, in.Source = long(64), long(256), long(128), long(64)
	if events := recordOne(t, in, nil); len(events) != 7 {
		t.Errorf("%d events", len(events))
	}
}

func TestMalformedDocumentsNameTheField(t *testing.T) { // AC-3, AC-5, AC-8, AC-9, AC-15
	const line = `{"role":"user","content":"x"}`
	document := func(replace, with string) string {
		s := `{"conversationId":"` + conversationID + `","start":"2024-01-01T00:00:00","lines":[` + line + `,` + line + `]}`
		if !strings.Contains(s, replace) {
			t.Fatalf("nothing to replace: %s", replace)
		}
		return strings.Replace(s, replace, with, 1)
	}
	for name, tc := range map[string]struct{ document, want string }{
		"no conversationId":        {document(`"conversationId":"`+conversationID+`",`, ``), "Transcript.ConversationID required"},
		"null conversationId":      {document(`"`+conversationID+`"`, `null`), "Transcript.ConversationID required"},
		"number as conversationId": {document(`"`+conversationID+`"`, `7`), "Transcript.ConversationID type"},
		"no start":                 {document(`"start":"2024-01-01T00:00:00",`, ``), "Transcript.Start required"},
		"start in words":           {document(`2024-01-01T00:00:00`, `yesterday`), "Transcript.Start type"},
		"start as a float":         {document(`"2024-01-01T00:00:00"`, `1.5`), "Transcript.Start type"},
		"start in the year 1":      {document(`2024-01-01T00:00:00`, `0001-01-01T00:00:00`), "Transcript.Start type"},
		"start out of range":       {document(`"2024-01-01T00:00:00"`, `9223372036854775807`), "Transcript.Start type"},
		"no lines":                 {`{"conversationId":"` + conversationID + `","start":"2024-01-01"}`, "Transcript.Lines required"},
		"null lines":               {`{"conversationId":"` + conversationID + `","start":"2024-01-01","lines":null}`, "Transcript.Lines required"},
		"lines as an object":       {`{"conversationId":"` + conversationID + `","start":"2024-01-01","lines":{}}`, "Transcript.Lines type"},
		"a line as a text":         {document(line, `"x"`), "Transcript.Lines[0] type"},
		"a line as null":           {document(line, `null`), "Transcript.Lines[0] type"},
		"a line as an array":       {document(line+`,`+line, line+`,[1]`), "Transcript.Lines[1] type"},
		"no role":                  {document(`"role":"user",`, ``), "Transcript.Lines[0].Role required"},
		"number as role":           {document(`"role":"user"`, `"role":1`), "Transcript.Lines[0].Role type"},
		"no content":               {document(`,"content":"x"`, ``), "Transcript.Lines[0].Content required"},
		"number as content":        {document(`"content":"x"`, `"content":1`), "Transcript.Lines[0].Content type"},
		"boolean as timestamp":     {document(`"content":"x"`, `"content":"x","timestamp":true`), "Transcript.Lines[0].Timestamp type"},
		"fractional duration":      {document(`"start"`, `"duration":1.5,"start"`), "Transcript.Duration type"},
		"duration as a text":       {document(`"start"`, `"duration":"5","start"`), "Transcript.Duration type"},
		"endless duration":         {document(`"start"`, `"duration":99999999999,"start"`), "Transcript.Duration type"},
		"number as boolean":        {document(`"start"`, `"transfer":1,"start"`), "Transcript.Transfer type"},
		"text as boolean":          {document(`"start"`, `"completed":"true","start"`), "Transcript.Completed type"},
		"array as a text":          {document(`"start"`, `"audioUrl":[],"start"`), "Transcript.AudioURL type"},
		"an array":                 {`[]`, "Transcript json"},
		"null":                     {`null`, "Transcript json"},
		"nothing":                  {``, "Transcript json"},
		"half":                     {document(`]}`, ``), "Transcript json"},
		"two documents":            {document(`]}`, `]} {}`), "Transcript json"},
		"11 MiB":                   {document(`"x"`, `"`+strings.Repeat("x", 11<<20)+`"`), "Transcript json"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseTranscript([]byte(tc.document))
			if list := fieldsOf(t, err); !slices.Equal(list, []string{tc.want}) {
				t.Errorf("%v, want %s", list, tc.want)
			}
			if !reflect.DeepEqual(got, Transcript{}) {
				t.Errorf("half a transcript: %+v", got)
			}
		})
	}
	t.Run("all at once", func(t *testing.T) {
		_, err := ParseTranscript([]byte(`{"lines":[{},1,{"role":1,"content":2}],"transfer":0}`))
		if list := fieldsOf(t, err); len(list) != 8 {
			t.Errorf("%v", list)
		}
		_, err = ParseTranscript([]byte(`{"lines":[` + strings.Repeat("1,", 1<<20) + `1]}`))
		if list := fieldsOf(t, err); len(list) != maxProblems {
			t.Errorf("%d problems", len(list))
		}
	})
	t.Run("at the limit", func(t *testing.T) {
		s := document(`"x"`, `"x"`)
		if _, err := ParseTranscript([]byte(s + strings.Repeat(" ", MaxTranscriptBytes-len(s)))); err != nil {
			t.Error(err)
		}
	})
}

func TestTimesAreReadInEveryForm(t *testing.T) { // AC-5
	for in, want := range map[string]string{
		`"2024-01-01T00:00:00Z"`:               "2024-01-01T00:00:00Z",
		`"2024-01-01T00:00:00.123456789Z"`:     "2024-01-01T00:00:00.123456789Z",
		`"2024-01-01T02:00:00+02:00"`:          "2024-01-01T00:00:00Z",
		`"2024-01-01T00:00:00"`:                "2024-01-01T00:00:00Z",
		`"2024-01-01T00:00:00.000005"`:         "2024-01-01T00:00:00.000005Z",
		`"2024-01-01"`:                         "2024-01-01T00:00:00Z",
		`1704067200000`:                        "2024-01-01T00:00:00Z",
		`1704067200001`:                        "2024-01-01T00:00:00.001Z",
		`-1`:                                   "1969-12-31T23:59:59.999Z",
		`"2024-01-01T00:00:00.123456+01:00"`:   "2023-12-31T23:00:00.123456Z",
		`"2024-02-30"`:                         "",
		`"2024-01-01 00:00:00"`:                "",
		`"1704067200000"`:                      "",
		`"2024-01-01T25:00:00"`:                "",
		`"0001-01-01T00:00:00"`:                "",
		`""`:                                   "",
		`1e3`:                                  "",
		`{}`:                                   "",
		`"2024-01-01T00:00:00Z and then some"`: "",
	} {
		got, ok := parseDocumentTime(json.RawMessage(in))
		if ok != (want != "") || ok && got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %v %v, want %q", in, got, ok, want)
		}
	}
}

func TestUnknownFieldsAreIgnoredAndCounted(t *testing.T) { // AC-15
	got, err := ParseTranscript([]byte(`{"conversationId":"` + conversationID + `","start":"2024-01-01","sentiment":{"deep":[1]},"Start":1,
		"lines":[{"role":"user","content":"x","id":7},{"role":"user","content":null,"a":1,"b":2}]}`))
	if err != nil || got.UnknownFields != 5 || len(got.Lines) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestStrictRefusesWhatTheBaseSchemaCannotSayInATranscript(t *testing.T) { // AC-9
	rec := &recorder{}
	c := newClient(t, rec, func(cfg *Config) { cfg.Strict = true })
	in := example()
	in.CustomerEmail = strings.Repeat("a", 60) + "@" + strings.Repeat(strings.Repeat("b", 60)+".", 4) + "example.com"
	got := fieldsOf(t, c.RecordTranscript(bg, in))
	for i, field := range []string{
		"End", "Duration", "Transfer", "Completed", "CustomerPhone", "AgentVersion", "CustomerEmail", "ExternalCompanyID", "ExternalCompanyName",
		"ExternalCompanyType", "Source", "TextURL", "AudioURL", "Lines[2].Role", "Lines[2].Content", "Lines[3].Role",
	} {
		if i >= len(got) || got[i] != "Transcript."+field+" strict" {
			t.Fatalf("%v: no %s", got, field)
		}
	}
	if err := c.RecordTranscript(bg, minimal(TranscriptLine{TranscriptUser, new("x"), minimal().Start})); err != nil {
		t.Error(err)
	}
	c.Close(bg)
	if events := rec.delivered(); len(events) != 3 || events[2].Properties.GetSessionProperties().SessionEndTime != nil {
		t.Errorf("%v", events)
	}
}

func TestTranscriptIsAcceptedWholeOrNotAtAll(t *testing.T) {
	lines := slices.Repeat([]TranscriptLine{{Role: TranscriptUser, Content: new("x")}}, 8) // ten events
	down := func() *recorder { return &recorder{answer: func(int, request) answer { return answer{status: 503} }} }
	t.Run("reject", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, down(), func(cfg *Config) { cfg.BufferEvents = 25 })
			for i, want := range []error{nil, nil, ErrBufferFull} {
				if err := c.RecordTranscript(bg, minimal(lines...)); !errors.Is(err, want) {
					t.Errorf("%d: %v", i, err)
				}
			}
			if s := c.Stats(); s.Accepted != 20 || s.Full != 1 {
				t.Errorf("%+v", s)
			}
			c.Close(within(t, time.Second))
		})
	})
	t.Run("drop oldest", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, down(), func(cfg *Config) { cfg.BufferEvents, cfg.Overflow, cfg.BatchEvents = 25, OverflowDropOldest, 1 })
			for range 5 {
				if err := c.RecordTranscript(bg, minimal(lines...)); err != nil {
					t.Error(err)
				}
			}
			s := c.Stats()
			checkInvariant(t, s)
			if s.Accepted != 50 || s.Pending > 25 || s.Dropped[DropOverflow] < 25 {
				t.Errorf("%+v", s)
			}
			c.Close(within(t, time.Second))
		})
	})
	t.Run("block", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := newClient(t, &recorder{}, func(cfg *Config) { cfg.BufferEvents, cfg.Overflow = 15, OverflowBlock })
			for range 5 {
				if err := c.RecordTranscript(bg, minimal(lines...)); err != nil {
					t.Error(err)
				}
			}
			if err := c.RecordTranscript(bg, minimal(slices.Repeat(lines, 2)...)); !errors.Is(err, ErrBufferFull) {
				t.Errorf("larger than the whole buffer: %v", err)
			}
			if err := c.Close(bg); err != nil {
				t.Error(err)
			}
			if s := c.Stats(); s.Delivered != 50 || s.Accepted != 50 {
				t.Errorf("%+v", s)
			}
		})
	})
	t.Run("many at once", func(t *testing.T) { // a batch's worth more than an event can hold
		events := recordOne(t, minimal(slices.Repeat(lines, 5000)...), nil)
		if len(events) != 40_002 {
			t.Errorf("%d events", len(events))
		}
	})
}

func TestRecordingATranscriptAgainMakesNewVersions(t *testing.T) { // AC-13
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, nil)
		for _, text := range []string{"old", "new"} {
			if err := c.RecordTranscript(bg, minimal(TranscriptLine{Role: TranscriptUser, Content: new(text)})); err != nil {
				t.Fatal(err)
			}
		}
		c.Close(bg)
		var versions []string
		for _, e := range rec.delivered() {
			if m := e.Properties.GetMessageProperties(); m != nil {
				versions = append(versions, fmt.Sprint(m.MessageIndexHint, m.MessageContent))
			}
		}
		if want := []string{"1old", "1new"}; !slices.Equal(versions, want) {
			t.Errorf("%v", versions)
		}
	})
}

func TestTranscriptGoesTheWayOfEveryEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		var drops []Drop
		c := newClient(t, rec, func(cfg *Config) {
			cfg.Redact = RedactAll
			cfg.OnDrop = func(d Drop) { drops = append(drops, d) }
			cfg.BeforeSend = func(e *Event) bool { return e.Message == nil || e.Message.Content != "secret" }
		})
		ctx, receipt := WithReceipt(bg)
		in := minimal(
			TranscriptLine{Role: TranscriptUser, Content: new("I am ada@example.com")},
			TranscriptLine{Role: TranscriptUser, Content: new("secret")},
			TranscriptLine{Role: TranscriptTool, Content: nil},
			TranscriptLine{Role: TranscriptTool, Content: new(" \n ")})
		if err := c.RecordTranscript(ctx, in); err != nil {
			t.Fatal(err)
		}
		var dropped *DropError
		if err := receipt.Wait(bg); !errors.As(err, &dropped) || dropped.Reason != DropBeforeSend {
			t.Errorf("receipt: %v", err)
		}
		s := c.Stats()
		checkInvariant(t, s)
		if s.Accepted != 6 || s.Dropped[DropBeforeSend] != 1 || s.OpenSessions != 0 || len(drops) != 1 {
			t.Errorf("%+v %v", s, drops)
		}
		c.Close(bg)
		var content []string
		for _, e := range rec.delivered() {
			if m := e.Properties.GetMessageProperties(); m != nil {
				content = append(content, fmt.Sprint(m.MessageContent, m.GetContentLength()))
			}
		}
		if want := []string{"I am [email]0", "0", "3"}; !slices.Equal(content, want) {
			t.Errorf("%q", content)
		}
	})
	if err := new(Client).RecordTranscript(bg, example()); err != ErrClosed {
		t.Error(err)
	}
	c, err := New(Config{Disabled: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.RecordTranscript(bg, example()); err != nil || c.Stats().Dropped[DropDisabled] != 7 {
		t.Errorf("%v %+v", err, c.Stats())
	}
	checkInvariant(t, c.Stats())
}

// dialogues are real ones where they are at hand, else made up.
func dialogues(t *testing.T, most int) (list []Transcript) {
	f, err := os.Open("../shared/data/dialogues.jsonl.gz")
	if err != nil {
		for i := range most {
			in := minimal()
			in.ConversationID = AcroConversationID(fmt.Sprint("dialogue ", i))
			for j := range i % 20 {
				in.Lines = append(in.Lines, TranscriptLine{TranscriptRole([]string{"user", "assistant"}[j%2]), new(fmt.Sprintf("<line> %d & \"more\" \u2028 ✓", j)), in.Start.Add(time.Duration(j) * time.Second)})
			}
			list = append(list, in)
		}
		return list
	}
	defer f.Close()
	unzip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(unzip); dec.More() && len(list) < most; {
		var dialogue struct {
			ID    string
			Turns []struct{ Role, Text string }
		}
		if err := dec.Decode(&dialogue); err != nil {
			t.Fatal(err)
		}
		in := minimal()
		in.ConversationID = AcroConversationID(dialogue.ID)
		for _, turn := range dialogue.Turns {
			in.Lines = append(in.Lines, TranscriptLine{Role: TranscriptRole(turn.Role), Content: new(turn.Text)})
		}
		list = append(list, in)
	}
	return list
}

func TestDialoguesSurviveTheRoundTrip(t *testing.T) {
	all := dialogues(t, 300)
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{}
		c := newClient(t, rec, func(cfg *Config) { cfg.Overflow = OverflowBlock })
		for _, in := range all {
			document, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := ParseTranscript(document)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.RecordTranscript(bg, parsed); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Close(bg); err != nil {
			t.Fatal(err)
		}
		said := make(map[string][]string)
		for _, e := range rec.delivered() {
			if m := e.Properties.GetMessageProperties(); m != nil {
				said[m.SessionId] = append(said[m.SessionId], m.MessageContent)
			}
		}
		for _, in := range all {
			var want []string
			for _, line := range in.Lines {
				want = append(want, *line.Content)
			}
			if !slices.Equal(said[in.ConversationID], want) {
				t.Errorf("%s: %q, want %q", in.ConversationID, said[in.ConversationID], want)
			}
		}
	})
}

// What parses can be written, and reads the same again; what does not names a field and quotes nothing.
func FuzzParseTranscript(f *testing.F) {
	f.Add([]byte(examplePayload))
	f.Add([]byte(`{"conversationId":"x","start":0,"lines":[{"role":"","content":null,"timestamp":1}],"duration":-1}`))
	f.Add([]byte(`{"lines":[{}],"end":"2024-01-01"}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		got, err := ParseTranscript(document)
		if err != nil {
			for _, problem := range joined(err) {
				if field, ok := errors.AsType[*FieldError](problem); !ok || !strings.HasPrefix(field.Field, "Transcript") {
					t.Fatalf("%v", problem)
				}
			}
			return
		}
		written, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseTranscript(written)
		if err != nil {
			t.Fatalf("%v\n%s", err, written)
		}
		got.UnknownFields = 0
		rewritten, err := json.Marshal(again)
		if err != nil || string(rewritten) != string(written) {
			t.Fatalf("%s\n%s", written, rewritten)
		}
	})
}

// With a spool, too: until it is full, and when its disk breaks at any step of a transcript.
func TestTranscriptLargerThanTheSpoolDropsNothing(t *testing.T) {
	lines := make([]TranscriptLine, 600)
	for i := range lines {
		lines[i] = TranscriptLine{TranscriptUser, new(strings.Repeat("x", 4<<10)), time.Time{}}
	}
	for _, rule := range []Overflow{OverflowReject, OverflowBlock, OverflowDropOldest} {
		synctest.Test(t, func(t *testing.T) {
			c := spoolClient(t, t.TempDir(), down(), func(cfg *Config) {
				cfg.Overflow, cfg.SpoolMaxBytes, cfg.MaxContentBytes = rule, 1<<20, 8<<10
			})
			say(t, c, "s1", 1)
			if err := c.RecordTranscript(bg, minimal(lines...)); err != ErrBufferFull {
				t.Errorf("rule %d: %v", rule, err)
			}
			if s := c.Stats(); s.Pending != 1 || s.Full != 1 {
				t.Errorf("rule %d: %+v", rule, s)
			}
			giveUp(t, c)
		})
	}
}

func TestTranscriptIsSpooledWholeOrNotAtAll(t *testing.T) {
	lines := make([]TranscriptLine, 40)
	for i := range lines {
		lines[i] = TranscriptLine{TranscriptUser, new(strings.Repeat("x", 4<<10)), time.Time{}}
	}
	for _, rule := range []Overflow{OverflowReject, OverflowDropOldest} {
		synctest.Test(t, func(t *testing.T) {
			dir, rec := t.TempDir(), down()
			c := spoolClient(t, dir, rec, func(cfg *Config) {
				cfg.Overflow, cfg.SpoolMaxBytes, cfg.MaxContentBytes = rule, 1<<20, 8<<10
			})
			taken := 0
			for range 10 {
				switch err := c.RecordTranscript(bg, minimal(lines...)); {
				case err == nil:
					taken++
				case rule == OverflowDropOldest || !errors.Is(err, ErrBufferFull):
					t.Fatal(err)
				}
				if used := diskUse(t, dir); used > 1<<20 {
					t.Fatalf("%d bytes on the disk", used)
				}
			}
			s := c.Stats()
			checkInvariant(t, s)
			if taken < 3 || rule == OverflowReject && taken == 10 || s.Accepted%uint64(taken) != 0 || s.Accepted < uint64(taken*len(lines)) {
				t.Errorf("%d transcripts taken, %+v", taken, s)
			}
			giveUp(t, c)
			again := &recorder{}
			finish(t, spoolClient(t, dir, again, func(cfg *Config) { cfg.SpoolMaxBytes, cfg.MaxContentBytes = 1<<20, 8<<10 }))
			if got := uint64(len(again.delivered())); got != s.Pending {
				t.Errorf("%d events came after the restart, %d were left", got, s.Pending)
			}
		})
	}
	for at := 1; ; at += 3 {
		steps := 0
		synctest.Test(t, func(t *testing.T) {
			disk := &faultyFS{failAt: at, lasts: 1 << 20, err: syscall.ENOSPC}
			rec := &recorder{}
			cfg := Config{ProjectID: "p", APIKey: "k", Logger: discard, SpoolDir: t.TempDir(), IdleTimeout: -1, HTTPClient: rec.client()}
			c, err := newClientWith(cfg, func(dir string) spoolFS { disk.spoolFS = osFS{dir}; return disk })
			if err != nil {
				steps = at // New says so
				return
			}
			for range 3 {
				if err := c.RecordTranscript(bg, minimal(lines...)); err != nil {
					t.Errorf("step %d: %v", at, err)
				}
			}
			finish(t, c)
			if got := len(rec.delivered()); got != 3*(len(lines)+2) {
				t.Errorf("step %d: %d events delivered", at, got)
			}
			steps = disk.steps
		})
		if t.Failed() || steps < at {
			return
		}
	}
}

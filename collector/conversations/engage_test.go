package conversations_test

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/openalign/align/collector"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// A test for each point of the Engage Smarter system that is kept here, named after it.

func structOf(t testing.TB, m map[string]any) *structpb.Struct {
	t.Helper()
	s, err := structpb.NewStruct(m)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestES1CallsNeedAKeyAndTheKeySaysWhichProject(t *testing.T) {
	w := newWorld(t)
	c := w.create(t, &alignv1.CreateConversationRequest{})
	get := connect.NewRequest(&alignv1.GetConversationRequest{ConversationId: c.GetId()})
	if _, err := w.clientOf("align_chat_nonsense").GetConversation(t.Context(), get); connect.CodeOf(err) != connect.CodeUnauthenticated {
		t.Errorf("without a key: %v", err)
	}
	other := w.clientOf(w.newKey(t, "other", collector.ScopeChat))
	if _, err := other.GetConversation(t.Context(), connect.NewRequest(get.Msg)); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("with another project's key: %v", err)
	}
	_, err := other.Chat(t.Context(), connect.NewRequest(&alignv1.ChatRequest{ConversationId: c.GetId(), Agent: "echo", Messages: said("hi")}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("a chat with another project's key: %v", err)
	}
}

func TestES2ChatsNeedAConversationThatExists(t *testing.T) {
	w := newWorld(t)
	for _, talk := range []talk{w.unary, w.streamed} {
		_, err := talk(t.Context(), &alignv1.ChatRequest{Agent: "echo", Messages: said("hi")})
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), "conversation_id") {
			t.Errorf("without an id: %v", err)
		}
		_, err = talk(t.Context(), &alignv1.ChatRequest{ConversationId: "nowhere", Agent: "echo", Messages: said("hi")})
		if connect.CodeOf(err) != connect.CodeNotFound {
			t.Errorf("with an id of nothing: %v", err)
		}
	}
	if totals, err := w.store.Totals(t.Context(), project); err != nil || totals.Facts != 0 {
		t.Errorf("%+v, %v: want nothing recorded", totals, err)
	}
}

func TestES3ConversationIsMadeWithAnIDOfTheServersAndWhatWasGiven(t *testing.T) {
	w := newWorld(t)
	bare := w.create(t, &alignv1.CreateConversationRequest{})
	if bare.GetId() == "" || bare.Data != nil || bare.GetSource() != "" || bare.GetState() != alignv1.Conversation_STATE_OPEN {
		t.Errorf("without arguments: %v", bare)
	}
	data := structOf(t, map[string]any{"plan": "pro", "nested": map[string]any{"list": []any{1, true, nil, "<b>"}}})
	made := w.create(t, &alignv1.CreateConversationRequest{Data: data, Source: "web", UserId: "u1", AssistantId: "support", Title: "Orders"})
	if !proto.Equal(made.GetData(), data) || made.GetSource() != "web" || made.GetUserId() != "u1" || made.GetAssistantId() != "support" || made.GetTitle() != "Orders" {
		t.Errorf("made %v", made)
	}
	if got := w.get(t, made.GetId()); !proto.Equal(got, made) {
		t.Errorf("got %v, made %v", got, made)
	}
	if totals, err := w.store.Totals(t.Context(), project); err != nil || totals.Conversations != 2 || totals.Users != 1 {
		t.Errorf("counted %+v, %v", totals, err)
	}
	quality, err := w.store.Quality(t.Context(), project)
	if err != nil || quality.Findings[collector.FindingNeverOpened] != 0 {
		t.Errorf("data quality %+v, %v", quality, err)
	}
	status, answer := w.curl(t, "CreateConversation", `{"data":{"a":[1,{"b":null}]},"source":"curl"}`)
	if status != 200 || !strings.Contains(answer, `"data":{"a":[1,{"b":null}]}`) || !strings.Contains(answer, `"source":"curl"`) {
		t.Errorf("curl: %d %s", status, answer)
	}
}

func TestES4DataIsAnObjectOf16KiBAndSourceOf64Characters(t *testing.T) {
	w := newWorld(t)
	sized := func(bytes int) *structpb.Struct {
		return structOf(t, map[string]any{"x": strings.Repeat("y", bytes-len(`{"x":""}`))})
	}
	deep := func(depth int) *structpb.Struct { // that many objects in each other, and a number
		s := structOf(t, map[string]any{"x": 1})
		for range depth - 1 {
			s = &structpb.Struct{Fields: map[string]*structpb.Value{"x": structpb.NewStructValue(s)}}
		}
		return s
	}
	for name, c := range map[string]struct {
		req  *alignv1.CreateConversationRequest
		says string
	}{
		"data, most":             {&alignv1.CreateConversationRequest{Data: sized(16 << 10)}, ""},
		"data, one byte more":    {&alignv1.CreateConversationRequest{Data: sized(16<<10 + 1)}, "data has 16385 bytes as JSON; it can have 16384"},
		"data, deepest":          {&alignv1.CreateConversationRequest{Data: deep(100)}, ""},
		"data, deeper":           {&alignv1.CreateConversationRequest{Data: deep(101)}, "data is nested more than 100 deep"},
		"source, longest":        {&alignv1.CreateConversationRequest{Source: strings.Repeat("é", 64)}, ""},
		"source, longer":         {&alignv1.CreateConversationRequest{Source: strings.Repeat("é", 65)}, "source has 65 characters; it can have 64"},
		"user_id, longer":        {&alignv1.CreateConversationRequest{UserId: strings.Repeat("x", 65)}, "user_id has 65 characters; it can have 64"},
		"assistant_id, longer":   {&alignv1.CreateConversationRequest{AssistantId: strings.Repeat("x", 65)}, "assistant_id has 65 characters"},
		"title, longer":          {&alignv1.CreateConversationRequest{Title: strings.Repeat("x", 257)}, "title has 257 characters; it can have 256"},
		"data that is no number": {&alignv1.CreateConversationRequest{Data: &structpb.Struct{Fields: map[string]*structpb.Value{"x": {}}}}, "data"},
	} {
		_, err := w.client.CreateConversation(t.Context(), connect.NewRequest(c.req))
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want it to say %q", name, err, c.says)
		}
	}
	if status, answer := w.curl(t, "CreateConversation", `{"data":[1]}`); status != 400 {
		t.Errorf("data that is no object: %d %s", status, answer)
	}
}

func TestES5SeveralUserMessagesAreAnsweredTogetherWithTheHistory(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	w.chat(t, id, "support", "one")
	answer := w.chat(t, id, "support", "two", "three")
	const want = "system: Be kind.\nuser: one\nassistant: You said: one\nuser: two\nuser: three\n"
	if got := w.agent.Last(t).String(); got != want {
		t.Errorf("the agent was told:\n%swant:\n%s", got, want)
	}
	if len(answer.GetMessages()) != 1 || answer.GetMessages()[0].GetContent() != "You said: three" || answer.GetHistoryCount() != 2 || answer.GetHistoryLeftOut() != 0 {
		t.Errorf("answer %v", answer)
	}
	for name, texts := range map[string][]string{"messages has 0": {}, "messages has 33": make([]string, 33), "messages[1].content": {"x", " \n"}, "messages have 262145 bytes": {strings.Repeat("x", 256<<10+1)}} {
		_, err := w.unary(t.Context(), &alignv1.ChatRequest{ConversationId: id, Agent: "echo", Messages: said(texts...)})
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for agent, code := range map[string]connect.Code{"": connect.CodeInvalidArgument, "nobody": connect.CodeNotFound} {
		_, err := w.unary(t.Context(), &alignv1.ChatRequest{ConversationId: id, Agent: agent, Messages: said("x")})
		if connect.CodeOf(err) != code || !strings.Contains(err.Error(), "agent") {
			t.Errorf("agent %q: %v", agent, err)
		}
	}
}

func TestES6MessagesSayWhereTheyBelongWhoSpokeAndWhen(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{UserId: "u1"}).GetId()
	answer := w.chat(t, id, "support-latest", "hello")
	m := answer.GetMessages()[0]
	if m.GetConversationId() != id || m.GetRunId() != answer.GetRunId() || m.GetRole() != "assistant" || m.GetContent() != "You said: hello" ||
		m.GetAgent() != "support-240228-dev" || m.GetModel() != "m1-2026" || m.GetCreateTime() == nil || !m.GetSuccess() || m.GetIndex() != 2 ||
		m.GetLatency() == nil || m.GetTimeToFirstToken() == nil || m.GetInputTokens() != 11 || m.GetOutputTokens() != 5 || m.GetOutcome() != "response_generated" {
		t.Errorf("answer %v", m)
	}
	listed := w.messages(t, id)
	if len(listed) != 2 || !proto.Equal(listed[1], m) || listed[0].GetRunId() != answer.GetRunId() || listed[0].GetRole() != "user" {
		t.Errorf("listed %v, answered %v", listed, m)
	}
	plain := w.chat(t, id, "plain", "hello").GetMessages()[0]
	if plain.TimeToFirstToken != nil || plain.GetLatency() == nil || plain.GetAgent() != "plain" {
		t.Errorf("of an agent that does not stream: %v", plain)
	}
	var last [16]byte
	for _, made := range []string{id, answer.GetRunId(), w.chat(t, id, "echo", "x").GetRunId(), w.create(t, &alignv1.CreateConversationRequest{}).GetId()} {
		raw, err := hex.DecodeString(made)
		if err != nil || len(made) != 32 || uuid.UUID(raw).Version() != 7 || slices.Compare(last[:], raw) >= 0 {
			t.Errorf("%q is no UUIDv7 after the one before: %v", made, err)
		}
		copy(last[:], raw)
	}
}

func TestES7RolesAreToldInTheWordsOfTheAgentsProtocol(t *testing.T) {
	w := newWorld(t)
	at := time.Now().Add(-time.Minute)
	keep(t, w.store, opening("s1", at), saying("s1", 1, at, "hello"))
	for i, role := range []string{"system", "tool", "human"} {
		f := saying("s1", int32(i+2), at, "as "+role)
		f.Event.GetProperties().GetMessageProperties().ExtendedRole = extendedRoles[role]
		keep(t, w.store, f)
	}
	w.chat(t, "s1", "support", "go on")
	const want = "system: Be kind.\nuser: hello\nsystem: as system\nassistant: as human\nuser: go on\n"
	if got := w.agent.Last(t).String(); got != want {
		t.Errorf("the agent was told:\n%swant:\n%s", got, want)
	}
	const shown = "user: hello\nsystem: as system\ntool: as tool\nhuman: as human\nuser: go on\nassistant: You said: go on\n"
	if got := transcript(w.messages(t, "s1")); got != shown {
		t.Errorf("shown:\n%s", got)
	}
}

func TestES8ServerKeepsTheHistoryAndBothSidesAreRecorded(t *testing.T) {
	w := newWorld(t)
	at := time.Now().Add(-time.Minute)
	keep(t, w.store, opening("s1", at), saying("s1", 1, at, "by an SDK")) // what apps record goes on here
	for i, talk := range []talk{w.unary, w.streamed, w.unary, w.streamed} {
		agent := []string{"support", "plain"}[i/2]
		if _, err := talk(t.Context(), &alignv1.ChatRequest{ConversationId: "s1", Agent: agent, Messages: said(fmt.Sprint("turn ", i))}); err != nil {
			t.Fatal(err)
		}
	}
	const want = "user: by an SDK\nuser: turn 0\nassistant: You said: turn 0\nuser: turn 1\nassistant: You said: turn 1\n" +
		"user: turn 2\nassistant: You said: turn 2\nuser: turn 3\nassistant: You said: turn 3\n"
	listed := w.messages(t, "s1")
	if got := transcript(listed); got != want {
		t.Errorf("history:\n%s", got)
	}
	for i, m := range listed {
		if m.GetIndex() != int32(i+1) || m.GetVersions() != 1 {
			t.Errorf("message %d has index %d and %d versions", i+1, m.GetIndex(), m.GetVersions())
		}
	}
	if got := w.agent.Last(t).String(); got != strings.TrimSuffix(want, "assistant: You said: turn 3\n") {
		t.Errorf("the agent was told:\n%s", got)
	}
}

func TestES9HistoryIsWholeAndInOrder(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	w.chat(t, id, "echo", "one")
	w.chat(t, id, "echo", "two")
	if got := transcript(w.messages(t, id)); got != "user: one\nassistant: one\nuser: two\nassistant: two\n" {
		t.Errorf("history:\n%s", got)
	}
	_, err := w.client.ListMessages(t.Context(), connect.NewRequest(&alignv1.ListMessagesRequest{ConversationId: "nowhere"}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("unknown id: %v", err)
	}
}

func TestES10ListIsNewestFirstReversedAndByPages(t *testing.T) {
	w := newWorld(t)
	at := time.Now().Add(-time.Hour).Truncate(time.Second)
	for i := range 60 {
		keep(t, w.store, opening(fmt.Sprintf("s%02d", i), at.Add(time.Duration(i/2)*time.Second))) // two at a time: a tie
	}
	list := func(req *alignv1.SearchConversationsRequest) (ids []string) {
		for _, c := range w.search(t, req).GetConversations() {
			ids = append(ids, c.GetId())
		}
		return ids
	}
	all := list(&alignv1.SearchConversationsRequest{Limit: 500})
	if len(all) != 60 || all[0] != "s59" || all[1] != "s58" || all[59] != "s00" {
		t.Errorf("all: %v", all)
	}
	back := slices.Clone(all)
	slices.Reverse(back)
	if got := list(&alignv1.SearchConversationsRequest{Limit: 500, Reversed: true}); !slices.Equal(got, back) {
		t.Errorf("reversed: %v", got)
	}
	for name, c := range map[string]struct {
		req  *alignv1.SearchConversationsRequest
		want []string
	}{
		"no limit":           {&alignv1.SearchConversationsRequest{}, all[:50]},
		"limit":              {&alignv1.SearchConversationsRequest{Limit: 10}, all[:10]},
		"page_size":          {&alignv1.SearchConversationsRequest{PageSize: 10}, all[:10]},
		"offset":             {&alignv1.SearchConversationsRequest{Limit: 10, Offset: 10}, all[10:20]},
		"offset, reversed":   {&alignv1.SearchConversationsRequest{Limit: 10, Offset: 10, Reversed: true}, back[10:20]},
		"last":               {&alignv1.SearchConversationsRequest{Limit: 10, Offset: 55}, all[55:]},
		"offset at the end":  {&alignv1.SearchConversationsRequest{Limit: 10, Offset: 60}, nil},
		"offset past it":     {&alignv1.SearchConversationsRequest{Limit: 10, Offset: 10_000}, nil},
		"offset, all others": {&alignv1.SearchConversationsRequest{Limit: 500, Offset: 1}, all[1:]},
	} {
		if got := list(c.req); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	for says, req := range map[string]*alignv1.SearchConversationsRequest{
		"limit is -1":              {Limit: -1},
		"limit is 501":             {Limit: 501},
		"page_size is -1":          {PageSize: -1},
		"offset is -1":             {Offset: -1},
		"offset is 10001":          {Offset: 10_001},
		"page_size and limit":      {PageSize: 1, Limit: 1},
		"page_token was not made":  {PageToken: "nonsense"},
		"ranked goes with text":    {Ranked: true},
		"text has 1025 characters": {Text: strings.Repeat("x", 1025)},
		"user_id has 257":          {UserId: strings.Repeat("x", 257)},
		"vote has a value":         {Vote: 7},
		"state has a value":        {State: 7},
		"metadata has":             {Metadata: map[string]string{"": "x"}},
	} {
		_, err := w.client.SearchConversations(t.Context(), connect.NewRequest(req))
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	var deep []string
	for token, more := "", true; more; more = token != "" {
		page := w.search(t, &alignv1.SearchConversationsRequest{PageSize: 7, PageToken: token, Reversed: true, Count: true})
		if page.GetTotal() != 60 || page.GetTotalAtLeast() {
			t.Errorf("total %d", page.GetTotal())
		}
		for _, c := range page.GetConversations() {
			deep = append(deep, c.GetId())
		}
		token = page.GetNextPageToken()
	}
	if !slices.Equal(deep, back) {
		t.Errorf("by pages: %v", deep)
	}
}

func TestES11KeySeesItsProjectAndUsersCanBeAskedFor(t *testing.T) {
	w := newWorld(t)
	other := w.clientOf(w.newKey(t, "other", collector.ScopeChat))
	for _, user := range []string{"u1", "u2"} {
		w.create(t, &alignv1.CreateConversationRequest{UserId: user})
		if _, err := other.CreateConversation(t.Context(), connect.NewRequest(&alignv1.CreateConversationRequest{UserId: user})); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.search(t, &alignv1.SearchConversationsRequest{}).GetConversations(); len(got) != 2 {
		t.Errorf("of the project: %v", got)
	}
	if got := w.search(t, &alignv1.SearchConversationsRequest{UserId: "u1"}).GetConversations(); len(got) != 1 || got[0].GetUserId() != "u1" {
		t.Errorf("of a user: %v", got)
	}
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	reader, ingester := w.clientOf(w.keys[collector.ScopeRead]), w.clientOf(w.keys[collector.ScopeIngest])
	for name, err := range map[string]error{
		"read key creates": errOf(reader.CreateConversation(t.Context(), connect.NewRequest(&alignv1.CreateConversationRequest{}))),
		"read key updates": errOf(reader.UpdateConversation(t.Context(), connect.NewRequest(&alignv1.UpdateConversationRequest{ConversationId: id}))),
		"read key tags":    errOf(reader.AddTags(t.Context(), connect.NewRequest(&alignv1.AddTagsRequest{ConversationId: id, Tags: []string{"x"}}))),
		"read key untags":  errOf(reader.RemoveTags(t.Context(), connect.NewRequest(&alignv1.RemoveTagsRequest{ConversationId: id, Tags: []string{"x"}}))),
		"read key chats":   errOf(reader.Chat(t.Context(), connect.NewRequest(&alignv1.ChatRequest{ConversationId: id, Agent: "echo", Messages: said("x")}))),
		"ingest key reads": errOf(ingester.GetConversation(t.Context(), connect.NewRequest(&alignv1.GetConversationRequest{ConversationId: id}))),
	} {
		if connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, client := range map[string]string{"read": w.keys[collector.ScopeRead], "admin": w.keys[collector.ScopeAdmin]} {
		if _, err := w.clientOf(client).GetConversation(t.Context(), connect.NewRequest(&alignv1.GetConversationRequest{ConversationId: id})); err != nil {
			t.Errorf("%s key reads: %v", name, err)
		}
	}
	if err := errOf(w.clientOf(w.keys[collector.ScopeAdmin]).Chat(t.Context(), connect.NewRequest(&alignv1.ChatRequest{ConversationId: id, Agent: "echo", Messages: said("x")}))); err != nil {
		t.Errorf("admin key chats: %v", err)
	}
}

func errOf[T any](_ T, err error) error { return err }

func TestES12MetadataIsThereAtAnyTime(t *testing.T) {
	w := newWorld(t)
	made := w.create(t, &alignv1.CreateConversationRequest{Data: structOf(t, map[string]any{"a": 1}), Source: "web"})
	w.chat(t, made.GetId(), "echo", "hello")
	keep(t, w.store, closing(made.GetId(), time.Now()))
	got := w.get(t, made.GetId())
	if got.GetId() != made.GetId() || !proto.Equal(got.GetData(), made.GetData()) || got.GetSource() != "web" || !proto.Equal(got.GetStartTime(), made.GetStartTime()) ||
		got.GetMessageCount() != 2 || got.GetState() != alignv1.Conversation_STATE_CLOSED {
		t.Errorf("got %v", got)
	}
	if _, err := w.client.GetConversation(t.Context(), connect.NewRequest(&alignv1.GetConversationRequest{ConversationId: "nowhere"})); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("unknown id: %v", err)
	}
	// What an app's SDK sends as data may be anything.
	f := opening("s1", time.Now())
	f.Event.GetProperties().GetSessionProperties().Data = "[1, 2"
	keep(t, w.store, f)
	if got := w.get(t, "s1"); got.Data != nil || got.GetDataText() != "[1, 2" {
		t.Errorf("data that is no object: %v", got)
	}
}

func TestES13DataIsReplacedAbsentKeepsAndNullClears(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{Data: structOf(t, map[string]any{"additional": "data"}), Source: "web", Title: "T"}).GetId()
	type state struct {
		data          map[string]any
		source, title string
	}
	different := map[string]any{"different": "data"}
	check := func(name string, c *alignv1.Conversation, want state) {
		t.Helper()
		if got := (state{c.GetData().AsMap(), c.GetSource(), c.GetTitle()}); c.Data == nil != (want.data == nil) ||
			fmt.Sprint(got.data) != fmt.Sprint(want.data) && want.data != nil || got.source != want.source || got.title != want.title {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	update := func(req *alignv1.UpdateConversationRequest) *alignv1.Conversation {
		t.Helper()
		req.ConversationId = id
		answer, err := w.client.UpdateConversation(t.Context(), connect.NewRequest(req))
		if err != nil {
			t.Fatal(err)
		}
		return answer.Msg.GetConversation()
	}
	check("data is replaced, the rest stays", update(&alignv1.UpdateConversationRequest{Data: structpb.NewStructValue(structOf(t, different))}), state{different, "web", "T"})
	check("source is replaced, the rest stays", update(&alignv1.UpdateConversationRequest{Source: structpb.NewStringValue("app")}), state{different, "app", "T"})
	check("nothing", update(&alignv1.UpdateConversationRequest{}), state{different, "app", "T"})
	check("null clears source", update(&alignv1.UpdateConversationRequest{Source: structpb.NewNullValue()}), state{different, "", "T"})
	check("null clears data and title", update(&alignv1.UpdateConversationRequest{Data: structpb.NewNullValue(), Title: structpb.NewNullValue()}), state{nil, "", ""})
	check("an empty object is an object", update(&alignv1.UpdateConversationRequest{Data: structpb.NewStructValue(&structpb.Struct{})}), state{map[string]any{}, "", ""})
	check("it stays", w.get(t, id), state{map[string]any{}, "", ""})

	for _, step := range []struct{ body, has, lacks string }{
		{`"data":{"a":1},"source":"curl"`, `"data":{"a":1},"source":"curl"`, `null`},
		{`"data":{"b":2}`, `"data":{"b":2},"source":"curl"`, `"a"`},
		{`"source":null`, `"data":{"b":2}`, `"source"`},
		{`"data":null`, `"id"`, `"data"`},
	} {
		status, answer := w.curl(t, "UpdateConversation", `{"conversationId":"`+id+`",`+step.body+`}`)
		if status != 200 || !strings.Contains(answer, step.has) || strings.Contains(answer, step.lacks) {
			t.Errorf("curl %s: %d %s", step.body, status, answer)
		}
	}
	for body, says := range map[string]string{
		`"data":[1]`:   "dataisneitheranobjectnornull",
		`"data":"x"`:   "dataisneither",
		`"source":7`:   "sourceisneitherastringnornull",
		`"source":""`:  "sourceisempty",
		`"title":true`: "titleisneither",
		`"source":"` + strings.Repeat("x", 65) + `"`: "sourcehas65characters",
	} {
		status, answer := w.curl(t, "UpdateConversation", `{"conversationId":"`+id+`",`+body+`}`)
		if status != 400 || !strings.Contains(answer, says) {
			t.Errorf("curl %s: %d %s", body, status, answer)
		}
	}
	if status, _ := w.curl(t, "UpdateConversation", `{"conversationId":"nowhere","data":null}`); status != 404 {
		t.Errorf("unknown id: %d", status)
	}
}

func TestES14TagsAreOnConversationsAndRunsAndCanBeSearchedFor(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	w.create(t, &alignv1.CreateConversationRequest{})
	runID := w.chat(t, id, "echo", "hello").GetRunId()
	add := func(runID string, tags ...string) ([]string, error) {
		answer, err := w.client.AddTags(t.Context(), connect.NewRequest(&alignv1.AddTagsRequest{ConversationId: id, RunId: runID, Tags: tags}))
		if err != nil {
			return nil, err
		}
		return answer.Msg.GetTags(), nil
	}
	remove := func(runID string, tags ...string) ([]string, error) {
		answer, err := w.client.RemoveTags(t.Context(), connect.NewRequest(&alignv1.RemoveTagsRequest{ConversationId: id, RunId: runID, Tags: tags}))
		if err != nil {
			return nil, err
		}
		return answer.Msg.GetTags(), nil
	}
	facts := func() int {
		totals, err := w.store.Totals(t.Context(), project)
		if err != nil {
			t.Fatal(err)
		}
		return totals.Facts
	}
	want := func(name string, got []string, err error, want ...string) {
		t.Helper()
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
	}
	got, err := add("", "vip", "bug", "vip")
	want("added", got, err, "bug", "vip")
	before := facts()
	got, err = add("", "vip")
	want("added again", got, err, "bug", "vip")
	got, err = remove("", "never there")
	want("removed what is not there", got, err, "bug", "vip")
	if after := facts(); after != before {
		t.Errorf("%d facts for what changes nothing", after-before)
	}
	got, err = add(runID, "good")
	want("of the run", got, err, "good")
	if runs := w.runs(t, id); len(runs) != 1 || !slices.Equal(runs[0].GetTags(), []string{"good"}) {
		t.Errorf("runs %v", runs)
	}
	found := w.search(t, &alignv1.SearchConversationsRequest{Tag: "vip"}).GetConversations()
	if len(found) != 1 || found[0].GetId() != id || !slices.Equal(found[0].GetTags(), []string{"bug", "vip"}) {
		t.Errorf("found %v", found)
	}
	got, err = remove("", "vip", "vip")
	want("removed", got, err, "bug")
	got, err = add("", "vip")
	want("there again", got, err, "bug", "vip")
	got, err = remove(runID, "good")
	want("removed from the run", got, err)

	many := make([]string, 99)
	for i := range many {
		many[i] = fmt.Sprint("t", i)
	}
	for says, err := range map[string]error{
		"there would be 101":   errOf(add("", many...)),
		"tags has 0 entries":   errOf(add("")),
		"tags has 101 entries": errOf(remove("", append(many, "a", "b")...)),
		"tags[1] is blank":     errOf(add("", "a", " ")),
		"tags[0] has 65":       errOf(add("", strings.Repeat("é", 65))),
	} {
		if connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	if _, err := add("no such run", "x"); connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("unknown run: %v", err)
	}
	_, err = w.client.AddTags(t.Context(), connect.NewRequest(&alignv1.AddTagsRequest{ConversationId: "nowhere", Tags: []string{"x"}}))
	if connect.CodeOf(err) != connect.CodeNotFound {
		t.Errorf("unknown conversation: %v", err)
	}
}

func TestES15EachInvocationOfAnAgentIsARun(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	first, second := w.chat(t, id, "support", "one", "two"), w.chat(t, id, "plain", "three")
	runs := w.runs(t, id)
	if len(runs) != 2 || runs[0].GetId() != first.GetRunId() || runs[1].GetId() != second.GetRunId() || first.GetRunId() == second.GetRunId() {
		t.Fatalf("runs %v", runs)
	}
	r := runs[0]
	if r.GetMessageCount() != 3 || r.GetAgent() != "support-240228-dev" || r.GetModel() != "m1-2026" || r.GetInputTokens() != 11 || r.GetOutputTokens() != 5 ||
		!r.GetSuccess() || r.GetLatency() == nil || r.GetTimeToFirstToken() == nil || r.GetError() != "" {
		t.Errorf("run %v", r)
	}
	page, err := w.client.ListRuns(t.Context(), connect.NewRequest(&alignv1.ListRunsRequest{ConversationId: id, PageSize: 1}))
	if err != nil || len(page.Msg.GetRuns()) != 1 || page.Msg.GetNextPageToken() == "" {
		t.Errorf("a page: %v, %v", page, err)
	}
	for code, req := range map[connect.Code]*alignv1.ListRunsRequest{
		connect.CodeNotFound:        {ConversationId: "nowhere"},
		connect.CodeInvalidArgument: {ConversationId: id, PageSize: 1001},
	} {
		if _, err := w.client.ListRuns(t.Context(), connect.NewRequest(req)); connect.CodeOf(err) != code {
			t.Errorf("%v: %v", req, err)
		}
	}
}

func TestES16StatusMessagesAreStoredAsSystem(t *testing.T) {
	w := newWorld(t)
	id := w.create(t, &alignv1.CreateConversationRequest{}).GetId()
	w.chat(t, id, "echo", "hello")
	f := saying(id, 3, time.Now(), "the agent joined")
	f.Event.GetProperties().GetMessageProperties().ExtendedRole = extendedRoles["system"]
	keep(t, w.store, f)
	w.chat(t, id, "echo", "go on")
	if got := transcript(w.messages(t, id)); !regexp.MustCompile(`(?s)assistant: hello\nsystem: the agent joined\nuser: go on\n`).MatchString(got) {
		t.Errorf("messages:\n%s", got)
	}
}

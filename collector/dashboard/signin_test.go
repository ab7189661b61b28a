package dashboard_test

import (
	"crypto/tls"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/keys"
)

// everything is all that is served but how pages look, with the method.
var everything = []string{
	"GET /dashboard/", "GET /dashboard/conversations", "GET /dashboard/conversation?id=edited", "GET /dashboard/conversation.json?id=edited",
	"GET /dashboard/message?id=edited&index=1", "GET /dashboard/versions?id=edited&index=2", "GET /dashboard/event?id=open-edited",
	"GET /dashboard/users", "GET /dashboard/metrics", "GET /dashboard/metric?name=error_rate", "GET /dashboard/exports", "GET /dashboard/exports/file?name=x",
	"GET /dashboard/user?id=user-01", "GET /dashboard/quality", "GET /dashboard/live", "GET /dashboard/live/events",
	"GET /dashboard/settings", "GET /dashboard/nowhere", "GET /dashboard/../dashboard//settings",
	"POST /dashboard/user/erase", "POST /dashboard/settings/keys/create", "POST /dashboard/settings/keys/rotate",
	"POST /dashboard/settings/keys/revoke", "POST /dashboard/signout", "POST /dashboard/nowhere",
}

func (b *browser) try(what, body string) (status int, header http.Header, answer string) {
	b.t.Helper()
	method, path, _ := strings.Cut(what, " ")
	return b.do(b.request(method, path, body))
}

// Over loopback, as here, too.
func TestWithoutASessionEverythingIsTheSignInPage(t *testing.T) {
	w := lively(t, 0)
	b := w.browser()
	for _, what := range everything {
		status, _, body := b.try(what, "id=user-01&confirm=user-01&scope=admin")
		if status != http.StatusUnauthorized || !strings.Contains(body, "<h1>Sign in</h1>") || strings.Contains(body, "depot") {
			t.Errorf("%s: %d %.300s", what, status, body)
		}
	}
}

func TestForgedCookiesSignNobodyIn(t *testing.T) {
	w := lively(t, 0)
	key := w.key(collector.ScopeAdmin)
	real := w.browser().signIn(key)
	address, err := url.Parse(w.web.URL)
	if err != nil {
		t.Fatal(err)
	}
	secret := ""
	for _, cookie := range real.client.Jar.Cookies(address) {
		if cookie.Name == "align_session" {
			secret = cookie.Value
		}
	}
	hash := keys.Hash(secret)
	for name, value := range map[string]string{
		"empty": "", "a guess": strings.Repeat("A", 43), "almost": secret[:len(secret)-1] + "x", "cut": secret[:len(secret)-1], "longer": secret + "A",
		"its hash": hex.EncodeToString(hash[:]), "a key": key, "endless": strings.Repeat("A", 4000), "SQL": `' OR 1=1 --`,
	} {
		b := w.browser()
		r := b.request(http.MethodGet, "/dashboard/conversation?id=edited", "")
		r.Header.Set("Cookie", (&http.Cookie{Name: "align_session", Value: value}).String())
		if status, _, body := b.do(r); status != http.StatusUnauthorized || strings.Contains(body, "depot") {
			t.Errorf("%s: %d", name, status)
		}
	}
	r := w.browser().request(http.MethodGet, "/dashboard/conversation?id=edited", "")
	r.Header.Set("Authorization", "Bearer "+key) // is for the API
	if status, _, _ := w.browser().do(r); status != http.StatusUnauthorized {
		t.Errorf("a key without a session: %d", status)
	}
	if status, body := real.get("/dashboard/conversation?id=edited"); status != http.StatusOK || !strings.Contains(body, "depot") {
		t.Errorf("the real one: %d", status)
	}
}

func TestSessionCookieIsOutOfReach(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	b := w.browser()
	_, header, _ := b.post("/dashboard/signin", "token", b.token("/dashboard/"), "key", w.key(collector.ScopeRead))
	cookie := header.Get("Set-Cookie")
	for _, want := range []string{"align_session=", "Path=/", "HttpOnly", "SameSite=Lax", "Max-Age=604800"} {
		if !strings.Contains(cookie, want) {
			t.Errorf("%q lacks %s", cookie, want)
		}
	}
	if strings.Contains(cookie, "Secure") {
		t.Errorf("%q would never come back over plain HTTP", cookie)
	}
}

func TestBehindTLSCookiesAreSecureAndOfThisHost(t *testing.T) {
	public, err := url.Parse("https://align.example.com")
	if err != nil {
		t.Fatal(err)
	}
	for name, opts := range map[string]dashboard.Options{"of our own": {}, "of a proxy": {PublicURL: public}} {
		w := newWorld(t, opts)
		r := httptest.NewRequest(http.MethodGet, "/dashboard/", nil)
		if opts.PublicURL == nil {
			r.TLS = &tls.ConnectionState{}
		}
		answer := httptest.NewRecorder()
		w.server.ServeHTTP(answer, r)
		form := answer.Result().Cookies()[0]
		r = httptest.NewRequest(http.MethodPost, "/dashboard/signin", strings.NewReader(
			"token="+tokens.FindStringSubmatch(answer.Body.String())[1]+"&key="+w.key(collector.ScopeRead)))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.AddCookie(form)
		if opts.PublicURL == nil {
			r.TLS = &tls.ConnectionState{}
		} else {
			r.Header.Set("Origin", public.String()) // while the proxy calls us by another name
		}
		answer = httptest.NewRecorder()
		w.server.ServeHTTP(answer, r)
		for _, cookie := range append(answer.Result().Cookies(), form) {
			if !cookie.Secure || !strings.HasPrefix(cookie.Name, "__Host-align_") || cookie.Path != "/" || cookie.Domain != "" {
				t.Errorf("TLS %s: %s", name, cookie)
			}
		}
		if answer.Code != http.StatusSeeOther {
			t.Errorf("TLS %s: %d", name, answer.Code)
		}
	}
}

func TestFormsWithoutTheirTokenDoNothing(t *testing.T) {
	w := lively(t, 0)
	b := w.browser().signIn(w.key(collector.ScopeAdmin))
	other := w.browser().signIn(w.key(collector.ScopeAdmin))
	before, err := w.store.Keys(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range everything {
		if !strings.HasPrefix(what, "POST") {
			continue
		}
		for name, token := range map[string]string{"none": "", "another session's": other.token("/dashboard/settings"), "that of a sign-in form": w.browser().token("/dashboard/")} {
			status, _, _ := b.try(what, form("token", token, "id", "user-01", "confirm", "user-01", "scope", "admin", "key", before[0].ID(), "overlap", "0s"))
			if status != http.StatusForbidden {
				t.Errorf("%s with token %s: %d", what, name, status)
			}
		}
		// A script on another site can send a form, and its browser says where it is from.
		for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
			method, path, _ := strings.Cut(what, " ")
			r := b.request(method, path, form("token", b.token("/dashboard/settings"), "id", "user-01", "confirm", "user-01", "scope", "admin", "key", before[0].ID(), "overlap", "0s"))
			r.Header.Set(header, value)
			if status, _, _ := b.do(r); status != http.StatusForbidden {
				t.Errorf("%s with %s %s: %d", what, header, value, status)
			}
		}
		// Nor does an address do anything, whoever follows it.
		status, _ := b.get(strings.TrimPrefix(what, "POST ") + "?token=" + b.token("/dashboard/settings") + "&id=user-01&confirm=user-01")
		if status != http.StatusNotFound && status != http.StatusMethodNotAllowed {
			t.Errorf("GET of %s: %d", what, status)
		}
	}
	after, err := w.store.Keys(t.Context(), "")
	if err != nil || len(after) != len(before) {
		t.Errorf("%d keys, there were %d; %v", len(after), len(before), err)
	}
	if _, err := w.store.User(t.Context(), project, "user-01"); err != nil {
		t.Errorf("the user: %v", err)
	}
	if status, _ := b.get("/dashboard/settings"); status != http.StatusOK {
		t.Errorf("the session ended: %d", status)
	}
}

// Otherwise a page elsewhere could make a browser look at a project of its own choice, and at what is typed there.
func TestNobodyIsSignedInByAPageElsewhere(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	key := w.key(collector.ScopeAdmin)
	theirs := w.browser().token("/dashboard/") // belongs to a cookie that others do not have
	for name, token := range map[string]string{"no token": "", "a token from elsewhere": theirs} {
		b := w.browser()
		b.get("/dashboard/")
		if status, header, _ := b.post("/dashboard/signin", "token", token, "key", key); status != http.StatusForbidden || strings.Contains(header.Get("Set-Cookie"), "session") {
			t.Errorf("%s: %d %s", name, status, header.Get("Set-Cookie"))
		}
	}
}

func TestPagesCannotBeFramedOrKeptOrGuessedAt(t *testing.T) {
	w := lively(t, 0)
	b := w.browser().signIn(w.key(collector.ScopeAdmin))
	for _, what := range append(everything[:19:19], "GET /dashboard/enter?link=x", "GET /dashboard/assets/none.css") {
		if strings.Contains(what, "live/events") {
			continue // does not end; its headers are set where all are
		}
		_, header, _ := b.try(what, "")
		for name, want := range map[string]string{
			"Content-Security-Policy": "default-src 'none'", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-store", "Cross-Origin-Opener-Policy": "same-origin",
		} {
			if !strings.HasPrefix(header.Get(name), want) {
				t.Errorf("%s: %s is %q, want %q", what, name, header.Get(name), want)
			}
		}
		policy := header.Get("Content-Security-Policy")
		if !strings.Contains(policy, "frame-ancestors 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") || strings.Contains(policy, "http") {
			t.Errorf("%s: policy %q", what, policy)
		}
	}
}

func TestWrongKeysSignNobodyIn(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	revoked := w.key(collector.ScopeAdmin)
	if err := w.store.ExpireKey(t.Context(), keys.Hash(revoked), time.Now()); err != nil {
		t.Fatal(err)
	}
	good := w.key(collector.ScopeRead)
	for name, key := range map[string]string{"none": "", "unknown": "align_admin_" + strings.Repeat("A", 43), "revoked": revoked,
		"one that may only send": w.key(collector.ScopeIngest), "almost": good[:len(good)-1], "endless": strings.Repeat("A", 10_000)} {
		b := w.browser()
		status, header, body := b.post("/dashboard/signin", "token", b.token("/dashboard/"), "key", key)
		if status != http.StatusUnauthorized || header.Get("Set-Cookie") != "" || !strings.Contains(body, `role="alert"`) {
			t.Errorf("%s: %d %s", name, status, header.Get("Set-Cookie"))
		}
		if len(key) > 20 && (strings.Contains(body, key) || strings.Contains(w.log.String(), key)) {
			t.Errorf("%s: it is shown, or in the log", name)
		}
	}
}

func TestSigningInIsLimitedByAddress(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	b := w.browser()
	token := b.token("/dashboard/")
	good := w.key(collector.ScopeRead)
	refused := 0
	for range 30 {
		status, header, _ := b.post("/dashboard/signin", "token", token, "key", "align_admin_wrong")
		switch {
		case status == http.StatusTooManyRequests && header.Get("Retry-After") != "":
			refused++
		case status != http.StatusUnauthorized:
			t.Fatalf("status %d", status)
		}
	}
	if refused < 9 {
		t.Errorf("%d of 30 attempts were refused", refused)
	}
	if status, _, _ := b.post("/dashboard/signin", "token", token, "key", good); status != http.StatusTooManyRequests {
		t.Errorf("a good key while attempts are refused: %d", status) // or trying on would tell good keys from bad ones
	}
}

func TestRevokedKeyEndsItsSessions(t *testing.T) {
	w := lively(t, 0)
	key := w.key(collector.ScopeRead)
	b := w.browser().signIn(key)
	if status, _ := b.get("/dashboard/conversations"); status != http.StatusOK {
		t.Fatalf("before: %d", status)
	}
	if err := w.store.ExpireKey(t.Context(), keys.Hash(key), time.Now()); err != nil {
		t.Fatal(err)
	}
	if status, _ := b.get("/dashboard/conversations"); status != http.StatusUnauthorized {
		t.Errorf("after: %d", status)
	}
}

func TestSigningOutEndsTheSessionAndNotOnlyTheCookie(t *testing.T) {
	w := lively(t, 0)
	b := w.browser().signIn(w.key(collector.ScopeRead))
	address, err := url.Parse(w.web.URL)
	if err != nil {
		t.Fatal(err)
	}
	cookies := b.client.Jar.Cookies(address)
	if status, _, _ := b.post("/dashboard/signout", "token", b.token("/dashboard/live")); status != http.StatusSeeOther {
		t.Errorf("signing out: %d", status)
	}
	b.client.Jar.SetCookies(address, cookies)
	if status, _ := b.get("/dashboard/conversations"); status != http.StatusUnauthorized {
		t.Errorf("with the cookie of before: %d", status)
	}
}

func TestSessionsEndAfterAWeek(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: not with -short")
	}
	synctest.Test(t, func(t *testing.T) {
		w := newHandlerWorld(t)
		cookies := w.signIn(t)
		time.Sleep(7*24*time.Hour - time.Minute)
		if status := w.get(t, cookies); status != http.StatusOK {
			t.Errorf("before: %d", status)
		}
		time.Sleep(time.Minute)
		if status := w.get(t, cookies); status != http.StatusUnauthorized {
			t.Errorf("after: %d", status)
		}
	})
}

func TestReadKeysChangeNothing(t *testing.T) {
	w := lively(t, 0)
	b := w.browser().signIn(w.key(collector.ScopeRead))
	token := b.token("/dashboard/settings")
	for _, what := range everything {
		if !strings.HasPrefix(what, "POST") || strings.Contains(what, "signout") || strings.Contains(what, "nowhere") {
			continue
		}
		if status, _, _ := b.try(what, form("token", token, "id", "user-01", "confirm", "user-01", "scope", "admin")); status != http.StatusForbidden {
			t.Errorf("%s: %d", what, status)
		}
	}
	for _, page := range []string{"settings", "user?id=user-01"} {
		if _, body := b.get("/dashboard/" + page); strings.Contains(body, "Revoke") || strings.Contains(body, "Erase") || strings.Contains(body, "Make a key") {
			t.Errorf("%s offers what it would refuse", page)
		}
	}
}

func TestKeysSeeTheirOwnProjectOnly(t *testing.T) {
	w := lively(t, 0)
	other := w.keyOf("bank", collector.ScopeAdmin)
	b := w.browser().signIn(other)
	for _, what := range everything {
		if !strings.HasPrefix(what, "GET") || strings.Contains(what, "events") {
			continue
		}
		joiner := "?"
		if strings.Contains(what, "?") {
			joiner = "&"
		}
		status, _, body := b.try(what+joiner+"project=shop", "")
		if status != http.StatusNotFound || strings.Contains(body, "depot") || strings.Contains(body, "user-01") {
			t.Errorf("%s of another project: %d", what, status)
		}
		if _, _, body = b.try(what, ""); strings.Contains(body, "depot") || strings.Contains(body, ">user-01<") {
			t.Errorf("%s shows another project", what)
		}
	}
	list, err := w.store.Keys(t.Context(), project)
	if err != nil {
		t.Fatal(err)
	}
	token := b.token("/dashboard/settings")
	for _, fields := range [][]string{{"key", list[0].ID()}, {"key", list[0].ID(), "project", "shop"}} {
		if status, _, _ := b.post("/dashboard/settings/keys/revoke", append(fields, "token", token)...); status != http.StatusNotFound {
			t.Errorf("revoking another project's key: %d", status)
		}
	}
	if status, _, _ := b.post("/dashboard/settings/keys/create", "token", token, "scope", "admin", "name", "shop"); status != http.StatusForbidden {
		t.Errorf("making a key for another project: %d", status)
	}
}

func TestSignInLeadsOnlyToPagesOfOurs(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	key := w.key(collector.ScopeRead)
	for next, want := range map[string]string{
		"/dashboard/users?q=a%20b": "/dashboard/users?q=a%20b", "": "/dashboard/", "https://evil.example/dashboard/": "/dashboard/",
		"//evil.example/dashboard/": "/dashboard/", `/\evil.example/dashboard/`: "/dashboard/", "javascript:alert(1)": "/dashboard/",
		"/dashboard/\r\nSet-Cookie: a=b": "/dashboard/", "/metrics": "/dashboard/", "/demo": "/dashboard/", "/dashboard/..//evil.example": "/dashboard/",
	} {
		b := w.browser()
		_, header, _ := b.post("/dashboard/signin", "token", b.token("/dashboard/"), "key", key, "next", next)
		if got := header.Get("Location"); got != want {
			t.Errorf("%q leads to %q, want %q", next, got, want)
		}
	}
}

func TestLookingAtALinkDoesNotUseItUp(t *testing.T) {
	w := newWorld(t, dashboard.Options{})
	link, err := dashboard.Link(t.Context(), w.store, "", collector.ScopeAdmin)
	if err != nil {
		t.Fatal(err)
	}
	b := w.browser()
	for range 3 { // as programs do that show what a link leads to
		if status, body := b.get(link); status != http.StatusOK || !strings.Contains(body, "signs in one browser, once") {
			t.Errorf("looking: %d", status)
		}
	}
	secret := strings.TrimPrefix(link, "/dashboard/enter?link=")
	for i, want := range []int{http.StatusSeeOther, http.StatusUnauthorized} {
		b := w.browser()
		if status, _, _ := b.post("/dashboard/enter", "token", b.token(link), "link", secret); status != want {
			t.Errorf("use %d: %d, want %d", i+1, status, want)
		}
	}
	if strings.Contains(w.log.String(), secret) {
		t.Error("the link is in the log")
	}
}

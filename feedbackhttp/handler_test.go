package feedbackhttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
	"github.com/openalign/align/feedbackhttp"
)

const (
	jsonType = "application/json"
	formType = "application/x-www-form-urlencoded"
	chat     = "https://chat.example.com"
)

// unlimited is for tests of everything but limits.
var unlimited = feedbackhttp.Config{PerToken: feedbackhttp.Rate{Burst: -1}, PerAddress: feedbackhttp.Rate{Burst: -1}}

func newHandler(t testing.TB, client *align.Client, cfg feedbackhttp.Config) *feedbackhttp.Handler {
	t.Helper()
	h, err := feedbackhttp.New(client, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func mint(t testing.TB, c *align.Client, session string, index int, user string) string {
	t.Helper()
	token, err := c.FeedbackToken(session, index, user, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// post sends a body; headers come in pairs.
func post(h http.Handler, mediaType, body string, headers ...string) *httptest.ResponseRecorder {
	return do(h, "POST", body, append([]string{"Content-Type", mediaType}, headers...)...)
}

func do(h http.Handler, method, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "https://app.example.com/feedback", strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// outcome is "204", or the status, code and field of a problem.
func outcome(t testing.TB, w *httptest.ResponseRecorder) string {
	t.Helper()
	if got := w.Header().Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control: %q", got)
	}
	if w.Code == http.StatusNoContent {
		if w.Body.Len() > 0 {
			t.Errorf("204 with a body: %q", w.Body)
		}
		return "204"
	}
	var p feedbackhttp.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || w.Header().Get("Content-Type") != jsonType || p.Message == "" {
		t.Errorf("no problem in words: %q, %v", w.Body, err)
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s %s", w.Code, p.Code, p.Field))
}

func TestEveryAnswerHasItsStatusCodeAndField(t *testing.T) {
	client, _ := aligntest.Client(t)
	strict := newHandler(t, client, unlimited)
	token := mint(t, client, "s1", 2, "u1")
	body := func(rest string) string { return `{"token":"` + token + `"` + rest + `}` }
	long := strings.Repeat("x", 2001)
	for _, test := range []struct {
		name, mediaType, body, want string
	}{
		{"a vote", jsonType, body(`,"vote":"up"`), "204"},
		{"down, with all there is", jsonType, body(`,"vote":"down","comment":"Which order?","reasons":["slow","wrong"]`), "204"},
		{"taken back", jsonType, body(`,"vote":"none"`), "204"},
		{"with charset", "application/json; charset=UTF-8", body(`,"vote":"up"`), "204"},
		{"nulls", jsonType, body(`,"vote":"up","comment":null,"reasons":null,"index":null,"session":null`), "204"},
		{"spaces", jsonType, " \n" + body(` , "vote" : "up"`) + "\n", "204"},
		{"comment of 2000", jsonType, body(`,"vote":"up","comment":"` + long[1:] + `"`), "204"},
		{"form", formType, "vote=up&token=" + token, "204"},
		{"form with all there is", formType, "vote=down&comment=Which+order%3F&reasons=slow&reasons=wr%C3%B6ng&session=&index=&token=" + token, "204"},
		{"form with stray ampersands", formType, "&vote=up&&token=" + token + "&", "204"},

		{"nothing", jsonType, "", "400 malformed"},
		{"no object", jsonType, `["up"]`, "400 malformed"},
		{"half an object", jsonType, body(`,"vote":"up"`)[:20], "400 malformed"},
		{"trailing data", jsonType, body(`,"vote":"up"`) + "{}", "400 malformed"},
		{"trailing comma", jsonType, body(`,"vote":"up",`), "400 malformed"},
		{"not UTF-8", jsonType, body(",\"vote\":\"up\",\"comment\":\"\xff\""), "400 malformed"},
		{"comment no text", jsonType, body(`,"vote":"up","comment":7`), "400 malformed comment"},
		{"reasons no list", jsonType, body(`,"vote":"up","reasons":"slow"`), "400 malformed reasons"},
		{"index half", jsonType, body(`,"vote":"up","index":1.5`), "400 malformed index"},
		{"index huge", jsonType, body(`,"vote":"up","index":99999999999999999999`), "400 malformed index"},
		{"form bad escape", formType, "vote=up&token=%zz", "400 malformed"},
		{"form not UTF-8", formType, "vote=up&comment=%ff&token=" + token, "400 malformed"},
		{"form index no number", formType, "vote=up&index=two&session=s1", "400 malformed index"},
		{"unknown field", jsonType, body(`,"vote":"up","coment":"x"`), "400 unknown_field"},
		{"field in capitals", jsonType, body(`,"Vote":"up"`), "400 unknown_field"},
		{"form unknown field", formType, "vote=up&utm=x&token=" + token, "400 unknown_field"},
		{"vote twice", jsonType, body(`,"vote":"up","vote":"down"`), "400 repeated_field vote"},
		{"form vote twice", formType, "vote=up&vote=down&token=" + token, "400 repeated_field vote"},

		{"no token", jsonType, `{"vote":"up"}`, "401 token_required token"},
		{"no token, but a session", jsonType, `{"vote":"up","session":"s1","index":2}`, "401 token_required token"},
		{"bad token", jsonType, `{"vote":"up","token":"AAAA"}`, "401 token_invalid token"},
		{"token with line break", jsonType, `{"vote":"up","token":"` + token + `\n"}`, "401 token_invalid token"},
		{"token of somebody else", jsonType, `{"vote":"up","token":"` + foreignToken(t) + `"}`, "401 token_invalid token"},

		{"4 KiB", jsonType, body(`,"vote":"up"`) + strings.Repeat(" ", 4096-len(body(`,"vote":"up"`))), "204"},
		{"a byte more", jsonType, body(`,"vote":"up"`) + strings.Repeat(" ", 4097-len(body(`,"vote":"up"`))), "413 too_large"},

		{"text", "text/plain", body(`,"vote":"up"`), "415 media_type"},
		{"no type", "", body(`,"vote":"up"`), "415 media_type"},
		{"multipart", "multipart/form-data; boundary=x", "--x--", "415 media_type"},
		{"another charset", "application/json; charset=utf-16", body(`,"vote":"up"`), "415 media_type"},

		{"no vote", jsonType, body(``), "422 invalid vote"},
		{"another vote", jsonType, body(`,"vote":"thumbs_up"`), "422 invalid vote"},
		{"comment of 2001", jsonType, body(`,"vote":"up","comment":"` + long + `"`), "422 invalid comment"},
		{"comment with NUL", jsonType, body(`,"vote":"up","comment":"\u0000"`), "422 invalid comment"},
		{"reasons 11", jsonType, body(`,"vote":"up","reasons":["a","b","c","d","e","f","g","h","i","j","k"]`), "422 invalid reasons"},
		{"reason blank", jsonType, body(`,"vote":"up","reasons":["slow"," "]`), "422 invalid reasons"},
		{"reason of 65", jsonType, body(`,"vote":"up","reasons":["` + long[:65] + `"]`), "422 invalid reasons"},
		{"index of its own", jsonType, body(`,"vote":"up","index":3`), "422 invalid session"},
		{"session of its own", jsonType, body(`,"vote":"up","session":"s1"`), "422 invalid session"},
		{"index below", jsonType, `{"vote":"up","session":"s1","index":-1}`, "422 invalid index"},
		{"index above", jsonType, `{"vote":"up","session":"s1","index":2147483648}`, "422 invalid index"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := post(strict, test.mediaType, test.body)
			if got := outcome(t, w); got != test.want {
				t.Errorf("got %s, want %s: %s", got, test.want, w.Body)
			}
			if (w.Code == 415) != (w.Header().Get("Accept-Post") != "") || (w.Code == 401) != (w.Header().Get("WWW-Authenticate") != "") {
				t.Error(w.Header())
			}
		})
	}
	if got := outcome(t, post(strict, jsonType, body(`,"vote":"up"`), "Content-Encoding", "gzip")); got != "415 media_type" {
		t.Error("compressed:", got)
	}
}

func foreignToken(t testing.TB) string {
	client, err := align.New(align.Config{ProjectID: "another", APIKey: "key", Disabled: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(context.Background())
	return mint(t, client, "s1", 2, "u1")
}

func TestOnlyPOSTVotes(t *testing.T) {
	client, _ := aligntest.Client(t)
	h := newHandler(t, client, unlimited)
	form := url.Values{"token": {mint(t, client, "s1", 2, "u1")}, "vote": {"up"}}.Encode()
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "post"} {
		r := httptest.NewRequest(method, "https://app.example.com/feedback?"+form, strings.NewReader(form))
		r.Header.Set("Content-Type", formType)
		r.Header.Set("Sec-Fetch-Site", "cross-site") // as from a link in a mail
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := outcome(t, w); got != "405 method" || w.Header().Get("Allow") != "OPTIONS, POST" {
			t.Errorf("%s: %s, Allow %q", method, got, w.Header().Get("Allow"))
		}
	}
	if w := do(h, "POST", "vote=up", "Content-Type", formType); w.Code != 401 {
		t.Errorf("a token may be in the URL: %d", w.Code)
	}
	if n := client.Stats().Accepted; n > 0 {
		t.Errorf("%d votes", n)
	}
}

func TestVoteCanBeChangedAndTakenBackBeforeItsMessageArrives(t *testing.T) { // AL-64, AL-65
	client, srv := aligntest.Client(t)
	h := newHandler(t, client, unlimited)
	token, whole := mint(t, client, "s1", 2, "u1"), mint(t, client, "s1", 0, "u1")
	for _, body := range []string{
		`{"token":"` + token + `","vote":"up","comment":"quick"}`,
		`{"token":"` + token + `","vote":"down","reasons":["slow","wrong"]}`,
		`{"token":"` + token + `","vote":"none"}`,
		`{"token":"` + whole + `","vote":"down"}`,
	} {
		if w := post(h, jsonType, body); w.Code != 204 {
			t.Fatal(w.Body)
		}
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []aligntest.Feedback{
		{Index: 2, Type: align.ThumbsUp, Comment: "quick", UserID: "u1"},
		{Index: 2, Type: align.ThumbsDown, Reasons: []string{"slow", "wrong"}, UserID: "u1"},
		{Index: 2, Type: align.ThumbsNone, UserID: "u1"},
		{Type: align.ThumbsDown, UserID: "u1"},
	}
	if got := srv.Session("s1"); !reflect.DeepEqual(got.Feedback, want) || len(got.Messages) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestExpiredTokenIsSaidToBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := aligntest.Client(t)
		h := newHandler(t, client, feedbackhttp.Config{})
		body := `{"token":"` + mint(t, client, "s1", 2, "u1") + `","vote":"up"}`
		if got := outcome(t, post(h, jsonType, body)); got != "204" {
			t.Error(got)
		}
		time.Sleep(time.Hour + time.Second)
		if got := outcome(t, post(h, jsonType, body)); got != "401 token_expired token" {
			t.Error(got)
		}
	})
}

func TestFullBufferAndClosedClientAre503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := aligntest.NewServer(t)
		srv.Always(aligntest.Status(503))
		client, err := align.New(func() align.Config { cfg := srv.Config(); cfg.BufferEvents = 1; return cfg }())
		if err != nil {
			t.Fatal(err)
		}
		h := newHandler(t, client, unlimited)
		body := `{"token":"` + mint(t, client, "s1", 2, "u1") + `","vote":"up"}`
		if got := outcome(t, post(h, jsonType, body)); got != "204" {
			t.Error(got)
		}
		for _, state := range []string{"full", "closed"} {
			w := post(h, jsonType, body)
			if got := outcome(t, w); got != "503 unavailable" || w.Header().Get("Retry-After") == "" {
				t.Errorf("%s: %s, %v", state, got, w.Header())
			}
			srv.Always(aligntest.OK())
			client.Close(context.Background())
		}
	})
}

// The app signs people in with a cookie; sessions are named after who may vote on them.
func signedIn(r *http.Request, session string) (string, bool) {
	cookie, err := r.Cookie("user")
	if err != nil {
		return "", false
	}
	return cookie.Value, strings.HasPrefix(session, cookie.Value)
}

func TestCookieVotesComeFromTheAppsOwnPagesOnly(t *testing.T) {
	client, srv := aligntest.Client(t)
	cfg := unlimited
	cfg.AllowedOrigins = []string{chat, "https://partner.example.org"}
	cfg.Voter = signedIn
	h := newHandler(t, client, cfg)
	const vote = "vote=up&session=ada-1&index=2"
	accepted := 0
	for _, test := range []struct {
		name    string
		body    string
		headers []string
		want    string
	}{
		{"its own page", vote, []string{"Sec-Fetch-Site", "same-origin"}, "204"},
		{"its own page, whose referrer policy hides it", vote, []string{"Sec-Fetch-Site", "same-origin", "Origin", "null"}, "204"},
		{"its own page in an older browser", vote, []string{"Origin", "https://app.example.com"}, "204"},
		{"behind a proxy that ends TLS", vote, []string{"Origin", "http://APP.example.com"}, "204"},
		{"a listed page of the same site", vote, []string{"Sec-Fetch-Site", "same-site", "Origin", chat}, "204"},
		{"the whole session", "vote=up&session=ada-1", []string{"Sec-Fetch-Site", "same-origin"}, "204"},

		{"a listed page of another site", vote, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://partner.example.org"}, "403 origin"},
		{"a listed page in an older browser", vote, []string{"Origin", chat}, "403 origin"},
		{"another page of the same site", vote, []string{"Sec-Fetch-Site", "same-site", "Origin", "https://blog.example.com"}, "403 origin"},
		{"another site", vote, []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example.net"}, "403 origin"},
		{"another site in an older browser", vote, []string{"Origin", "https://evil.example.net"}, "403 origin"},
		{"another port", vote, []string{"Origin", "https://app.example.com:8443"}, "403 origin"},
		{"a name that ends the same", vote, []string{"Origin", "https://evil-app.example.com"}, "403 origin"},
		{"a sandbox", vote, []string{"Origin", "null"}, "403 origin"},
		{"a sandbox of another site", vote, []string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, "403 origin"},
		{"nobody says", vote, nil, "403 origin"},
		{"the address bar", vote, []string{"Sec-Fetch-Site", "none"}, "403 origin"},

		{"another user's session", "vote=up&session=bob-1", []string{"Sec-Fetch-Site", "same-origin"}, "403 not_allowed session"},
		{"no session", "vote=up", []string{"Sec-Fetch-Site", "same-origin"}, "422 invalid session"},
		{"session too long", "vote=up&session=ada" + strings.Repeat("a", 62), []string{"Sec-Fetch-Site", "same-origin"}, "422 invalid session"},
		{"signed out", vote, []string{"Sec-Fetch-Site", "same-origin", "Cookie", "x=y"}, "401 sign_in_required"},
		{"a user that no event can name", vote, []string{"Sec-Fetch-Site", "same-origin", "Cookie", "user=" + strings.Repeat("u", 65)}, "403 not_allowed session"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := outcome(t, post(h, formType, test.body, append([]string{"Cookie", "user=ada"}, test.headers...)...))
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			if got == "204" {
				accepted++
			}
		})
	}
	if err := client.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := srv.Session("ada-1").Feedback
	if len(got) != accepted || slices.ContainsFunc(got, func(f aligntest.Feedback) bool { return f.UserID != "ada" }) {
		t.Errorf("%d accepted, recorded %+v", accepted, got)
	}
}

func TestVoterThatBreaksTheLimitsIsTheAppsFault(t *testing.T) {
	client, _ := aligntest.Client(t)
	cfg := unlimited
	cfg.Voter = func(*http.Request, string) (string, bool) { return strings.Repeat("u", 65), true }
	h := newHandler(t, client, cfg)
	if got := outcome(t, post(h, formType, "vote=up&session=s", "Sec-Fetch-Site", "same-origin")); got != "500 internal" {
		t.Error(got)
	}
}

func TestTokensNeedNoCookieButAnAllowedOrigin(t *testing.T) {
	client, _ := aligntest.Client(t)
	cfg := unlimited
	cfg.AllowedOrigins = []string{chat}
	h := newHandler(t, client, cfg)
	body := `{"token":"` + mint(t, client, "s1", 2, "u1") + `","vote":"up"}`
	for _, test := range []struct {
		name    string
		headers []string
		want    string
		allowed string // Access-Control-Allow-Origin
	}{
		{"no browser", nil, "204", ""},
		{"its own page", []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://app.example.com"}, "204", ""},
		{"a listed page of the same site", []string{"Sec-Fetch-Site", "same-site", "Origin", chat}, "204", chat},
		{"a listed page of another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", chat}, "204", chat},
		{"a listed page in an older browser", []string{"Origin", chat}, "204", chat},
		{"any other page", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example.net"}, "403 origin", ""},
		{"another site that does not name itself", []string{"Sec-Fetch-Site", "cross-site"}, "403 origin", ""},
		{"the same over http", []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://chat.example.com"}, "403 origin", ""},
		{"a sandbox", []string{"Sec-Fetch-Site", "cross-site", "Origin", "null"}, "403 origin", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := post(h, jsonType, body, test.headers...)
			if got := outcome(t, w); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			header := w.Header()
			if got := header.Get("Access-Control-Allow-Origin"); got != test.allowed {
				t.Errorf("allows %q, want %q", got, test.allowed)
			}
			if header.Get("Vary") != "Origin" || header.Get("Access-Control-Allow-Credentials") != "" {
				t.Error(header)
			}
		})
	}
	// A page that may not read why it failed cannot say so to its user.
	if w := post(h, jsonType, `{}`, "Origin", chat); w.Code != 422 || w.Header().Get("Access-Control-Allow-Origin") != chat {
		t.Errorf("%d without CORS: %v", w.Code, w.Header())
	}
}

func TestPreflightIsAnsweredForListedOriginsAlone(t *testing.T) {
	client, _ := aligntest.Client(t)
	for _, cookies := range []bool{false, true} {
		cfg := unlimited
		cfg.AllowedOrigins = []string{chat}
		if cookies {
			cfg.Voter = signedIn
		}
		h := newHandler(t, client, cfg)
		preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "content-type", "Origin"}
		w := do(h, "OPTIONS", "", append(preflight, chat, "Sec-Fetch-Site", "cross-site")...)
		header := w.Header()
		if got := outcome(t, w); got != "204" {
			t.Error(got)
		}
		for name, want := range map[string]string{
			"Access-Control-Allow-Origin": chat, "Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": "Content-Type",
			"Access-Control-Max-Age": "7200", "Access-Control-Allow-Credentials": map[bool]string{true: "true"}[cookies], "Vary": "Origin",
		} {
			if got := header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		w = do(h, "OPTIONS", "", append(preflight, "https://evil.example.net", "Sec-Fetch-Site", "cross-site")...)
		if got := outcome(t, w); got != "403 origin" {
			t.Error(got)
		}
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control") {
				t.Errorf("another origin is told %s", name)
			}
		}
	}
	if w := do(newHandler(t, client, unlimited), "OPTIONS", ""); w.Code != 204 || w.Header().Get("Allow") != "OPTIONS, POST" {
		t.Error(w.Code, w.Header())
	}
}

func TestVotesAreLimitedByTokenAndByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, _ := aligntest.Client(t)
		h := newHandler(t, client, feedbackhttp.Config{Address: func(r *http.Request) string { return r.Header.Get("From") }})
		body := func(index int) string {
			return `{"token":"` + mint(t, client, "s1", index, "u1") + `","vote":"up"}`
		}
		wants := func(what, want, retryAfter, from, body string) {
			t.Helper()
			w := post(h, jsonType, body, "From", from)
			if got := outcome(t, w); got != want || w.Header().Get("Retry-After") != retryAfter {
				t.Errorf("%s: %s, Retry-After %q", what, got, w.Header().Get("Retry-After"))
			}
		}
		for i := range 10 {
			wants("votes at once", "204", "", fmt.Sprint(i), body(1))
		}
		time.Sleep(500 * time.Millisecond)
		wants("one more, with a new token for the same, from elsewhere", "429 too_many", "6", "a", body(1))
		wants("on another message", "204", "", "a", body(2))
		time.Sleep(5500*time.Millisecond - time.Nanosecond)
		wants("a nanosecond early", "429 too_many", "1", "a", body(1))
		time.Sleep(time.Nanosecond)
		wants("after what Retry-After said", "204", "", "a", body(1))
		wants("and again", "429 too_many", "6", "a", body(1))

		// Guessing is limited, too, and an IPv6 network is one party.
		for i := range 60 {
			wants("guesses", "401 token_invalid token", "", fmt.Sprintf("2001:db8::%d", i), `{"token":"guess","vote":"up"}`)
		}
		wants("one more", "429 too_many", "1", "2001:db8::ffff", body(3))
		wants("a neighbour", "204", "", "2001:db8:0:1::1", body(3))
		time.Sleep(time.Second)
		wants("a second later", "204", "", "2001:db8::1", body(3))
	})
}

func TestAddressIsThatOfTheConnectionByDefault(t *testing.T) {
	client, _ := aligntest.Client(t)
	h := newHandler(t, client, feedbackhttp.Config{PerAddress: feedbackhttp.Rate{Burst: 1, Every: time.Hour}})
	for i, test := range []struct {
		remote string
		want   int
	}{{"192.0.2.1:1000", 401}, {"192.0.2.1:1001", 429}, {"192.0.2.2:1000", 401}, {"@", 401}, {"@", 429}} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(`{"vote":"up"}`))
		r.Header.Set("Content-Type", jsonType)
		r.Header.Set("X-Forwarded-For", fmt.Sprint("198.51.100.", i)) // anybody can say so
		r.RemoteAddr = test.remote
		w := httptest.NewRecorder()
		if h.ServeHTTP(w, r); w.Code != test.want {
			t.Errorf("request %d, from %s: %d, want %d", i, test.remote, w.Code, test.want)
		}
	}
}

func TestNothingOfAVoteIsLogged(t *testing.T) {
	var log bytes.Buffer
	srv := aligntest.NewServer(t)
	cfg := srv.Config()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(cfg.Logger)
	client, err := align.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	h := newHandler(t, client, unlimited)
	token := mint(t, client, "s1", 2, "u1")
	var answers strings.Builder
	for _, body := range []string{
		`{"token":"` + token + `","vote":"up","comment":"s3cret"}`, `{"token":"s3cret","vote":"up"}`, `{"token":"` + token + `","vote":"s3cret"}`,
		`{"s3cret":1}`, `{"token":"` + token + `","vote":"up","reasons":["s3cret\u0000"]}`, `{"session":["s3cret"]}`, `s3cret`,
	} {
		w := post(h, jsonType, body)
		answers.WriteString(w.Body.String())
	}
	client.Close(context.Background())
	if strings.Contains(log.String()+answers.String(), "s3cret") || strings.Contains(log.String(), token) {
		t.Errorf("content shows: %s%s", &log, &answers)
	}
}

func TestNewReturnsAllProblems(t *testing.T) {
	_, err := feedbackhttp.New(nil, feedbackhttp.Config{
		AllowedOrigins: []string{chat, "*"}, PerToken: feedbackhttp.Rate{Burst: 1}, PerAddress: feedbackhttp.Rate{Every: time.Second},
	})
	want := `align: feedbackhttp.Config.AllowedOrigins must be origins as browsers send them, such as https://chat.example.com
align: feedbackhttp.Config.PerToken.Every must be above 0 and at most 24h
align: feedbackhttp.Config.PerAddress.Burst must be at least 1, or negative for no limit`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if _, ok := errors.AsType[*align.FieldError](err); !ok {
		t.Error("no *align.FieldError")
	}
	for origin, ok := range map[string]bool{
		chat: true, "http://localhost:8080": true, "https://[::1]:8443": true, "https://xn--bcher-kva.example": true,
		"": false, "null": false, "chat.example.com": false, chat + "/": false, chat + "?": false, "https://Chat.example.com": false, chat + ":443": false,
		"http://a:80": false, "https://a:": false, "https://*.example.com": false, "ftp://example.com": false, "https://u@example.com": false,
	} {
		if _, err := feedbackhttp.New(nil, feedbackhttp.Config{AllowedOrigins: []string{origin}}); (err == nil) != ok {
			t.Errorf("%q: %v", origin, err)
		}
	}
	if h, err := feedbackhttp.New(nil, feedbackhttp.Config{PerToken: feedbackhttp.Rate{Burst: 11, Every: 1}}); h == nil || err != nil {
		t.Error(err)
	}
}

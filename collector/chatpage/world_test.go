package chatpage_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/chatpage"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
)

const project = "shop"

// world is a collector with the chat page, over real HTTP and a real store.
type world struct {
	t     testing.TB
	store *sqlite.Store
	page  *chatpage.Page
	web   *httptest.Server
	host  http.Handler
}

func newWorld(t testing.TB, config agents.Config) *world {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "align.db"))
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	w := &world{t: t, store: store}
	pages := dashboard.New(store, dashboard.Options{Beside: []dashboard.Beside{chatpage.Link()}, Logger: quiet})
	rest := server.New(store, server.Options{Dashboard: pages, Logger: quiet})
	w.host = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, chatpage.Path) {
			w.page.ServeHTTP(rw, r)
			return
		}
		rest.ServeHTTP(rw, r)
	})
	w.web = httptest.NewUnstartedServer(w.host)
	w.web.Config = server.HTTP(w.host, quiet)
	w.web.Start()
	set, err := agents.New(config, "")
	if err != nil {
		t.Fatal(err)
	}
	w.page, err = chatpage.New(chatpage.Config{
		Host: w.web.URL, APIKey: w.key(project, collector.ScopeIngest), ProjectID: project, Agents: set, Dashboard: pages, Logger: quiet,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.close()
		rest.Drain()
		w.web.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// close closes the page: everything it has recorded has arrived then.
func (w *world) close() {
	w.t.Helper()
	if err := w.page.Close(context.Background()); err != nil {
		w.t.Error(err)
	}
}

func (w *world) key(project string, scope collector.Scope) string {
	w.t.Helper()
	secret, key, err := keys.New(project, scope)
	if err == nil {
		err = w.store.CreateKey(w.t.Context(), key)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return secret
}

// messages are those of the only conversation there is, nil where there is none.
func (w *world) messages() (collector.Conversation, []collector.Message) {
	w.t.Helper()
	hits, _, err := w.store.Search(w.t.Context(), project, collector.Query{}, collector.Page{Size: 10}, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if len(hits) == 0 {
		return collector.Conversation{}, nil
	}
	list, _, err := w.store.Messages(w.t.Context(), project, hits[0].ID, collector.Page{Size: 300})
	if err != nil || len(hits) > 1 {
		w.t.Fatalf("%d conversations, %v", len(hits), err)
	}
	return hits[0].Conversation, list
}

// browser keeps cookies, follows no redirect, and says where its requests come from.
type browser struct {
	*world
	client *http.Client
	header http.Header // of every request
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	client := *w.web.Client()
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{w, &client, http.Header{"Sec-Fetch-Site": {"same-origin"}}}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (b *browser) send(method, path, kind, body string) answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.web.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for name, values := range b.header {
		r.Header[name] = values
	}
	if kind != "" {
		r.Header.Set("Content-Type", kind)
	}
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

func (b *browser) get(path string) answer { return b.send(http.MethodGet, path, "", "") }

// post sends a form of names and values by turns.
func (b *browser) post(path string, fields ...string) answer {
	b.t.Helper()
	values := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		values.Add(fields[i], fields[i+1])
	}
	return b.send(http.MethodPost, path, "application/x-www-form-urlencoded", values.Encode())
}

var hidden = regexp.MustCompile(`<input type="hidden" name="(token|conversation)" value="([^"]*)">`)

// form is what every form of the page carries: the first token and the conversation.
func (b *browser) form() []string {
	b.t.Helper()
	page := b.get("/demo")
	found := map[string]string{}
	for _, field := range hidden.FindAllStringSubmatch(page.body, -1) {
		if found[field[1]] == "" {
			found[field[1]] = field[2]
		}
	}
	if page.status != http.StatusOK || found["token"] == "" || found["conversation"] == "" {
		b.t.Fatalf("no form: %d %.300s", page.status, page.body)
	}
	return []string{"token", found["token"], "conversation", found["conversation"]}
}

// say says something, without script.
func (b *browser) say(text string, more ...string) answer {
	b.t.Helper()
	return b.post("/demo/say", append(append(b.form(), "text", text), more...)...)
}

func (b *browser) signIn(key string) *browser {
	b.t.Helper()
	token := hidden.FindStringSubmatch(b.get("/dashboard/").body)[2]
	if got := b.post("/dashboard/signin", "token", token, "key", key, "next", "/demo"); got.status != http.StatusSeeOther || got.header.Get("Location") != "/demo" {
		b.t.Fatalf("signing in: %d, to %q", got.status, got.header.Get("Location"))
	}
	return b
}

// guest is signed in, and may chat.
func (w *world) guest() *browser { return w.browser().signIn(w.key(project, collector.ScopeChat)) }

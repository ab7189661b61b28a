package dashboard_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/agents"
	"github.com/openalign/align/collector/chatpage"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/live"
	"github.com/openalign/align/collector/server"
	"github.com/openalign/align/collector/store/sqlite"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

const project = "shop"

type (
	eventProperties    = ingestionv1alpha.EventProperties
	sessionProperties  = ingestionv1alpha.EventProperties_SessionProperties
	messageProperties  = ingestionv1alpha.EventProperties_MessageProperties
	userProperties     = ingestionv1alpha.EventProperties_UserProperties
	feedbackProperties = ingestionv1alpha.EventProperties_FeedbackProperties
)

// world is a collector with a dashboard, over real HTTP and a real store.
type world struct {
	t       testing.TB
	store   *sqlite.Store
	server  *server.Server
	web     *httptest.Server
	log     *syncBuffer
	exports *export.Exporter
	pages   *dashboard.Dashboard
	chat    http.Handler // at /demo, where there is one
	watched ingest.Appender
	facts   []collector.Fact
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func newWorld(t testing.TB, opts dashboard.Options) *world {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "align.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{t: t, store: store, log: new(syncBuffer)}
	w.exports = export.New(store, export.Config{Logger: slog.New(slog.DiscardHandler)})
	opts.Exports = w.exports
	opts.Logger = slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	opts.Live = live.NewHub()
	w.pages = dashboard.New(store, opts)
	w.watched = opts.Live.Told(store)
	w.server = server.New(store, server.Options{Logger: opts.Logger, Live: opts.Live, Dashboard: w.pages})
	all := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if w.chat != nil && strings.HasPrefix(r.URL.Path, chatpage.Path) {
			w.chat.ServeHTTP(rw, r)
			return
		}
		w.server.ServeHTTP(rw, r)
	})
	w.web = httptest.NewUnstartedServer(all)
	w.web.Config = server.HTTP(all, opts.Logger)
	w.web.Start()
	t.Cleanup(func() {
		w.server.Drain()
		w.web.Close()
	})
	return w
}

// talk adds the demo's chat page, with the agents of a configuration. Conversations in which nobody says anything for idle are
// closed.
func (w *world) talk(config agents.Config, idle time.Duration) {
	w.t.Helper()
	set, err := agents.New(config, "")
	if err != nil {
		w.t.Fatal(err)
	}
	page, err := chatpage.New(chatpage.Config{
		Host: w.web.URL, APIKey: w.key(collector.ScopeIngest), ProjectID: project, Agents: set, Dashboard: w.pages, Idle: idle,
		Logger: slog.New(slog.NewTextHandler(w.log, nil)),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.chat = page
	w.t.Cleanup(func() { // before the server ends
		if err := page.Close(context.Background()); err != nil {
			w.t.Error(err)
		}
	})
}

func (w *world) key(scope collector.Scope) string { return w.keyOf(project, scope) }

func (w *world) keyOf(project string, scope collector.Scope) string {
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

// browser is a client that keeps cookies and follows no redirect.
type browser struct {
	*world
	client *http.Client
}

func (w *world) browser() *browser {
	jar, err := cookiejar.New(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	client := *w.web.Client()
	client.Jar = jar
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &browser{w, &client}
}

func (b *browser) do(r *http.Request) (status int, header http.Header, body string) {
	b.t.Helper()
	response, err := b.client.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func (b *browser) request(method, path, body string) *http.Request {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.web.URL+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func (b *browser) get(path string) (status int, body string) {
	b.t.Helper()
	status, _, body = b.do(b.request(http.MethodGet, path, ""))
	return status, body
}

func (b *browser) post(path string, fields ...string) (status int, header http.Header, body string) {
	b.t.Helper()
	return b.do(b.request(http.MethodPost, path, form(fields...)))
}

// form encodes names and values by turns.
func form(fields ...string) string {
	values := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		values.Add(fields[i], fields[i+1])
	}
	return values.Encode()
}

var tokens = regexp.MustCompile(`name="token" value="([^"]*)"`)

// token is that of the forms of a page.
func (b *browser) token(path string) string {
	b.t.Helper()
	_, body := b.get(path)
	found := tokens.FindStringSubmatch(body)
	if found == nil {
		b.t.Fatalf("no form at %s", path)
	}
	return found[1]
}

func (b *browser) signIn(key string) *browser {
	b.t.Helper()
	status, _, body := b.post("/dashboard/signin", "token", b.token("/dashboard/"), "key", key)
	if status != http.StatusSeeOther {
		b.t.Fatalf("signing in: %d %s", status, body)
	}
	return b
}

// say adds a fact.
func (w *world) say(id, kind string, at time.Time, props *eventProperties) {
	w.facts = append(w.facts, collector.Fact{ID: id, Time: at, ReceiveTime: at, Event: &ingestionv1alpha.Event{
		Id: id, Type: kind, CreateTime: timestamppb.New(at), Properties: props}})
}

func (w *world) opened(session, user, title string, at time.Time) {
	w.say("open-"+session, collector.TypeSessionOpen, at, &eventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
		SessionProperties: &sessionProperties{SessionId: session, UserId: user, SessionTitle: title, AssistantId: "support"}}})
}

func (w *world) said(session string, index int32, role, content string, at time.Time) *messageProperties {
	m := &messageProperties{SessionId: session, MessageIndexHint: index, MessageContent: content, MessageRole: ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT}
	if role == "user" {
		m.MessageRole = ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER
	}
	w.say(fmt.Sprintf("%s-%d-%d", session, index, at.UnixNano()), collector.TypeMessageCreate, at, &eventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: m}})
	return m
}

func (w *world) voted(session string, index int32, user, kind, comment string, at time.Time) {
	f := &feedbackProperties{SessionId: session, UserId: user, MessageIndexHint: index, Type: kind, Comment: comment,
		FeedbackTarget: ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE}
	w.say(fmt.Sprintf("vote-%s-%d", session, index), collector.TypeFeedbackCreate, at, &eventProperties{
		ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: f}})
}

func (w *world) known(user, name, email, country string, at time.Time) {
	w.say("user-"+user, collector.TypeUserRecognize, at, &eventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_UserProperties_{
		UserProperties: &userProperties{UserId: user, UserDisplayName: name, UserEmail: email,
			UserLocation: &ingestionv1alpha.EventProperties_UserProperties_Location{CountryCode: country}}}})
}

// stored stores what was added, counted and to be found.
func (w *world) stored(t testing.TB) {
	t.Helper()
	w.append(t)
	ctx := context.Background()
	if err := errors.Join(w.store.DigestAll(ctx), w.store.CatchUp(ctx)); err != nil {
		t.Fatal(err)
	}
}

// append stores what was added.
func (w *world) append(t testing.TB) {
	t.Helper()
	for len(w.facts) > 0 {
		n := min(len(w.facts), 1000)
		if _, err := w.store.Append(context.Background(), project, collector.Batch{Facts: w.facts[:n]}); err != nil {
			t.Fatal(err)
		}
		w.facts = w.facts[n:]
	}
	w.facts = nil
}

// month adds two months of conversations in a shop that are all alike in kind, and different in everything else.
func (w *world) month(now time.Time, perDay int) {
	random := rand.New(rand.NewPCG(1, 2))
	names := []string{"Ada Byron", "Grace Murray", "Edsger", "Barbara L.", "Radia", "Ken", "Hedy Lamarr", "Katherine J.", "김하늘", "ليلى", "Søren", "Zoë"}
	countries := []string{"KR", "DE", "US", "FR", "EG", "DK"}
	for i, name := range names {
		w.known(fmt.Sprintf("user-%02d", i+1), name, fmt.Sprintf("user%d@example.com", i+1), countries[i%len(countries)], now.AddDate(0, 0, -60))
	}
	asks := []string{"Where is my order 1042?", "I want to return the blue jacket", "Do these shoes run small?", "My invoice shows the wrong address",
		"주문은 언제 도착하나요?", "أين طلبي؟", "How long does a refund take?", "I forgot my password 🙈", "Can I pay with two cards?"}
	answers := []string{"It left our warehouse this morning and should be with you on Thursday.", "Of course. The label is in your inbox; the parcel is free to send.",
		"They do, a little. Most people take half a size more.", "I have changed it. You will find the new invoice under Orders.", "목요일에 도착할 예정입니다.",
		"سيصل يوم الخميس.", "Two working days once the parcel has reached us.", "No harm done. I have sent you a link that sets a new one."}
	n := 0
	for day := 60; day >= 0; day-- {
		for range perDay + random.IntN(perDay/2+1) - (day%7/5)*perDay/2 {
			n++
			at := now.Add(-time.Duration(day)*24*time.Hour - time.Duration(random.IntN(36000))*time.Second)
			session, user := fmt.Sprintf("conversation-%04d", n), fmt.Sprintf("user-%02d", 1+random.IntN(len(names)))
			title := ""
			if n%3 == 0 {
				title = "Order " + fmt.Sprint(1000+n)
			}
			w.opened(session, user, title, at)
			open := w.facts[len(w.facts)-1].Event.GetProperties().GetSessionProperties()
			open.Channel, open.Language = []string{"web", "app", "whatsapp"}[n%3], []string{"en", "de", "ko"}[n%3]
			for turn := range int32(1 + random.IntN(4)) {
				at = at.Add(time.Duration(20+random.IntN(90)) * time.Second)
				pick := random.IntN(len(answers))
				w.said(session, 2*turn+1, "user", asks[(pick+int(turn))%len(asks)], at)
				took := time.Duration(400+random.ExpFloat64()*900) * time.Millisecond
				at = at.Add(took)
				m := w.said(session, 2*turn+2, "assistant", answers[pick], at)
				m.Latency, m.Model, m.Success = durationpb.New(took), "small-3", new(true)
				switch roll := random.IntN(20); {
				case roll < 5:
					w.voted(session, 2*turn+2, user, "thumbs_up", "", at.Add(5*time.Second))
				case roll < 7:
					w.voted(session, 2*turn+2, user, "thumbs_down", "That is not what I asked.", at.Add(5*time.Second))
				}
			}
			if n%5 > 0 {
				w.say("close-"+session, collector.TypeSessionClose, at.Add(time.Minute), &eventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
					SessionProperties: &sessionProperties{SessionId: session}}})
			}
		}
	}
}

package dashboard_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/store/sqlite"
)

// handlerWorld is a dashboard without sockets, for tests in which time jumps.
type handlerWorld struct {
	store *sqlite.Store
	pages *dashboard.Dashboard
}

func newHandlerWorld(t *testing.T) *handlerWorld {
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
	return &handlerWorld{store, dashboard.New(store, dashboard.Options{Logger: slog.New(slog.DiscardHandler)})}
}

func (w *handlerWorld) signIn(t *testing.T) []*http.Cookie {
	t.Helper()
	secret, key, err := keys.New(project, collector.ScopeAdmin)
	if err == nil {
		err = w.store.CreateKey(t.Context(), key)
	}
	if err != nil {
		t.Fatal(err)
	}
	page := httptest.NewRecorder()
	w.pages.ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/dashboard/", nil))
	r := httptest.NewRequest(http.MethodPost, "/dashboard/signin", strings.NewReader(form("token", tokens.FindStringSubmatch(page.Body.String())[1], "key", secret)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, cookie := range page.Result().Cookies() {
		r.AddCookie(cookie)
	}
	answer := httptest.NewRecorder()
	w.pages.ServeHTTP(answer, r)
	if answer.Code != http.StatusSeeOther {
		t.Fatalf("signing in: %d", answer.Code)
	}
	return answer.Result().Cookies()
}

func (w *handlerWorld) get(t *testing.T, cookies []*http.Cookie) (status int) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/dashboard/settings", nil)
	for _, cookie := range cookies {
		r.AddCookie(cookie)
	}
	answer := httptest.NewRecorder()
	w.pages.ServeHTTP(answer, r)
	return answer.Code
}

package keys_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
)

// finder finds the keys it was given, unless err is set.
type finder struct {
	keys map[[32]byte]collector.Key
	err  error
	used *[]time.Time
}

func (f finder) UseKey(_ [32]byte, at time.Time) {
	if f.used != nil {
		*f.used = append(*f.used, at)
	}
}

func (f finder) KeyByHash(_ context.Context, hash [32]byte) (collector.Key, error) {
	if f.err != nil {
		return collector.Key{}, f.err
	}
	key, ok := f.keys[hash]
	if !ok {
		return collector.Key{}, collector.ErrNotFound
	}
	return key, nil
}

func newKey(t *testing.T, scope collector.Scope) (string, collector.Key) {
	t.Helper()
	secret, key, err := keys.New("shop", scope)
	if err != nil {
		t.Fatal(err)
	}
	return secret, key
}

func TestNewKeysAreLongPrefixedAndNeverTheSame(t *testing.T) {
	secret, key := newKey(t, collector.ScopeIngest)
	other, _ := newKey(t, collector.ScopeIngest)
	if random, ok := strings.CutPrefix(secret, "align_ingest_"); !ok || len(random) != 43 {
		t.Errorf("key %q, want the prefix and 43 characters", secret)
	}
	if secret == other {
		t.Error("the same key twice")
	}
	if key.Hash != keys.Hash(secret) || key.Hint != secret[len(secret)-4:] || key.Project != "shop" || key.CreateTime.IsZero() {
		t.Errorf("kept of it: %+v", key)
	}
}

func TestKeysNeedAProjectAndAScope(t *testing.T) {
	if _, _, err := keys.New("", collector.ScopeRead); err == nil {
		t.Error("a key without a project")
	}
	if _, _, err := keys.New("shop", "root"); err == nil {
		t.Error("a key with an unknown scope")
	}
}

func TestRequireLetsOnlyTheRightKeysThrough(t *testing.T) {
	f := finder{keys: make(map[[32]byte]collector.Key)}
	secret := make(map[collector.Scope]string)
	for _, scope := range []collector.Scope{collector.ScopeIngest, collector.ScopeRead, collector.ScopeChat, collector.ScopeAdmin} {
		s, key := newKey(t, scope)
		f.keys[key.Hash], secret[scope] = key, s
	}
	ingest := secret[collector.ScopeIngest]
	for _, c := range []struct {
		need   collector.Scope
		header string
		status int
		code   string
	}{
		{collector.ScopeIngest, "Bearer " + ingest, 200, ""},
		{collector.ScopeIngest, "bearer  " + ingest, 200, ""},
		{collector.ScopeIngest, "Bearer " + secret[collector.ScopeAdmin], 200, ""},
		{collector.ScopeRead, "Bearer " + secret[collector.ScopeAdmin], 200, ""},
		{collector.ScopeRead, "Bearer " + secret[collector.ScopeRead], 200, ""},
		{collector.ScopeRead, "Bearer " + ingest, 403, "permission_denied"},
		{collector.ScopeIngest, "Bearer " + secret[collector.ScopeChat], 200, ""},
		{collector.ScopeRead, "Bearer " + secret[collector.ScopeChat], 200, ""},
		{collector.ScopeChat, "Bearer " + secret[collector.ScopeChat], 200, ""},
		{collector.ScopeAdmin, "Bearer " + secret[collector.ScopeChat], 403, "permission_denied"},
		{collector.ScopeChat, "Bearer " + secret[collector.ScopeAdmin], 200, ""},
		{collector.ScopeChat, "Bearer " + secret[collector.ScopeRead], 403, "permission_denied"},
		{collector.ScopeChat, "Bearer " + ingest, 403, "permission_denied"},
		{collector.ScopeAdmin, "Bearer " + ingest, 403, "permission_denied"},
		{collector.ScopeIngest, "", 401, "unauthenticated"},
		{collector.ScopeIngest, ingest, 401, "unauthenticated"},
		{collector.ScopeIngest, "Bearer", 401, "unauthenticated"},
		{collector.ScopeIngest, "Bearer ", 401, "unauthenticated"},
		{collector.ScopeIngest, "Basic " + ingest, 401, "unauthenticated"},
		{collector.ScopeIngest, "Bearer " + ingest[:len(ingest)-1], 401, "unauthenticated"},
		{collector.ScopeIngest, "Bearer " + ingest + "x", 401, "unauthenticated"},
		{collector.ScopeIngest, "Bearer " + strings.Repeat("x", 10_000), 401, "unauthenticated"},
	} {
		var log bytes.Buffer
		reached := false
		h := keys.Require(c.need, f, slog.New(slog.NewTextHandler(&log, nil)), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			key, ok := keys.FromContext(r.Context())
			reached = ok && key.Project == "shop"
		}))
		r := httptest.NewRequest(http.MethodPost, "/", unreadable{t})
		r.Header.Set("Authorization", c.header)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)

		if w.Code != c.status || reached != (c.status == 200) || !strings.Contains(w.Body.String(), c.code) {
			t.Errorf("%.40q for %s: status %d, reached %v, body %s", c.header, c.need, w.Code, reached, w.Body)
		}
		if got := w.Header().Get("WWW-Authenticate"); (got == "Bearer") != (c.status == 401) {
			t.Errorf("%.40q for %s: WWW-Authenticate %q with status %d", c.header, c.need, got, w.Code)
		}
		if strings.Contains(w.Body.String()+log.String(), ingest) {
			t.Errorf("%.40q for %s: the key is repeated", c.header, c.need)
		}
	}
}

// unreadable is a body that must not be read: strangers' bodies are not the business of checking keys.
type unreadable struct{ t *testing.T }

func (u unreadable) Read([]byte) (int, error) {
	u.t.Error("the body was read before the key was checked")
	return 0, io.EOF
}

func TestKeysThatCannotBeLookedUpAreNotRefused(t *testing.T) {
	secret, _ := newKey(t, collector.ScopeIngest)
	h := keys.Require(collector.ScopeIngest, finder{err: errors.New("disk on fire")}, slog.New(slog.DiscardHandler), http.NotFoundHandler())
	r := httptest.NewRequest(http.MethodPost, "/", nil)
	r.Header.Set("Authorization", "Bearer "+secret)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable || strings.Contains(w.Body.String(), "fire") {
		t.Errorf("status %d, body %s; want 503 that tells nothing", w.Code, w.Body)
	}
}

func TestClientThatHangsUpIsNoFailureOfTheStore(t *testing.T) {
	var log bytes.Buffer
	h := keys.Require(collector.ScopeIngest, finder{err: context.Canceled}, slog.New(slog.NewTextHandler(&log, nil)), http.NotFoundHandler())
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
	r.Header.Set("Authorization", "Bearer align_ingest_x")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 499 || log.Len() > 0 {
		t.Errorf("status %d, logged %q; want 499 and nothing", w.Code, &log)
	}
}

func TestNoKeyInTheContextWithoutRequire(t *testing.T) {
	if key, ok := keys.FromContext(context.Background()); ok {
		t.Errorf("found %+v", key)
	}
}

func TestKeyWorksUntilItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret, key := newKey(t, collector.ScopeIngest)
		key.ExpireTime = time.Now().Add(time.Hour)
		f := finder{keys: map[[32]byte]collector.Key{key.Hash: key}}
		h := keys.Require(collector.ScopeIngest, f, slog.New(slog.DiscardHandler), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		for _, want := range []int{http.StatusOK, http.StatusUnauthorized} {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header.Set("Authorization", "Bearer "+secret)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("status %d, want %d", w.Code, want)
			}
			time.Sleep(time.Hour)
		}
	})
}

func TestUseOfAKeyIsNotedOnceAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret, key := newKey(t, collector.ScopeIngest)
		var used []time.Time
		f := finder{keys: map[[32]byte]collector.Key{key.Hash: key}, used: &used}
		h := keys.Require(collector.ScopeIngest, f, slog.New(slog.DiscardHandler), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		for range 12 { // two hours
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			r.Header.Set("Authorization", "Bearer "+secret)
			h.ServeHTTP(httptest.NewRecorder(), r)
			time.Sleep(10 * time.Minute)
		}
		if len(used) != 2 || used[1].Sub(used[0]) != time.Hour {
			t.Errorf("noted at %v, want twice, an hour apart", used)
		}
	})
}

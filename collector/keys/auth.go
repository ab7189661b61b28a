package keys

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/reply"
)

// maxSecretBytes bounds what is hashed for a stranger. Keys have some 60 characters.
const maxSecretBytes = 256

// statusClientGone is what Connect, like others, calls a request whose client hung up. It is only seen in the log.
const statusClientGone = 499

// Finder finds keys; a [collector.Store] does.
type Finder interface {
	// KeyByHash returns the key with that hash, or [collector.ErrNotFound].
	KeyByHash(ctx context.Context, hash [32]byte) (collector.Key, error)
	// UseKey notes that a key was used, without waiting for the note to be written.
	UseKey(hash [32]byte, at time.Time)
}

// noteEvery is how often it is noted that a key is in use: a write for every request would say little more.
const noteEvery = time.Hour

// Require lets a request through to next when its "Authorization: Bearer" key is known, has not expired and allows scope. next finds the
// key with [FromContext]. Anything else is answered here: unauthenticated (401) without a valid key, permission_denied
// (403) with a key of another scope, unavailable (503) when keys cannot be looked up, so that no client gives a good key
// up.
//
// It is HTTP middleware rather than a Connect interceptor because interceptors run after the body has been read and
// decompressed: a stranger could make the server do all of that.
func Require(scope collector.Scope, finder Finder, log *slog.Logger, next http.Handler) http.Handler {
	var used uses
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		secret, ok := bearer(r.Header.Get("Authorization"))
		if !ok {
			unauthenticated(w, "an API key is needed: send it as Authorization: Bearer KEY")
			return
		}
		now := time.Now()
		key, err := finder.KeyByHash(r.Context(), Hash(secret))
		switch {
		case errors.Is(err, collector.ErrNotFound):
			unauthenticated(w, "this API key is not known here")
		case err != nil && r.Context().Err() != nil: // the client has hung up: no failure of ours, and nobody reads this
			reply.Error(w, statusClientGone, connect.CodeCanceled, "the request was given up")
		case err != nil:
			log.ErrorContext(r.Context(), "looking up an API key failed", "error", err)
			reply.Error(w, http.StatusServiceUnavailable, connect.CodeUnavailable, "API keys cannot be checked right now")
		case key.Expired(now):
			unauthenticated(w, "this API key has expired or was revoked")
		case !key.Scope.Allows(scope):
			reply.Error(w, http.StatusForbidden, connect.CodePermissionDenied,
				"this API key has scope "+string(key.Scope)+"; this call needs "+string(scope))
		default:
			used.note(&key, now, finder)
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), contextKey{}, key)))
		}
	})
}

// uses keeps the many requests that come before a note is written from noting the same.
type uses struct {
	mu    sync.Mutex
	noted map[[32]byte]time.Time // of keys that exist, so there are few; guarded by mu
}

// note notes that a key was used, once an hour.
func (u *uses) note(key *collector.Key, now time.Time, finder Finder) {
	if now.Sub(key.LastUsed) < noteEvery {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if now.Sub(u.noted[key.Hash]) < noteEvery {
		return
	}
	if u.noted == nil {
		u.noted = make(map[[32]byte]time.Time)
	}
	u.noted[key.Hash] = now
	finder.UseKey(key.Hash, now)
}

// FromContext returns the key that [Require] let through.
func FromContext(ctx context.Context) (key collector.Key, ok bool) {
	key, ok = ctx.Value(contextKey{}).(collector.Key)
	return key, ok
}

type contextKey struct{}

// Allowed returns the key that [Require] let through if it allows scope. Middleware has asked for one already; what a single
// call needs beyond that, or would need were it served without, is asked for here. Its error is one for the client.
func Allowed(ctx context.Context, scope collector.Scope) (collector.Key, error) {
	key, ok := FromContext(ctx)
	if !ok {
		return key, connect.NewError(connect.CodeUnauthenticated, errors.New("an API key is needed"))
	}
	if !key.Scope.Allows(scope) {
		return key, connect.NewError(connect.CodePermissionDenied, fmt.Errorf("this API key has scope %s; this call needs %s", key.Scope, scope))
	}
	return key, nil
}

// bearer takes the key out of an Authorization header. The scheme's case does not matter (RFC 9110, 11.1).
func bearer(header string) (secret string, ok bool) {
	scheme, secret, _ := strings.Cut(header, " ")
	secret = strings.TrimSpace(secret)
	return secret, strings.EqualFold(scheme, "Bearer") && secret != "" && len(secret) <= maxSecretBytes
}

func unauthenticated(w http.ResponseWriter, message string) {
	w.Header().Set("WWW-Authenticate", "Bearer")
	reply.Error(w, http.StatusUnauthorized, connect.CodeUnauthenticated, message)
}

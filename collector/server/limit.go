package server

import (
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/time/rate"

	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/reply"
)

// limits bounds how many requests a second each key may make. Twice as many may come at once.
type limits struct {
	perSecond float64

	mu    sync.Mutex
	byKey map[[32]byte]*rate.Limiter // keys that exist, so there are few; guarded by mu
}

// of returns next behind the limit of the request's key. It must stand behind [keys.Require].
func (l *limits) of(next http.Handler) http.Handler {
	if l.perSecond <= 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, ok := keys.FromContext(r.Context())
		if !ok {
			next.ServeHTTP(w, r) // which asks for one
			return
		}
		if wait := l.wait(key.Hash, time.Now()); wait > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			reply.Error(w, http.StatusTooManyRequests, connect.CodeResourceExhausted, "this API key makes too many requests; try again")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// wait returns how long a key has to wait, and counts the request when it is none.
func (l *limits) wait(key [32]byte, now time.Time) time.Duration {
	l.mu.Lock()
	limiter := l.byKey[key]
	if limiter == nil {
		if l.byKey == nil {
			l.byKey = make(map[[32]byte]*rate.Limiter)
		}
		limiter = rate.NewLimiter(rate.Limit(l.perSecond), int(math.Ceil(2*l.perSecond)))
		l.byKey[key] = limiter
	}
	l.mu.Unlock()
	reservation := limiter.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

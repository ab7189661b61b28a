package feedbackhttp

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"time"
)

// limiter keeps a token bucket for each key, in bounded memory. A bucket is one number: the moment at which it will be full
// again. One that is full is as good as none, so only those that were used lately take room.
type limiter struct {
	rate Rate
	seed maphash.Seed

	mu sync.Mutex // guards what follows
	// Those used since the last turn, and those used before it. When the young ones are maxBuckets, the old ones are
	// forgotten and the young ones are old: each bucket outlives the use of maxBuckets others.
	young, old map[uint64]time.Time
}

// maxBuckets is how many buckets a generation of a limiter has: both take some 3 MB when full.
const maxBuckets = 32 << 10

func newLimiter(rate Rate) *limiter {
	return &limiter{rate: rate, seed: maphash.MakeSeed(), young: make(map[uint64]time.Time)}
}

// allow takes one from the bucket of key, or says how long it takes until there is one.
func (l *limiter) allow(key string, now time.Time) (wait time.Duration, ok bool) {
	if l.rate.Burst < 0 {
		return 0, true
	}
	// A hash, so that no key takes more room than another. No one outside knows the seed.
	id := maphash.String(l.seed, key)
	l.mu.Lock()
	defer l.mu.Unlock()
	full, found := l.young[id]
	if !found {
		full = l.old[id]
	}
	if full.Before(now) {
		full = now
	}
	if wait = full.Add(l.rate.Every).Sub(now) - time.Duration(l.rate.Burst)*l.rate.Every; wait <= 0 {
		full, wait, ok = full.Add(l.rate.Every), 0, true
	}
	if !found && len(l.young) >= maxBuckets {
		l.young, l.old = make(map[uint64]time.Time), l.young
	}
	l.young[id] = full // when refused, too: one that goes on asking is not forgotten
	return wait, ok
}

// network is the part of an address that one party has to itself: of IPv6 the first 64 bits, of others all of it.
func network(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	prefix, err := a.Prefix(64)
	if err != nil {
		return address
	}
	return prefix.String()
}

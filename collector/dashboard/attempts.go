package dashboard

import (
	"math"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Keys cannot be guessed, so what is bounded is what guessing costs, and how much of it fills the log.
const (
	// failuresAtOnce is how many sign-ins from an address may fail at once, and failuresEvery how soon another may.
	failuresAtOnce = 20
	failuresEvery  = 6 * time.Second
	// maxAddresses is how many addresses are told apart. Beyond them all share one allowance.
	maxAddresses = 10_000
)

// attempts bounds how often signing in may fail, by address. The zero value is ready to use.
type attempts struct {
	mu     sync.Mutex
	by     map[netip.Prefix]*rate.Limiter // guarded by mu
	others *rate.Limiter                  // guarded by mu
}

// wait returns how long an address has to wait, 0 when it may try.
func (a *attempts) wait(remote string, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	limiter := a.by[prefixOf(remote)]
	if limiter == nil && len(a.by) >= maxAddresses {
		limiter = a.others
	}
	if limiter == nil {
		return 0
	}
	if tokens := limiter.TokensAt(now); tokens < 1 {
		return time.Duration((1 - tokens) * float64(failuresEvery))
	}
	return 0
}

// failed counts a failure.
func (a *attempts) failed(remote string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = make(map[netip.Prefix]*rate.Limiter)
		a.others = rate.NewLimiter(rate.Every(failuresEvery), failuresAtOnce)
	}
	from := prefixOf(remote)
	limiter := a.by[from]
	if limiter == nil && len(a.by) >= maxAddresses {
		for address, l := range a.by {
			if l.TokensAt(now) >= failuresAtOnce {
				delete(a.by, address) // as good as new
			}
		}
	}
	switch {
	case limiter != nil:
	case len(a.by) >= maxAddresses:
		limiter = a.others
	default:
		limiter = rate.NewLimiter(rate.Every(failuresEvery), failuresAtOnce)
		a.by[from] = limiter
	}
	limiter.AllowN(now, 1)
}

// prefixOf is what one person may have of addresses: one of IPv4, or 64 bits of IPv6.
func prefixOf(remote string) netip.Prefix {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	bits := 64
	address := from.Addr().Unmap().WithZone("")
	if address.Is4() {
		bits = 32
	}
	prefix, err := address.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// seconds writes a time for Retry-After.
func seconds(d time.Duration) string { return strconv.Itoa(int(math.Ceil(d.Seconds()))) }

package feedbackhttp

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"
)

// The limiter against a bucket as the textbook has it.
func TestLimiterIsATokenBucket(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		rate := Rate{Burst: 1 + random.IntN(5), Every: time.Duration(1+random.IntN(10)) * time.Second}
		l := newLimiter(rate)
		now := time.Unix(1000, 0)
		type bucket struct {
			earned time.Duration // in units of rate.Every, times rate.Every
			last   time.Time
		}
		model := map[string]*bucket{}
		for range 200 {
			now = now.Add(time.Duration(random.IntN(4)) * time.Second)
			key := strconv.Itoa(random.IntN(3))
			b := model[key]
			if b == nil {
				b = &bucket{time.Duration(rate.Burst) * rate.Every, now}
				model[key] = b
			}
			b.earned = min(b.earned+now.Sub(b.last), time.Duration(rate.Burst)*rate.Every)
			b.last = now
			want := b.earned >= rate.Every
			wait, ok := l.allow(key, now)
			if ok != want || !ok && wait != rate.Every-b.earned || ok && wait > 0 {
				t.Fatalf("%+v: allowed %v, wait %v; the bucket has %v", rate, ok, wait, b.earned)
			}
			if ok {
				b.earned -= rate.Every
			}
		}
	}
}

func TestLimiterKeepsBoundedMemoryAndTheBucketsInUse(t *testing.T) {
	l := newLimiter(Rate{Burst: 3, Every: time.Hour})
	now := time.Unix(1000, 0)
	refused := 0
	for i := range 10 * maxBuckets {
		l.allow(strconv.Itoa(i), now)
		if n := len(l.young) + len(l.old); n > 2*maxBuckets {
			t.Fatalf("%d buckets", n)
		}
		if i%(maxBuckets/2) == 0 {
			if _, ok := l.allow("busy", now); !ok {
				refused++
			}
		}
	}
	if refused != 20-3 {
		t.Errorf("a busy one was refused %d times of 20, its burst is 3", refused)
	}
}

func TestNetworkOfAnAddress(t *testing.T) {
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
		"@": "@", "": "", "192.0.2.1:80": "192.0.2.1:80",
	} {
		if got := network(address); got != want {
			t.Errorf("%q is of %q, want %q", address, got, want)
		}
	}
}

func BenchmarkLimiter(b *testing.B) {
	l := newLimiter(Rate{Burst: 10, Every: time.Second})
	keys := make([]string, 1<<16)
	for i := range keys {
		keys[i] = fmt.Sprint("192.0.2.", i)
	}
	now, i := time.Unix(1000, 0), 0
	b.ReportAllocs()
	for b.Loop() {
		l.allow(keys[i%len(keys)], now.Add(time.Duration(i)))
		i++
	}
}

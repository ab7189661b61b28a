package align

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"
)

// swallow is a collector that takes everything at no cost worth measuring.
type swallow struct{}

func (swallow) RoundTrip(req *http.Request) (*http.Response, error) {
	io.Copy(io.Discard, req.Body)
	req.Body.Close()
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
}

// benchClient delivers as fast as it can and, when it cannot keep up, makes its caller wait: what is measured is the cost
// of an event from call to delivery, not of filling memory, or as much of a disk.
func benchClient(b *testing.B, spool string) *Client {
	c, err := New(Config{
		ProjectID: "p1", APIKey: "k", Logger: discard, Overflow: OverflowBlock, SpoolDir: spool, SpoolMaxBytes: DefaultBufferBytes,
		HTTPClient: &http.Client{Transport: swallow{}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Close(bg); err != nil {
			b.Error(err)
		}
	})
	return c
}

func benchMessage(size int) Message {
	return Message{
		SessionID: "0199a3c4d5e67f8091a2b3c4d5e6f708", Index: 12, Role: RoleAssistant, Content: strings.Repeat("lorem ipsum ", size/12+1)[:size],
		Properties: Properties{"model": "small", "channel": "web", "experiment": "b"},
	}
}

func BenchmarkCreateMessage(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"small", 200}, {"4KiB", 4 << 10}} {
		m := benchMessage(size.bytes)
		for _, kind := range []struct {
			name  string
			spool bool
		}{{"", false}, {"/spool", true}} {
			dir := func(b *testing.B) string {
				if kind.spool {
					return b.TempDir()
				}
				return ""
			}
			b.Run(size.name+kind.name, func(b *testing.B) {
				c := benchClient(b, dir(b))
				b.ReportAllocs()
				b.SetBytes(int64(size.bytes))
				for b.Loop() {
					if err := c.CreateMessage(bg, m); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(size.name+kind.name+"/parallel", func(b *testing.B) {
				c := benchClient(b, dir(b))
				b.ReportAllocs()
				b.SetBytes(int64(size.bytes))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := c.CreateMessage(bg, m); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	m := benchMessage(200)
	m.normalize()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendEvent(buf[:0], "p1", goldenID, goldenTime, &m)
	}
}

func BenchmarkValidate(b *testing.B) {
	r := newRules(Config{}.withDefaults().Limits)
	m := benchMessage(200)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.check(&m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdle follows a million sessions: touch is one message of any of them, expire is what it costs to find one that
// has gone quiet.
func BenchmarkIdle(b *testing.B) {
	const sessions = 1_000_000
	now := time.Unix(1_000_000, 0)
	ids := make([]string, sessions)
	for i := range ids {
		ids[i] = fmt.Sprintf("0199a3c4d5e67f8091a2b3c4%08x", i)
	}
	fill := func() *idleTracker {
		t := newIdleTracker(time.Unix(0, 0))
		for _, id := range ids {
			t.touch(id, now, time.Time{})
		}
		return t
	}
	b.Run("touch/1M", func(b *testing.B) {
		t := fill()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			t.touch(ids[i*7919%sessions], now, time.Time{})
		}
	})
	b.Run("touch/hot", func(b *testing.B) { // of a thousand that speak
		t := fill()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			t.touch(ids[i%1000], now, time.Time{})
		}
	})
	b.Run("expire/1M", func(b *testing.B) {
		t := fill()
		slice := make([]quiet, 0, 256)
		b.ReportAllocs()
		for n := 256; b.Loop(); n++ {
			if n == 256 {
				n = 0
				due := t.due(slice, now)
				for _, q := range due {
					t.forgetQuiet(q.id, now)
				}
				if len(due) < 256 {
					b.StopTimer()
					t = fill()
					b.StartTimer()
				}
			}
		}
	})
}

// BenchmarkRecordDuringExpiry reports the slowest recording call while a million sessions go quiet at once.
func BenchmarkRecordDuringExpiry(b *testing.B) {
	const sessions = 1_000_000
	for b.Loop() {
		c, err := New(Config{ProjectID: "p1", APIKey: "k", Logger: discard, IdleTimeout: time.Hour, HTTPClient: &http.Client{Transport: swallow{}}})
		if err != nil {
			b.Fatal(err)
		}
		longAgo := time.Now().Add(-2 * time.Hour) // before the tracker's base, too
		c.idleMu.Lock()
		for i := range sessions {
			c.idle.touch(fmt.Sprint("session-", i), longAgo, time.Time{})
		}
		c.idleMu.Unlock()
		m := benchMessage(200)
		m.SessionID = "speaking"
		c.idleWake <- struct{}{}
		var slowest time.Duration
		calls := 0
		for c.Stats().IdleCloses < sessions {
			start := time.Now()
			if err := c.CreateMessage(bg, m); err != nil {
				b.Fatal(err)
			}
			slowest = max(slowest, time.Since(start))
			calls++
			time.Sleep(50 * time.Microsecond)
		}
		b.ReportMetric(float64(slowest.Microseconds()), "slowest-µs")
		b.ReportMetric(float64(calls), "calls")
		if err := c.Close(bg); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRestart reports how long a client takes from New to its first request, and how much memory it takes until all
// is delivered, with a million events in its spool.
func BenchmarkRestart(b *testing.B) {
	const events = 1_000_000
	m := benchMessage(200)
	for b.Loop() {
		b.StopTimer()
		cfg := Config{
			ProjectID: "p1", APIKey: "k", Logger: discard, SpoolDir: b.TempDir(), SpoolSync: SyncNever, CloseTimeout: time.Millisecond,
			HTTPClient: &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })},
		}
		c, err := New(cfg)
		if err != nil {
			b.Fatal(err)
		}
		for range events {
			if err := c.CreateMessage(bg, m); err != nil {
				b.Fatal(err)
			}
		}
		c.Close(bg)
		debug.FreeOSMemory()
		before, most := residentBytes(), 0
		var first time.Duration
		var start time.Time
		cfg.CloseTimeout = time.Minute
		cfg.HTTPClient = &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			if first == 0 {
				first = time.Since(start)
			}
			most = max(most, residentBytes())
			return swallow{}.RoundTrip(req)
		})}
		b.StartTimer()
		start = time.Now()
		if c, err = New(cfg); err != nil {
			b.Fatal(err)
		}
		if err := c.Close(bg); err != nil {
			b.Fatal(err)
		}
		if n := c.Stats().Recovered; n != events {
			b.Fatalf("%d events recovered", n)
		}
		b.ReportMetric(float64(first.Milliseconds()), "ms-to-first-request")
		b.ReportMetric(float64(most-before)/(1<<20), "MiB")
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// residentBytes is the memory the process holds, mapped files included; 0 where the system does not say.
func residentBytes() int {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var total, resident int
	fmt.Sscan(string(statm), &total, &resident)
	return resident * os.Getpagesize()
}

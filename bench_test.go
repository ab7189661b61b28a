package align

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
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

// BenchmarkEncode writes the event of BenchmarkCreateMessage/small. bare is what it costs with protowire and nothing else,
// every size computed first: the measure of a call.
func BenchmarkEncode(b *testing.B) {
	m := benchMessage(200)
	custom, _ := newRules(Config{}.withDefaults().Limits).collect(nil, m.Properties)
	var ours, bare []byte
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var e openEvent
			ours, e = beginEvent(ours[:0], EventCreateMessage, goldenID, goldenTime, len(m.SessionID)+len(m.Content))
			ours = endEvent(m.appendFields(ours), e, custom, "p1")
		}
	})
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			bare = appendBare(bare[:0], &m, custom)
		}
	})
	if ours != nil && bare != nil && !bytes.Equal(ours, bare) {
		b.Error("not the same event")
	}
}

// appendBare appends what appendEvent does, for a message without create time.
func appendBare(b []byte, m *Message, custom []property) []byte {
	const tag = 1 // every field number here takes one byte
	bytesOf := func(n int) int { return tag + protowire.SizeBytes(n) }
	seconds, nanos := uint64(goldenTime.Unix()), uint64(goldenTime.Nanosecond())
	timestamp := tag + protowire.SizeVarint(seconds) + tag + protowire.SizeVarint(nanos)
	fields := bytesOf(len(m.SessionID)) + tag + protowire.SizeVarint(uint64(m.Index)) + tag + 1 + bytesOf(len(m.Content))
	properties := bytesOf(fields)
	for _, p := range custom {
		properties += bytesOf(bytesOf(len(p.key)) + bytesOf(bytesOf(len(p.value))))
	}
	event := bytesOf(32) + bytesOf(len(EventCreateMessage)) + bytesOf(timestamp) + bytesOf(properties) + bytesOf(len("p1"))

	b = protowire.AppendTag(b, fieldEvents, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(event))
	b = protowire.AppendTag(b, fieldEventID, protowire.BytesType)
	b = protowire.AppendVarint(b, 32)
	b = hex.AppendEncode(b, goldenID[:])
	b = protowire.AppendTag(b, fieldEventType, protowire.BytesType)
	b = protowire.AppendString(b, string(EventCreateMessage))
	b = protowire.AppendTag(b, fieldEventTime, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(timestamp))
	b = protowire.AppendTag(b, 1, protowire.VarintType)
	b = protowire.AppendVarint(b, seconds)
	b = protowire.AppendTag(b, 2, protowire.VarintType)
	b = protowire.AppendVarint(b, nanos)
	b = protowire.AppendTag(b, fieldEventProperties, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(properties))
	b = protowire.AppendTag(b, fieldMessageProperties, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(fields))
	b = protowire.AppendTag(b, fieldMessageSessionID, protowire.BytesType)
	b = protowire.AppendString(b, m.SessionID)
	b = protowire.AppendTag(b, fieldMessageIndex, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(m.Index))
	b = protowire.AppendTag(b, fieldMessageRole, protowire.VarintType)
	b = protowire.AppendVarint(b, wireRole(m.Role))
	b = protowire.AppendTag(b, fieldMessageContent, protowire.BytesType)
	b = protowire.AppendString(b, m.Content)
	for _, p := range custom {
		value := bytesOf(len(p.value))
		b = protowire.AppendTag(b, fieldCustomProperties, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(bytesOf(len(p.key))+bytesOf(value)))
		b = protowire.AppendTag(b, fieldMapKey, protowire.BytesType)
		b = protowire.AppendString(b, p.key)
		b = protowire.AppendTag(b, fieldMapValue, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(value))
		b = protowire.AppendTag(b, fieldCustomValue, protowire.BytesType)
		b = protowire.AppendString(b, p.value)
	}
	b = protowire.AppendTag(b, fieldEventProject, protowire.BytesType)
	return protowire.AppendString(b, "p1")
}

// BenchmarkCall is a call of BenchmarkCreateMessage/small by turns with a bare encoding, a thousand of each, so that both see
// the same moods of the machine. It reports the median of their ratios:
//
//	x-bare  what a call costs of what protowire alone takes
func BenchmarkCall(b *testing.B) {
	c := benchClient(b, "")
	m := benchMessage(200)
	custom, _ := newRules(Config{}.withDefaults().Limits).collect(nil, m.Properties)
	var bare []byte
	var ratios []float64
	for b.Loop() {
		start := time.Now()
		for range 1000 {
			if err := c.CreateMessage(bg, m); err != nil {
				b.Fatal(err)
			}
		}
		call := time.Since(start)
		start = time.Now()
		for range 1000 {
			bare = appendBare(bare[:0], &m, custom)
		}
		ratios = append(ratios, float64(call)/float64(time.Since(start)))
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-bare")
}

func BenchmarkValidate(b *testing.B) {
	r := newRules(Config{}.withDefaults().Limits)
	m := benchMessage(200)
	var room [DefaultLimitProperties]property
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := m.keeps(r, room[:0]); !ok {
			b.Fatal("breaks a limit")
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
		b.ReportAllocs()
		for n := 256; b.Loop(); n++ {
			if n == 256 {
				n = 0
				due := t.due(256, now)
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

package align

import (
	"fmt"
	"io"
	"net/http"
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
// of an event from call to delivery, not of filling memory.
func benchClient(b *testing.B) *Client {
	c, err := New(Config{
		ProjectID: "p1", APIKey: "k", Logger: discard, Overflow: OverflowBlock,
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
		b.Run(size.name, func(b *testing.B) {
			c := benchClient(b)
			b.ReportAllocs()
			b.SetBytes(int64(size.bytes))
			for b.Loop() {
				if err := c.CreateMessage(bg, m); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(size.name+"/parallel", func(b *testing.B) {
			c := benchClient(b)
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

func BenchmarkIdle(b *testing.B) {
	const sessions = 100_000
	now := time.Unix(1_000_000, 0)
	ids := make([]string, sessions)
	for i := range ids {
		ids[i] = fmt.Sprint("session-", i)
	}
	b.Run("touch", func(b *testing.B) {
		t := newIdleTracker()
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			t.touch(ids[i*7919%sessions], now, time.Time{})
		}
	})
}

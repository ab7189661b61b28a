package collector_test

import (
	"testing"
	"time"

	"github.com/openalign/align/collector"
)

func TestConversationState(t *testing.T) {
	const idle = 30 * time.Minute
	last := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		name   string
		close  time.Duration // after the last activity
		closed bool          // whether there was a close at all
		now    time.Duration // after the last activity
		idle   time.Duration
		want   string // the reason, or empty while open
	}{
		{name: "right after activity", now: 0, idle: idle},
		{name: "a moment before the idle time", now: idle - 1, idle: idle},
		{name: "exactly the idle time", now: idle, idle: idle, want: collector.CloseIdle},
		{name: "after the idle time", now: idle + 1, idle: idle, want: collector.CloseIdle},
		{name: "long after, without idle time", now: 1000 * idle, idle: 0},
		{name: "now before the last activity", now: -time.Hour, idle: idle},
		{name: "closed after the last activity", closed: true, close: 1, now: 2, idle: idle, want: collector.CloseTransfer},
		{name: "closed exactly at the last activity", closed: true, close: 0, now: 2, idle: idle, want: collector.CloseTransfer},
		{name: "activity a moment after the close", closed: true, close: -1, now: 2, idle: idle},
		{name: "opened again, then idle", closed: true, close: -1, now: idle, idle: idle, want: collector.CloseIdle},
		{name: "closed, and idle as well", closed: true, close: 0, now: idle, idle: idle, want: collector.CloseTransfer},
		{name: "closed, without idle time", closed: true, close: 0, now: 1, idle: 0, want: collector.CloseTransfer},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := collector.Conversation{LastActivity: last}
			if test.closed {
				c.CloseTime, c.CloseReason = last.Add(test.close), collector.CloseTransfer
			}
			want, end := collector.StateOpen, time.Time{}
			if test.want != "" {
				want, end = collector.StateClosed, last
			}
			state, at, reason := c.State(last.Add(test.now), test.idle)
			if state != want || !at.Equal(end) || reason != test.want {
				t.Errorf("State = %v, %v, %q; want %v, %v, %q", state, at, reason, want, end, test.want)
			}
		})
	}
}

func TestOrderIsByTimeThenID(t *testing.T) {
	now := time.Unix(1, 0)
	for _, test := range []struct {
		a, b collector.Order
		want int
	}{
		{collector.Order{Time: now, ID: "b"}, collector.Order{Time: now.Add(1), ID: "a"}, -1},
		{collector.Order{Time: now, ID: "a"}, collector.Order{Time: now, ID: "b"}, -1},
		{collector.Order{Time: now, ID: "a"}, collector.Order{Time: now.In(time.FixedZone("", 3600)), ID: "a"}, 0},
	} {
		if got := test.a.Compare(test.b); got != test.want {
			t.Errorf("%v against %v: %d, want %d", test.a, test.b, got, test.want)
		}
		if got := test.b.Compare(test.a); got != -test.want {
			t.Errorf("%v against %v: %d, want %d", test.b, test.a, got, -test.want)
		}
	}
}

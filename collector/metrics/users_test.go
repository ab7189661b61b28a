package metrics

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// wrote are the facts of a conversation of a user's in which messages came at some times.
func wrote(id, user string, test bool, role ingestionv1alpha.EventProperties_MessageProperties_Role, times ...time.Time) (facts []collector.Fact) {
	fact := func(kind string, at time.Time, p *ingestionv1alpha.EventProperties) {
		event := &ingestionv1alpha.Event{Id: fmt.Sprint(id, "-", len(facts)), Type: kind, CreateTime: timestamppb.New(at), Properties: p}
		facts = append(facts, collector.Fact{ID: event.Id, Event: event, Time: at, ReceiveTime: at})
	}
	fact(collector.TypeSessionOpen, times[0], &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
		SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: id, UserId: user, TestMode: test}}})
	for i, at := range times {
		fact(collector.TypeMessageCreate, at, &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
			MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{SessionId: id, MessageIndexHint: int32(i + 1), MessageRole: role, MessageContent: "Hello"}}})
	}
	return facts
}

// Numbers of users that were counted by hand: a day is active by a user's message, a conversation over midnight is on both days,
// and a cohort counts from the moment on which its day is over.
func TestUsersAreCountedAsByHand(t *testing.T) {
	const user, assistant = ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER, ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT
	noon := func(n int) time.Time { return onDay(n).Add(12 * time.Hour) }
	var batch collector.Batch
	for i, c := range []struct {
		user  string
		role  ingestionv1alpha.EventProperties_MessageProperties_Role
		test  bool
		times []time.Time
	}{
		{"a", user, false, []time.Time{noon(0)}},
		{"a", user, false, []time.Time{noon(1)}},
		{"a", user, false, []time.Time{noon(7)}},
		{"b", user, false, []time.Time{noon(0)}},
		{"b", user, false, []time.Time{noon(2)}},
		{"c", user, false, []time.Time{noon(3)}},
		{"d", user, false, []time.Time{noon(9)}},
		{"silent", assistant, false, []time.Time{noon(0)}},
		{"night", user, false, []time.Time{onDay(5).Add(-time.Minute), onDay(5).Add(time.Minute)}},
		{"", user, false, []time.Time{noon(4)}},
		{"tester", user, true, []time.Time{noon(4)}},
	} {
		batch.Facts = append(batch.Facts, wrote(fmt.Sprint("s", i), c.user, c.test, c.role, c.times...)...)
	}
	s := newStore(t)
	if _, err := s.Append(t.Context(), "shop", batch); err != nil {
		t.Fatal(err)
	}
	if err := s.DigestAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	ten := Scope{From: onDay(0), To: onDay(10)}
	for _, c := range []struct {
		name  string
		scope Scope
		now   time.Time
		want  map[string][2]float64
	}{
		{"ten days, when they are over", ten, onDay(10), map[string][2]float64{
			"active_users": {5, 1}, "dau": {9, 10}, "wau": {4, 1}, "mau": {5, 1}, "stickiness": {0.9, 5},
			"new_users": {6, 1}, "returning_users": {0, 1}, "sessions_per_user": {9, 6},
			"retention_d1": {2, 4}, "retention_d7": {1, 2}, "retention_d30": {0, 0},
		}},
		{"a moment before the day after is over", ten, onDay(11).Add(-time.Nanosecond), map[string][2]float64{"retention_d1": {2, 4}, "retention_d7": {1, 2}}},
		{"when the day after is over", ten, onDay(11), map[string][2]float64{"retention_d1": {2, 5}, "retention_d7": {1, 3}}},
		{"a month later", ten, onDay(40), map[string][2]float64{"retention_d1": {2, 5}, "retention_d7": {1, 5}, "retention_d30": {0, 5}}},
		{"a moment before the month is over for the first", Scope{From: onDay(0), To: onDay(1)}, onDay(31).Add(-time.Nanosecond), map[string][2]float64{"retention_d30": {0, 0}}},
		{"the second half", Scope{From: onDay(5), To: onDay(10)}, onDay(10), map[string][2]float64{
			"active_users": {3, 1}, "dau": {3, 5}, "wau": {4, 1}, "mau": {5, 1}, "new_users": {1, 1}, "returning_users": {1, 1}, "sessions_per_user": {2, 2},
		}},
		{"one day", Scope{From: onDay(6), To: onDay(7)}, onDay(10), map[string][2]float64{
			"active_users": {0, 1}, "dau": {0, 1}, "wau": {4, 1}, "stickiness": {0, 4}, "sessions_per_user": {0, 0}, "retention_d1": {0, 0}}},
		{"nobody ever", Scope{From: onDay(-90), To: onDay(-80)}, onDay(10), map[string][2]float64{"dau": {0, 10}, "stickiness": {0, 0}, "mau": {0, 1}}},
	} {
		e := &Engine{Store: s, now: c.now}
		var names []string
		for name := range c.want {
			names = append(names, name)
		}
		answer, err := e.Get(t.Context(), "shop", Query{Scope: c.scope, Names: names})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range answer.Values {
			if want := c.want[v.Name]; !same(&want[0], &v.Numerator) || want[1] != v.Denominator || (v.Value == nil) != (want[1] == 0) {
				t.Errorf("%s: %s is %v / %v, want %v / %v", c.name, v.Name, v.Numerator, v.Denominator, want[0], want[1])
			}
		}
	}
}

package metrics

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/worlds"
	"github.com/openalign/align/collector/store/sqlite"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

var worldSize = flag.Int("conversations", 300, "conversations of each world")

func newStore(t testing.TB) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "align.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// world returns an engine on a made-up project named shop, in which it is now.
func world(t testing.TB, seed uint64, conversations int, now time.Time) *Engine {
	t.Helper()
	s := newStore(t)
	err := worlds.Append(seed, conversations, func(b collector.Batch) error {
		_, err := s.Append(context.Background(), "shop", b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DigestAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &Engine{Store: s, now: now}
}

func onDay(n int) time.Time { return worlds.Start.AddDate(0, 0, n) }

// scopes are windows of all kinds, with filters.
var scopes = map[string]Scope{
	"a month by start":  {From: onDay(3), To: onDay(33)},
	"a month by end":    {From: onDay(3), To: onDay(33), ByEnd: true},
	"parts of days":     {From: onDay(5).Add(7 * time.Hour), To: onDay(9).Add(90 * time.Minute)},
	"with test mode":    {From: onDay(0), To: onDay(40), IncludeTest: true},
	"version and label": {From: onDay(0), To: onDay(40), Filters: []Filter{{"version", "1.5"}, {"label", "vip"}}},
	"no label, Korea":   {From: onDay(0), To: onDay(40), Filters: []Filter{{"label", ""}, {"country", "KR"}}},
	"an intent, a day":  {From: onDay(0), To: onDay(40), Filters: []Filter{{"intent", "Refund"}, {"day", "2026-03-09"}}},
	"a company, by end": {From: onDay(0), To: onDay(40), ByEnd: true, Filters: []Filter{{"company", "acme"}, {"channel", "chat"}}},
	"nothing":           {From: onDay(-90), To: onDay(-60)},
}

func same(a, b *float64) bool {
	if a == nil || b == nil {
		return a == b
	}
	return math.Abs(*a-*b) <= 1e-9*max(1, math.Abs(*a))
}

// Every metric is the same by its SQL as from digests, in windows of all kinds, while some conversations are open.
func TestEveryMetricIsWhatItsSQLSays(t *testing.T) {
	for seed, idle := range map[uint64]time.Duration{1: 0, 2: time.Hour, 3: -1} {
		e := world(t, seed, *worldSize, onDay(35).Add(5*time.Hour))
		e.Idle = idle
		for name, scope := range scopes {
			answer, err := e.Get(t.Context(), "shop", Query{Scope: scope})
			if err != nil {
				t.Fatal(err)
			}
			for i := range answer.Values {
				got := &answer.Values[i]
				d := &Definitions[i]
				complete, err := scope.complete(e.clock())
				if err != nil {
					t.Fatal(err)
				}
				if d.WholeDays && !complete.WholeDays() {
					if got.Value != nil || got.Denominator != 0 {
						t.Errorf("%s: %s is %+v of parts of days", name, d.Name, got)
					}
					continue
				}
				sql, args := d.statement(&complete, e.at(e.clock()), "shop")
				want, err := e.bySQL(t.Context(), d, sql, args)
				if err != nil {
					t.Fatalf("%s: %v\n%s", d.Name, err, sql)
				}
				if !same(&got.Numerator, &want.Numerator) || !same(&got.Denominator, &want.Denominator) || !same(got.Value, want.Value) {
					t.Errorf("world %d, %s, %s: %v / %v, by SQL %v / %v\n%s", seed, name, d.Name, got.Numerator, got.Denominator, want.Numerator, want.Denominator, sql)
				}
				if s, w := got.Distribution, want.Distribution; s != nil && (s.N != w.N || !same(s.Mean, w.Mean) || !same(s.P90, w.P90) || !same(s.P95, w.P95) || !same(s.P99, w.P99)) {
					t.Errorf("world %d, %s, %s: %+v, by SQL %+v", seed, name, d.Name, s, w)
				}
			}
		}
	}
}

func values(a []Value) map[string]*Value {
	m := map[string]*Value{}
	for i := range a {
		m[a[i].Name] = &a[i]
	}
	return m
}

// invariants are those of the definitions, one a line, of any set of conversations with at least one in it. That every
// conversation is in exactly one daily file is for package export to say.
var invariants = []struct {
	says  string
	holds func(is func(name string) float64) bool
}{
	{"M3 + M4 = 1, as no status is unknown", func(is func(string) float64) bool {
		return math.Abs(is("deflection_rate")+is("escalation_rate")-1) < 1e-12
	}},
	{"M5 <= M3", func(is func(string) float64) bool { return is("failed_escalation_rate") <= is("deflection_rate") }},
	{"M2 / N <= M3", func(is func(string) float64) bool {
		return is("bot_handled_conversations")/is("total_conversations") <= is("deflection_rate")
	}},
	{"M2 / N is the rate", func(is func(string) float64) bool {
		return is("bot_handled_conversations")/is("total_conversations") == is("bot_handled_rate")
	}},
	{"M6 <= M7", func(is func(string) float64) bool { return is("informed_rate") <= is("automation_rate") }},
	{"M10 <= M9 <= N", func(is func(string) float64) bool {
		return is("conversations_with_meaningful_intent") <= is("conversations_with_first_intent") && is("conversations_with_first_intent") <= is("total_conversations")
	}},
	{"M12 <= N", func(is func(string) float64) bool {
		return is("bot_summary_conversations") <= is("total_conversations")
	}},
}

// The invariants of the definitions hold in every group of every world.
func TestInvariantsHoldInEveryGroup(t *testing.T) {
	for seed := range uint64(3) {
		e := world(t, 10+seed, *worldSize, onDay(60))
		for _, by := range append(Dimensions(), "") {
			for _, byEnd := range []bool{false, true} {
				q := Query{Scope: Scope{From: onDay(0), To: onDay(55), ByEnd: byEnd}, GroupBy: by, MaxGroups: 7}
				if by == "intent" {
					q.MaxGroups = MaxGroups
				}
				answer, err := e.Get(t.Context(), "shop", q)
				if err != nil {
					t.Fatal(err)
				}
				where := fmt.Sprintf("world %d by %s", seed, by)
				total := values(answer.Values)["total_conversations"].Numerator
				checkInvariants(t, where, values(answer.Values))
				sum, withIntent := 0.0, 0.0
				for i, g := range answer.Groups {
					v := values(g.Values)
					checkInvariants(t, fmt.Sprintf("%s, %q", where, g.Value), v)
					sum += v["total_conversations"].Numerator
					if g.Value != "" {
						withIntent += v["total_conversations"].Numerator
					}
					if before := i - 1; by == "intent" && before >= 0 && values(answer.Groups[before].Values)["total_conversations"].Numerator < v["total_conversations"].Numerator {
						t.Errorf("%s: M11 is not by total, largest first", where)
					}
				}
				if by == "intent" && withIntent > total {
					t.Errorf("%s: sum of M11.total <= N does not hold: %v of %v", where, withIntent, total)
				}
				if by == "intent" && withIntent != values(answer.Values)["conversations_with_meaningful_intent"].Numerator {
					t.Errorf("%s: sum of M11.total is %v, M10 is %v", where, withIntent, values(answer.Values)["conversations_with_meaningful_intent"].Numerator)
				}
				if by != "" && by != "label" && sum != total {
					t.Errorf("%s: groups have %v conversations, all %v", where, sum, total)
				}
			}
		}
	}
}

func checkInvariants(t *testing.T, where string, v map[string]*Value) {
	t.Helper()
	if v["total_conversations"].Numerator > 0 {
		for _, one := range invariants {
			if !one.holds(func(name string) float64 { return *v[name].Value }) {
				t.Errorf("%s: %s does not hold", where, one.says)
			}
		}
	}
	for i := range Definitions {
		d := &Definitions[i]
		got := v[d.Name]
		// A denominator of 0 is null, and nothing else is.
		if (got.Denominator == 0) != (got.Value == nil) {
			t.Errorf("%s: %s is %v / %v = %v: null is where the denominator is 0", where, d.Name, got.Numerator, got.Denominator, got.Value)
		}
		if got.Value == nil {
			continue
		}
		if math.IsNaN(*got.Value) || math.IsInf(*got.Value, 0) {
			t.Errorf("%s: %s is %v", where, d.Name, *got.Value)
		}
		// 0 <= all <= 1, but the one that says otherwise.
		least := 0.0
		if d.Name == "net_thumbs" {
			least = -1
		}
		if d.Unit == "share" && (*got.Value < least || *got.Value > 1) {
			t.Errorf("%s: 0 <= all <= 1 does not hold: %s is %v", where, d.Name, *got.Value)
		}
		if d.Unit != "share" && *got.Value < 0 {
			t.Errorf("%s: %s is %v", where, d.Name, *got.Value)
		}
		if i := got.Interval; i != nil && (i[0] > *got.Value || i[1] < *got.Value || i[0] < 0 || i[1] > 1) {
			t.Errorf("%s: %s is %v in %v", where, d.Name, *got.Value, *i)
		}
	}
}

// Conversations never move between windows: windows side by side add up, whatever is asked.
func TestWindowsSideBySideAddUp(t *testing.T) {
	e := world(t, 21, *worldSize, onDay(70))
	for _, byEnd := range []bool{false, true} {
		parts := map[string]float64{}
		for n := range 5 {
			a, err := e.Get(t.Context(), "shop", Query{Scope: Scope{From: onDay(12 * n), To: onDay(12*n + 12), ByEnd: byEnd}})
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range a.Values {
				if d := &Definitions[i]; d.Kind == Distribution || d.Name == "wau" || d.Name == "mau" {
					continue // of samples, and as of one day
				} else if d.Statement == "" || d.Name == "dau" || d.Name == "new_users" && !byEnd || retentionDays(d.Name) > 0 {
					parts[v.Name] += v.Numerator
					if d.WholeDays { // days, and cohorts
						parts[v.Name+" of"] += v.Denominator
					}
				}
			}
		}
		whole, err := e.Get(t.Context(), "shop", Query{Scope: Scope{From: onDay(0), To: onDay(60), ByEnd: byEnd}})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range whole.Values {
			if want, ok := parts[v.Name]; ok && !same(&want, &v.Numerator) {
				t.Errorf("by end %t: %s is %v in all and %v in parts", byEnd, v.Name, v.Numerator, want)
			}
			if want, ok := parts[v.Name+" of"]; ok && !same(&want, &v.Denominator) {
				t.Errorf("by end %t: %s is of %v in all and of %v in parts", byEnd, v.Name, v.Denominator, want)
			}
		}
	}
}

// Users are counted by days. A window that cuts days has no such number, and so no day counts in it and in the time before.
func TestUsersByDayAreOfWholeDaysAndOfNoOtherWindow(t *testing.T) {
	e := world(t, 22, 60, onDay(30))
	for name, scope := range map[string]Scope{
		"begins within a day": {From: onDay(5).Add(time.Hour), To: onDay(7)},
		"ends within a day":   {From: onDay(5), To: onDay(7).Add(-time.Nanosecond)},
		"hours":               {From: onDay(5).Add(time.Hour), To: onDay(5).Add(2 * time.Hour)},
		"two half days":       {From: onDay(5).Add(12 * time.Hour), To: onDay(6).Add(12 * time.Hour)},
	} {
		all, err := e.Get(t.Context(), "shop", Query{Scope: scope, Compare: true, GroupBy: "day"})
		if err != nil {
			t.Fatal(err)
		}
		for i := range Definitions {
			d := &Definitions[i]
			values := []Value{all.Values[i]}
			for _, g := range all.Groups {
				values = append(values, g.Values[i])
			}
			for _, v := range values {
				if d.WholeDays && (v.Value != nil || v.Numerator != 0 || v.Denominator != 0 || v.Before != nil) {
					t.Errorf("%s: %s is %+v, want unknown", name, d.Name, v)
				}
			}
			_, err := e.Get(t.Context(), "shop", Query{Scope: scope, Names: []string{d.Name}})
			if d.WholeDays != errors.Is(err, ErrInvalid) || d.WholeDays && !strings.Contains(err.Error(), "midnights") {
				t.Errorf("%s: %s by name: %v", name, d.Name, err)
			}
		}
	}
	whole, err := e.Get(t.Context(), "shop", Query{Scope: Scope{From: onDay(5), To: onDay(7)}, Names: []string{"dau"}, Compare: true})
	if err != nil || whole.Values[0].Denominator != 2 || whole.Values[0].Value == nil || whole.Values[0].Before == nil {
		t.Errorf("two days: %+v %v", whole, err)
	}
}

// What is compared is the window that ends where this one begins, as long, with the same filters and cohort.
func TestTheTimeBeforeIsTheWindowBefore(t *testing.T) {
	e := world(t, 23, *worldSize, onDay(60))
	for _, scope := range []Scope{
		{From: onDay(20), To: onDay(30)},
		{From: onDay(20), To: onDay(30), ByEnd: true, Filters: []Filter{{"channel", "chat"}}},
		{From: onDay(20).Add(5 * time.Hour), To: onDay(24).Add(7 * time.Hour), IncludeTest: true},
	} {
		then := scope
		then.From, then.To = scope.From.Add(-scope.To.Sub(scope.From)), scope.From
		compared, err := e.Get(t.Context(), "shop", Query{Scope: scope, Compare: true})
		if err != nil {
			t.Fatal(err)
		}
		before, err := e.Get(t.Context(), "shop", Query{Scope: then})
		if err != nil {
			t.Fatal(err)
		}
		known := 0
		for i, v := range compared.Values {
			if want := before.Values[i].Value; v.Value != nil && !same(v.Before, want) || (v.Change != nil) && (v.Before == nil || v.Value == nil) {
				t.Errorf("%s is %v before, want %v", v.Name, v.Before, want)
			}
			known += int(truth(v.Change != nil))
		}
		if known < 30 {
			t.Errorf("%d changes are known: this proves little", known)
		}
	}
}

func TestWithoutAWindowItIsThirtyWholeDaysWithToday(t *testing.T) {
	for _, now := range []time.Time{onDay(0), onDay(3).Add(15*time.Hour + time.Second), onDay(1).Add(-1).In(time.FixedZone("east", 9*3600))} {
		s, err := Scope{}.complete(now)
		if err != nil || !s.WholeDays() || s.To.Sub(s.From) != 30*day || !s.To.After(now) || s.To.Sub(now) > day {
			t.Errorf("at %s: %s to %s, %v", now, s.From, s.To, err)
		}
	}
}

func TestPercentilesAreNearestRank(t *testing.T) {
	d := Find("response_latency")
	for _, c := range []struct {
		samples                  []int64
		p50, p90, p95, p99, mean float64
	}{
		{[]int64{7}, 7, 7, 7, 7, 7},
		{[]int64{3, 1, 2}, 2, 3, 3, 3, 2},
		{[]int64{4, 3, 2, 1}, 2, 4, 4, 4, 2.5},
		{[]int64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 5, 9, 10, 10, 5.5},
	} {
		s := spreadOf(d, c.samples).Distribution
		if *s.P50 != c.p50 || *s.P90 != c.p90 || *s.P95 != c.p95 || *s.P99 != c.p99 || *s.Mean != c.mean || s.N != len(c.samples) {
			t.Errorf("%v: %v %v %v %v, mean %v", c.samples, *s.P50, *s.P90, *s.P95, *s.P99, *s.Mean)
		}
	}
	if v := spreadOf(d, nil); v.Value != nil || v.Distribution.N != 0 || v.Distribution.Mean != nil {
		t.Errorf("of nothing: %+v", v)
	}
}

// The intervals are those of the textbook: Newcombe (1998), table II, 56/70 against 48/80.
func TestIntervalsAreTheTextbooks(t *testing.T) {
	low, high := Wilson(81, 263)
	if math.Abs(low-0.2553) > 5e-5 || math.Abs(high-0.3662) > 5e-5 {
		t.Errorf("Wilson of 81/263: %.4f to %.4f", low, high)
	}
	low, high = Newcombe(48, 80, 56, 70)
	if math.Abs(low-0.0524) > 5e-5 || math.Abs(high-0.3339) > 5e-5 {
		t.Errorf("Newcombe of 56/70 − 48/80: %.4f to %.4f", low, high)
	}
}

func TestChangesAreInPercentAndRatesInPoints(t *testing.T) {
	count, rate := Find("total_conversations"), Find("engaged_rate")
	for _, c := range []struct {
		d              *Definition
		now, then      [2]float64
		change, before float64
		unknown        bool
	}{
		{count, [2]float64{150, 1}, [2]float64{100, 1}, 50, 100, false},
		{count, [2]float64{150, 1}, [2]float64{0, 1}, 0, 0, true},
		{rate, [2]float64{3, 4}, [2]float64{1, 2}, 25, 0.5, false},
		{rate, [2]float64{3, 4}, [2]float64{0, 0}, 0, 0, true},
	} {
		v, before := valueOf(c.d, c.now[0], c.now[1]), valueOf(c.d, c.then[0], c.then[1])
		v.against(c.d, &before)
		if c.unknown != (v.Change == nil) || !c.unknown && (*v.Change != c.change || *v.Before != c.before) {
			t.Errorf("%s %v after %v: %v", c.d.Name, c.now, c.then, v.Change)
		}
	}
}

// What is explained is the number that is shown, and the conversations on each side are as many as it says.
func TestExplanationsAddUp(t *testing.T) {
	e := world(t, 31, 150, onDay(60))
	for i := range Definitions {
		d := &Definitions[i]
		for _, byEnd := range []bool{false, true} {
			x, err := e.Explain(t.Context(), "shop", d.Name, Scope{From: onDay(0), To: onDay(40), ByEnd: byEnd}, 1000, 0)
			if err != nil {
				t.Fatal(err)
			}
			if !same(x.Value.Value, x.BySQL.Value) {
				t.Errorf("%s: %v, by SQL %v", d.Name, x.Value.Value, x.BySQL.Value)
			}
			if len(x.Numerator) != x.NumeratorCount || len(x.Denominator) != x.DenominatorCount {
				t.Errorf("%s: %d and %d conversations listed, of %d and %d", d.Name, len(x.Numerator), len(x.Denominator), x.NumeratorCount, x.DenominatorCount)
			}
			if d.Statement != "" || d.Kind != Rate || d.Denominator != "1" || d.Scale > 1 {
				continue
			}
			left := 0
			for _, l := range x.LeftOut {
				if l.Reason != "test mode" && l.Reason != "not ended" {
					left += l.Conversations
				}
			}
			all, err := e.Get(t.Context(), "shop", Query{Scope: x.Scope, Names: []string{"total_conversations"}})
			if err != nil {
				t.Fatal(err)
			}
			if sum := float64(x.NumeratorCount + x.DenominatorCount + left); sum != all.Values[0].Numerator || float64(x.NumeratorCount) != x.Value.Numerator {
				t.Errorf("%s: %d in the numerator, %d beside, %d left out, of %v", d.Name, x.NumeratorCount, x.DenominatorCount, left, all.Values[0].Numerator)
			}
		}
	}
}

// Two minutes are what a message is said to save as long as nobody knows better.
func TestHoursSavedGoByWhatAMessageSaves(t *testing.T) {
	e := world(t, 3, 50, onDay(40))
	ask := func(minutes int) (hours float64) {
		scope := Scope{From: onDay(0), To: onDay(40), MinutesSaved: minutes}
		x, err := e.Explain(t.Context(), "shop", "hours_saved", scope, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		if told := cmp.Or(minutes, 2); !strings.Contains(x.Definition.Formula, fmt.Sprintf("× %d minutes", told)) || !strings.Contains(x.SQL, fmt.Sprintf("assistant_messages * %d", told)) ||
			!same(x.BySQL.Value, x.Value.Value) {
			t.Errorf("with %d minutes: %s\n%s\n%v and %v", minutes, x.Definition.Formula, x.SQL, *x.Value.Value, *x.BySQL.Value)
		}
		return *x.Value.Value
	}
	if usual, two, six := ask(0), ask(2), ask(6); usual <= 0 || two != usual || math.Abs(six-3*usual) > 1e-9 {
		t.Errorf("%v hours, %v with 2 minutes, %v with 6", usual, two, six)
	}
}

func TestWhatCannotBeAskedIsRefused(t *testing.T) {
	e := &Engine{Store: newStore(t)}
	for name, q := range map[string]Query{
		"backwards":  {Scope: Scope{From: onDay(1), To: onDay(0)}},
		"too long":   {Scope: Scope{From: onDay(-4000), To: onDay(0)}},
		"long ago":   {Scope: Scope{From: time.Unix(0, 0), To: time.Unix(1, 0)}},
		"no metric":  {Names: []string{"secret"}},
		"no groups":  {GroupBy: "secret"},
		"no filter":  {Scope: Scope{Filters: []Filter{{"secret", "x"}}}},
		"too many":   {MaxGroups: MaxGroups + 1},
		"none of it": {MaxGroups: -1},
		"no time":    {Scope: Scope{MinutesSaved: -1}},
		"all day":    {Scope: Scope{MinutesSaved: MaxMinutesSaved + 1}},
	} {
		if _, err := e.Get(t.Context(), "shop", q); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryDefinitionIsWhole(t *testing.T) {
	seen := map[string]bool{}
	for i := range allCompiled() {
		d := &Definitions[i]
		if d.Name == "" || seen[d.Name] || d.Title == "" || d.Formula == "" || d.Unit == "" || d.Source == "" || d.Version < 1 ||
			d.Where != "" && d.Excludes == "" || (d.Statement == "") == (d.Numerator == "") {
			t.Errorf("%+v", d)
		}
		seen[d.Name] = true
	}
}

// Of a conversation that goes on nobody knows yet whether it was resolved: it is neither a resolution nor in their denominator.
func TestResolutionsAreOfConversationsThatHaveEnded(t *testing.T) {
	s := newStore(t)
	now := onDay(10)
	var batch collector.Batch
	for _, c := range []struct {
		id   string
		last time.Duration
	}{{"ended", 2 * time.Hour}, {"goes on", time.Minute}} {
		for i, text := range []string{"Where is my order 4711?", "It left our house on Monday."} {
			at := now.Add(-c.last).Add(time.Duration(i) * time.Second)
			id := fmt.Sprint(c.id, i)
			batch.Facts = append(batch.Facts, collector.Fact{ID: id, Time: at, ReceiveTime: at, Event: &ingestionv1alpha.Event{
				Id: id, Type: collector.TypeMessageCreate, CreateTime: timestamppb.New(at), Properties: &ingestionv1alpha.EventProperties{
					ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{
						SessionId: c.id, MessageIndexHint: int32(i + 1), MessageContent: text, MessageRole: ingestionv1alpha.EventProperties_MessageProperties_Role(1 + i)}}}}})
		}
	}
	if _, err := s.Append(t.Context(), "shop", batch); err != nil {
		t.Fatal(err)
	}
	if err := s.DigestAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	names := []string{"confirmed_resolution_rate", "assumed_resolution_rate", "fin_automation_rate", "reopen_rate", "containment_rate"}
	answer, err := (&Engine{Store: s, now: now}).Get(t.Context(), "shop", Query{Scope: Scope{From: onDay(9), To: onDay(11)}, Names: names})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range answer.Values {
		if v.Denominator != 1 {
			t.Errorf("%s is %v / %v, want of the one that has ended", v.Name, v.Numerator, v.Denominator)
		}
	}
}

var _ Store = (*sqlite.Store)(nil)

package export_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/metrics"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// The files of a day give the number that is explained, for every metric that files can give; what came late makes a difference that is told.
func TestAnExplanationIsProvenByTheDailyFiles(t *testing.T) {
	inWorld(t, func(w *world) {
		w.say("good", 1, "Where is my order?", 0, func(m *messageProps) {
			m.Intent = &ingestionv1alpha.EventProperties_MessageProperties_Intent{Name: "order_status"}
		})
		w.say("good", 2, "On its way.", 0, func(m *messageProps) { m.Model = "m1" })
		w.say("handed", 1, "A human please", 0)
		w.update("handed", func(s *sessionProps) { s.Outcome = "agent" })
		w.open("silent", "ada", nil)
		w.say("test", 1, "Hello?", 0)
		w.update("test", func(s *sessionProps) { s.TestMode = true })
		from := day("2026-03-01").Start()
		scope := metrics.Scope{From: from, To: from.Add(24 * time.Hour), ByEnd: true}
		explain := func(name string, scope metrics.Scope) *metrics.Explanation {
			t.Helper()
			if err := w.store.DigestAll(context.Background()); err != nil {
				t.Fatal(err)
			}
			engine := metrics.Engine{Store: w.store, Exports: w.Exporter}
			x, err := engine.Explain(context.Background(), project, name, scope, 0, 0)
			if err != nil {
				t.Fatal(err)
			}
			return x
		}
		w.until("2026-03-02 02:00")
		if p := explain("deflection_rate", scope).Export; p == nil || p.Missing != "2026-03-01 has no final file" {
			t.Errorf("before there is a file: %+v", p)
		}
		if list, err := w.Days(context.Background(), project, -1<<31, 1<<31-1, 1); err != nil || len(list) != 0 {
			t.Errorf("an explanation made %d days final: %v", len(list), err)
		}
		if _, err := w.Manifest(context.Background(), project, day("2026-03-01")); err != nil {
			t.Fatal(err)
		}
		proven := 0
		for i := range metrics.Definitions {
			x := explain(metrics.Definitions[i].Name, scope)
			p := x.Export
			if strings.Contains(p.Missing, "do not have what this metric counts") {
				continue
			}
			proven++
			if p.Missing != "" || p.Rows != 3 || !p.Equal || p.Again != 0 {
				t.Errorf("%s: %+v of %+v", x.Definition.Name, p, x.Value)
			}
		}
		if proven < 20 {
			t.Errorf("%d metrics are proven", proven)
		}
		all := scope
		all.IncludeTest = true
		if p := explain("total_conversations", all).Export; p == nil || p.Rows != 4 || !p.Equal {
			t.Errorf("with test mode: %+v", p)
		}
		filtered := scope
		filtered.Filters = []metrics.Filter{{Dimension: "channel", Value: "chat"}}
		for _, c := range []struct {
			name, why string
			scope     metrics.Scope
		}{
			{"deflection_rate", "by start", metrics.Scope{From: from, To: scope.To}},
			{"deflection_rate", "whole UTC days", metrics.Scope{From: from.Add(time.Hour), To: scope.To, ByEnd: true}},
			{"deflection_rate", "filters", filtered},
			{"thumbs_up_rate", "do not have", scope},
		} {
			if p := explain(c.name, c.scope).Export; p == nil || p.Equal || !strings.Contains(p.Missing, c.why) {
				t.Errorf("%s, %+v: %+v, want why there is no proof: %s", c.name, c.scope, p, c.why)
			}
		}

		w.say("good", 3, "Still not there.", 0)
		w.until("2026-03-03 02:00")
		if _, err := w.Manifest(context.Background(), project, day("2026-03-02")); err != nil {
			t.Fatal(err)
		}
		scope.To = scope.To.Add(24 * time.Hour)
		if p := explain("total_conversations", scope).Export; p == nil || p.Equal || p.Rows != 4 || p.Again != 1 {
			t.Errorf("one that went on: %+v", p)
		}
		err := w.DailyRows(context.Background(), project, day("2026-03-03").Start(), func(*metrics.Row) error { return collector.ErrNotFound })
		if !errors.Is(err, metrics.ErrNoFile) {
			t.Errorf("a day that is not over: %v", err)
		}
	})
}

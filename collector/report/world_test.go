package report_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/worlds"
	"github.com/openalign/align/collector/metrics"
	"github.com/openalign/align/collector/report"
	"github.com/openalign/align/collector/store/sqlite"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type (
	eventProperties    = ingestionv1alpha.EventProperties
	sessionProperties  = ingestionv1alpha.EventProperties_SessionProperties
	messageProperties  = ingestionv1alpha.EventProperties_MessageProperties
	feedbackProperties = ingestionv1alpha.EventProperties_FeedbackProperties
)

const project = "shop"

// settled is when everything in a world has ended.
var settled = worlds.Start.AddDate(1, 0, 0)

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

// stored is a store with these facts, and an engine on it, long after.
func stored(t testing.TB, facts []collector.Fact) (*sqlite.Store, *metrics.Engine) {
	t.Helper()
	s := newStore(t)
	for chunk := range slices.Chunk(facts, 1000) {
		if _, err := s.Append(t.Context(), project, collector.Batch{Facts: chunk}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DigestAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine := &metrics.Engine{Store: s}
	return s, engine.AsOf(settled)
}

// madeUp are the facts of a world.
func madeUp(t testing.TB, conversations int) (facts []collector.Fact) {
	t.Helper()
	if err := worlds.Facts(5, conversations, func(list []collector.Fact) error {
		facts = append(facts, list...)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return facts
}

// options are two weeks of a world.
func options() report.Options {
	return report.Options{Project: project, From: worlds.Start.AddDate(0, 0, 20), To: worlds.Start.AddDate(0, 0, 34)}
}

// written is a report in both forms.
func written(t testing.TB, store report.Store, engine *metrics.Engine, opts report.Options) (r *report.Report, html, markdown string) {
	t.Helper()
	r, err := report.Make(context.Background(), store, engine, opts)
	if err != nil {
		t.Fatal(err)
	}
	var h, m strings.Builder
	if err := r.HTML(&h); err != nil {
		t.Fatal(err)
	}
	if err := r.Markdown(&m); err != nil {
		t.Fatal(err)
	}
	return r, h.String(), m.String()
}

// teller makes facts by hand.
type teller struct{ facts []collector.Fact }

func (w *teller) tell(kind string, at time.Time, props *eventProperties) {
	id := fmt.Sprintf("told-%d", len(w.facts))
	w.facts = append(w.facts, collector.Fact{ID: id, Time: at, ReceiveTime: at, Event: &ingestionv1alpha.Event{Id: id, Type: kind, CreateTime: timestamppb.New(at), Properties: props}})
}

func (w *teller) opened(at time.Time, s *sessionProperties) {
	w.tell(collector.TypeSessionOpen, at, &eventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: s}})
}

func (w *teller) said(at time.Time, m *messageProperties) {
	w.tell(collector.TypeMessageCreate, at, &eventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: m}})
}

func (w *teller) voted(at time.Time, f *feedbackProperties) {
	w.tell(collector.TypeFeedbackCreate, at, &eventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{FeedbackProperties: f}})
}

const (
	roleUser      = ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER
	roleAssistant = ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT
	ofMessage     = ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE
	ofSession     = ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION
)

// conversation tells one in which everything that people write is a text, and everything that apps name a name.
func (w *teller) conversation(at time.Time, id, name, text string) {
	w.opened(at, &sessionProperties{SessionId: id, UserId: "user of " + id, SessionTitle: text, AssistantId: name, Channel: name, Language: name})
	w.said(at.Add(time.Second), &messageProperties{SessionId: id, MessageIndexHint: 1, MessageRole: roleUser, MessageContent: text, Intent: &ingestionv1alpha.EventProperties_MessageProperties_Intent{Name: name}})
	w.said(at.Add(2*time.Second), &messageProperties{SessionId: id, MessageIndexHint: 2, MessageRole: roleAssistant, MessageContent: text, Success: new(false), Error: text})
	w.voted(at.Add(3*time.Second), &feedbackProperties{SessionId: id, UserId: "user of " + id, MessageIndexHint: 2, FeedbackTarget: ofMessage, Type: "thumbs_down", Comment: text})
	w.voted(at.Add(4*time.Second), &feedbackProperties{SessionId: id, UserId: "user of " + id, FeedbackTarget: ofSession, Type: "thumbs_down", Comment: text})
}

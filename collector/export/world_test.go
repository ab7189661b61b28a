package export_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/store/sqlite"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

const project = "shop"

type props = ingestionv1alpha.EventProperties

// world is a store in a bubble, and what makes files of it.
type world struct {
	t     *testing.T
	store *sqlite.Store
	*export.Exporter
	file   string
	facts  int
	pinned bool // others hold the store

	together bool // facts wait for flush
	waiting  collector.Batch
}

// newFiles are the files of a store in which nothing is yet, by name. Making them takes longer than most tests.
var newFiles = sync.OnceValues(func() (files map[string][]byte, err error) {
	dir, err := os.MkdirTemp("", "align-export-test-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	store, err := sqlite.Open(context.Background(), filepath.Join(dir, databaseFile))
	if err != nil {
		return nil, err
	}
	if err := store.Close(); err != nil {
		return nil, err
	}
	list, err := os.ReadDir(dir)
	files = map[string][]byte{}
	for _, file := range list {
		content, wrong := os.ReadFile(filepath.Join(dir, file.Name()))
		files[file.Name()], err = content, errors.Join(err, wrong)
	}
	return files, err
})

const databaseFile = "align.db"

// inWorld runs a test in a bubble of time that begins at 2026-03-01 12:00 UTC.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	files, err := newFiles()
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(day("2026-03-01").Start().Add(12 * time.Hour)))
		dir := t.TempDir()
		for name, content := range files {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		w := &world{t: t, file: filepath.Join(dir, databaseFile)}
		w.reopen()
		defer func() { w.store.Close() }()
		test(w)
	})
}

// reopen opens the store and makes an exporter, as a program does that starts.
func (w *world) reopen() {
	w.t.Helper()
	store, err := sqlite.Open(context.Background(), w.file)
	if err != nil {
		w.t.Fatal(err)
	}
	w.store, w.Exporter = store, export.New(store, export.Config{Logger: slog.New(slog.DiscardHandler)})
}

// sleep lets time pass. Unless others hold the store, no program runs meanwhile: what one does every few seconds would be
// done very often.
func (w *world) sleep(d time.Duration) {
	w.t.Helper()
	if w.pinned || d < 10*time.Minute {
		time.Sleep(d)
		return
	}
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	time.Sleep(d)
	w.reopen()
}

func day(text string) collector.Day {
	d, err := collector.ParseDay(text)
	if err != nil {
		panic(err)
	}
	return d
}

// until sleeps until a moment, written as 2026-03-01 12:00.
func (w *world) until(moment string) {
	w.t.Helper()
	at, err := time.Parse("2006-01-02 15:04", moment)
	if err != nil {
		w.t.Fatal(err)
	}
	if at.Before(time.Now()) {
		w.t.Fatalf("%s is over: it is %s", moment, time.Now().UTC())
	}
	w.sleep(time.Until(at))
}

// tell stores an event that happened some time ago, and reads it now.
func (w *world) tell(kind string, ago time.Duration, p *props) {
	w.t.Helper()
	w.facts++
	id := fmt.Sprintf("fact-%06d", w.facts)
	at := time.Now().Add(-ago)
	event := &ingestionv1alpha.Event{Id: id, Type: kind, Properties: p, CreateTime: timestamppb.New(at)}
	w.waiting.Facts = append(w.waiting.Facts, collector.Fact{ID: id, Event: event, Time: at, ReceiveTime: time.Now()})
	if !w.together {
		w.flush()
	}
}

// flush stores the facts that wait, in one request.
func (w *world) flush() {
	w.t.Helper()
	if len(w.waiting.Facts) == 0 {
		return
	}
	if _, err := w.store.Append(context.Background(), project, w.waiting); err != nil {
		w.t.Fatal(err)
	}
	w.waiting = collector.Batch{}
}

func (w *world) open(id, user string, change func(*ingestionv1alpha.EventProperties_SessionProperties)) {
	w.t.Helper()
	s := &ingestionv1alpha.EventProperties_SessionProperties{SessionId: id, UserId: user, AssistantId: "support"}
	if change != nil {
		change(s)
	}
	w.tell(collector.TypeSessionOpen, 0, &props{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: s}})
}

func (w *world) update(id string, change func(*ingestionv1alpha.EventProperties_SessionProperties)) {
	w.t.Helper()
	s := &ingestionv1alpha.EventProperties_SessionProperties{SessionId: id}
	change(s)
	w.tell(collector.TypeSessionUpdate, 0, &props{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: s}})
}

// say stores a message that was written some time ago. Odd indexes are the user's.
func (w *world) say(id string, index int32, text string, ago time.Duration, change ...func(*ingestionv1alpha.EventProperties_MessageProperties)) {
	w.t.Helper()
	m := &ingestionv1alpha.EventProperties_MessageProperties{SessionId: id, MessageIndexHint: index, MessageContent: text,
		MessageRole: ingestionv1alpha.EventProperties_MessageProperties_Role(2 - index%2), MessageCreateTime: timestamppb.New(time.Now().Add(-ago))}
	for _, change := range change {
		change(m)
	}
	w.tell(collector.TypeMessageCreate, ago, &props{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: m}})
}

func (w *world) vote(id string, index int32, kind string) {
	w.t.Helper()
	target := ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE
	if index == 0 {
		target = ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION
	}
	w.tell(collector.TypeFeedbackCreate, 0, &props{ReservedProperties: &ingestionv1alpha.EventProperties_FeedbackProperties_{
		FeedbackProperties: &ingestionv1alpha.EventProperties_FeedbackProperties{SessionId: id, MessageIndexHint: index, FeedbackTarget: target, Type: kind, UserId: "voter"}}})
}

// replace tells a whole transcript that has so many messages.
func (w *world) replace(id string, messages int32) {
	w.t.Helper()
	w.open(id, "", func(s *ingestionv1alpha.EventProperties_SessionProperties) { s.MessageCount = proto.Int32(messages) })
}

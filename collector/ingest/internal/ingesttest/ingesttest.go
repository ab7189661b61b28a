// Package ingesttest is what the fuzz tests of the dialects share: a store in memory, and what must hold of anything in it.
package ingesttest

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protopath"
	"google.golang.org/protobuf/reflect/protorange"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/keys"
)

// Key is the one key of a [Store]: it may send, for the project shop.
const Key = "align_ingest_test"

// Store keeps what one request brings.
type Store struct {
	Calls int // of Append
	Facts []collector.Fact
	Aside []collector.SetAside
}

// Append implements ingest.Appender.
func (s *Store) Append(_ context.Context, _ string, batch collector.Batch) (collector.Appended, error) {
	s.Calls++
	s.Facts = append(s.Facts, batch.Facts...)
	s.Aside = append(s.Aside, batch.SetAside...)
	return collector.Appended{Stored: len(batch.Facts), SetAside: len(batch.SetAside)}, nil
}

// KeyByHash implements keys.Finder.
func (s *Store) KeyByHash(_ context.Context, hash [32]byte) (collector.Key, error) {
	if hash != keys.Hash(Key) {
		return collector.Key{}, collector.ErrNotFound
	}
	return collector.Key{Hash: hash, Project: "shop", Scope: collector.ScopeIngest}, nil
}

// UseKey implements keys.Finder.
func (s *Store) UseKey([32]byte, time.Time) {}

// HasProject implements acro.Projects.
func (s *Store) HasProject(_ context.Context, project string) (bool, error) {
	return project == "shop", nil
}

// Taker returns a taker that stores into s.
func (s *Store) Taker() *ingest.Taker {
	return ingest.New(s, slog.New(slog.DiscardHandler)).Taker("test")
}

// Require checks keys against s.
func (s *Store) Require(next http.Handler) http.Handler {
	return keys.Require(collector.ScopeIngest, s, slog.New(slog.DiscardHandler), next)
}

// Check fails the test unless everything in s is fit for any database: text is UTF-8 without NUL, times are times, ids are
// there and unique, every index is one or has a place instead, and all of it came at once or not at all.
func (s *Store) Check(t *testing.T, status int) {
	t.Helper()
	if status >= 500 || status != http.StatusOK && s.Calls > 0 || s.Calls > 1 {
		t.Fatalf("status %d, the store was called %d times", status, s.Calls)
	}
	ids := make(map[string]int)
	for i, fact := range s.Facts {
		if fact.ID == "" || fact.Time.IsZero() || fact.Time.After(time.Now().Add(25*time.Hour)) || fact.ReceiveTime.IsZero() {
			t.Fatalf("fact %q at %v", fact.ID, fact.Time)
		}
		ids[fact.ID] = i
		checkText(t, fact.Event.ProtoReflect())
		if m := fact.Event.GetProperties().GetMessageProperties(); m != nil && m.GetMessageIndexHint() < 1 && m.GetPlace() == nil {
			t.Fatalf("message without index or place: %v", m)
		}
	}
	for _, aside := range s.Aside {
		if aside.Reason == "" || !utf8.ValidString(aside.EventID) || strings.Contains(aside.EventID, "\x00") {
			t.Fatalf("set aside %q for %q", aside.EventID, aside.Reason)
		}
	}
}

func checkText(t *testing.T, event protoreflect.Message) {
	t.Helper()
	err := protorange.Range(event, func(p protopath.Values) error {
		last := p.Index(-1)
		if text, ok := last.Value.Interface().(string); ok && (!utf8.ValidString(text) || strings.Contains(text, "\x00")) {
			t.Fatalf("%v holds %q", p.Path, text)
		}
		if last.Step.Kind() == protopath.MapIndexStep {
			if key, ok := last.Step.MapIndex().Interface().(string); ok && (!utf8.ValidString(key) || strings.Contains(key, "\x00")) {
				t.Fatalf("%v has the key %q", p.Path, key)
			}
		}
		if m, ok := last.Value.Interface().(protoreflect.Message); ok && m.Descriptor().FullName() == "google.protobuf.Timestamp" {
			if err := m.Interface().(interface{ CheckValid() error }).CheckValid(); err != nil {
				t.Fatalf("%v: %v", p.Path, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

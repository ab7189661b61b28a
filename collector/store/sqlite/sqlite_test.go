package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/store/storetest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) collector.Store { return openTest(t, filepath.Join(t.TempDir(), "align.db")) })
}

func openTest(t *testing.T, file string) *Store {
	t.Helper()
	s, err := Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// oneMessage returns a batch of one message.
func oneMessage(id string, index int32) collector.Batch {
	return collector.Batch{Facts: []collector.Fact{{ID: id, Time: time.Unix(int64(index), 0), Event: &ingestionv1alpha.Event{
		Id: id, Type: collector.TypeMessageCreate,
		Properties: &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
			MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{SessionId: "s", MessageIndexHint: index, MessageContent: "secret"}}},
	}}}}
}

func facts(t *testing.T, s *Store) int {
	t.Helper()
	totals, err := s.Totals(context.Background(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	return totals.Facts
}

// lock keeps every other connection from writing until unlock is called.
func lock(t *testing.T, file string) (unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite", dsn(file))
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := errors.Join(tx.Rollback(), db.Close()); err != nil {
			t.Error(err)
		}
	}
}

func TestReopenFindsEverything(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	for n := range 3 {
		s := openTest(t, file)
		if got := facts(t, s); got != n {
			t.Errorf("opening %d found %d facts, want %d", n, got, n)
		}
		if _, err := s.Append(t.Context(), "shop", oneMessage(fmt.Sprint("e", n), 1)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	// Close leaves one file, which can be copied as it is.
	left, err := filepath.Glob(file + "*")
	if err != nil || len(left) != 1 {
		t.Errorf("Close left %v, %v; want the file alone", left, err)
	}
}

func TestTwoStoresShareAFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	a, b := openTest(t, file), openTest(t, file)
	for i, s := range []*Store{a, b, a, b} {
		if _, err := s.Append(t.Context(), "shop", oneMessage(fmt.Sprint("e", i), int32(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	if got := facts(t, a); got != 4 {
		t.Errorf("one store finds %d facts, want those of both, 4", got)
	}
}

func TestOpenRefusesNewerSchema(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	db, err := sql.Open("sqlite", dsn(file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	_, err = Open(t.Context(), file)
	if !errors.Is(err, ErrNewerSchema) || !strings.Contains(err.Error(), "99") {
		t.Errorf("Open: %v, want ErrNewerSchema that says 99", err)
	}
}

func TestOpenRefusesWhatIsNoDatabase(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "notes.txt")
	if err := os.WriteFile(file, []byte(strings.Repeat("no database\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{file, dir, filepath.Join(file, "align.db")} {
		if s, err := Open(t.Context(), file); err == nil {
			s.Close()
			t.Errorf("Open(%q) returned no error", file)
		}
	}
}

func TestOpenTakesAnyFileName(t *testing.T) {
	for _, name := range []string{"a b", "100%41.db", "what?.db", "c#sharp.db", "deep/er/align.db", "ä&mode=ro.db", "file:x.db"} {
		file := filepath.Join(t.TempDir(), filepath.FromSlash(name))
		s := openTest(t, file)
		if err := s.Ready(t.Context()); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := os.Stat(file); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenMakesFilesForTheOwnerAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "align.db")
	s := openTest(t, file)
	if err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(file + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("found %v, %v; want the file, its log and the log's index", files, err)
	}
	for _, f := range append(files, filepath.Dir(file)) {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		if open := info.Mode().Perm() & 0o077; open != 0 {
			t.Errorf("%s is open to others: %v", f, info.Mode())
		}
	}
}

func TestConnectionsHaveTheirPragmas(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "auto_vacuum": "2", "busy_timeout": "5000", "cache_size": "-65536"} {
		var got string
		if err := s.write.conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("writer has %s %s, %v; want %s", pragma, got, err, want)
		}
	}
	if _, err := s.read.db.ExecContext(t.Context(), "DELETE FROM facts"); err == nil {
		t.Error("a reader can write")
	}
}

func TestReadsDoNotWaitForAWriter(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	if _, err := s.Append(t.Context(), "shop", oneMessage("e1", 1)); err != nil {
		t.Fatal(err)
	}
	defer lock(t, file)()
	if got := facts(t, s); got != 1 {
		t.Errorf("found %d facts, want 1", got)
	}
	if _, _, err := s.Messages(t.Context(), "shop", "s", collector.Page{}); err != nil {
		t.Error(err)
	}
}

// A state that cannot be read fails those who touch it, and shows nothing of itself.
func TestDamagedStateFailsItsOwnCallers(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	batch := oneMessage("e1", 1)
	if _, err := s.Append(t.Context(), "shop", batch); err != nil {
		t.Fatal(err)
	}
	if err := s.do(t.Context(), &job{apply: func(t *transaction) error {
		_, err := t.conn.ExecContext(context.Background(), `UPDATE sessions SET state = '{"first": "secret"}'`)
		return err
	}}); err != nil {
		t.Fatal(err)
	}
	_, err := s.Append(t.Context(), "shop", oneMessage("e2", 2))
	if err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Append to a damaged session: %v, want an error without content", err)
	}
	if _, err := s.Append(t.Context(), "other", oneMessage("e2", 2)); err != nil {
		t.Errorf("Append to another session: %v", err)
	}
}

func TestOpenBringsTheFirstSchemaUpToDate(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	db, err := sql.Open("sqlite", dsn(file))
	if err != nil {
		t.Fatal(err)
	}
	first, err := migrations.ReadFile("migrations/0001_facts_and_views.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, statements := range []string{string(first), "PRAGMA user_version = 1",
		`INSERT INTO sessions (project, id, start_time, last_activity, message_count, state) VALUES
			('shop', 'with', 2, 2, 0, '{"last":{"title":{"v":"T","t":2,"e":"e1"}},"properties":{"a":{"v":"1","t":2,"e":"e1"}},"active":{"from":2,"to":2}}'),
			('shop', 'without', 1, 1, 0, '{"active":{"from":1,"to":1}}')`} {
		if _, err := db.Exec(statements); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	s := openTest(t, file)
	list, _, err := s.Conversations(t.Context(), "shop", collector.Page{})
	if err != nil || len(list) != 2 {
		t.Fatalf("found %d conversations, %v; want 2", len(list), err)
	}
	if with := list[0]; with.Title != "T" || len(with.Properties) != 1 || with.Properties["a"] != "1" {
		t.Errorf("found %q, %v; want the title and property it had", with.Title, with.Properties)
	}
	if without := list[1]; without.Properties != nil {
		t.Errorf("found %v, want no properties", without.Properties)
	}
}

// Every schema there was comes up to date with what is in it, and its views can be made again.
func TestOpenBringsEverySchemaUpToDate(t *testing.T) {
	steps, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil || len(steps) < 7 {
		t.Fatal(steps, err)
	}
	for n, step := range steps {
		if !strings.HasPrefix(filepath.Base(step), fmt.Sprintf("%04d_", n+1)) {
			t.Errorf("step %d is %s", n+1, step)
		}
	}
	said := oneMessage("e1", 1).Facts[0]
	event, err := proto.Marshal(said.Event)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= len(steps); n++ {
		file := filepath.Join(t.TempDir(), "align.db")
		db, err := sql.Open("sqlite", dsn(file))
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range steps[:n] {
			text, err := migrations.ReadFile(step)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(string(text)); err != nil {
				t.Fatal(step, err)
			}
		}
		for _, row := range []struct {
			statement string
			args      []any
		}{
			{fmt.Sprintf("PRAGMA user_version = %d", n), nil},
			{"INSERT INTO facts (project, id, type, time, receive_time, event) VALUES ('shop', 'e1', 'message_create', ?, ?, ?)",
				[]any{said.Time.UnixNano(), said.Time.UnixNano(), event}},
			{`INSERT INTO sessions (project, id, start_time, last_activity, message_count, state) VALUES ('shop', 's', ?1, ?1, 1, '{"active":{"from":1000000000,"to":1000000000}}')`,
				[]any{said.Time.UnixNano()}},
			{"INSERT INTO messages (project, session_id, idx, role, content, time, properties, versions, event_time, event_id) VALUES ('shop', 's', 1, 'assistant', 'secret', ?1, '', 1, ?1, 'e1')",
				[]any{said.Time.UnixNano()}},
			{"INSERT INTO votes (project, session_id, idx, voter, vote, comment, event_time, event_id) VALUES ('shop', 's', 1, 'ada', 1, '', 1, 'v1')", nil},
			{"INSERT INTO users (project, id, state) VALUES ('shop', 'ada', '{}')", nil},
			{"INSERT INTO keys (hash, hint, project, scope, create_time) VALUES (?, 'wxyz', 'shop', 'ingest', 1)", []any{make([]byte, 32)}},
			{"INSERT INTO set_aside (project, digest, event_id, reason, receive_time, raw) VALUES ('shop', x'00', 'e2', 'unreadable', 1, x'01')", nil},
		} {
			if _, err := db.Exec(row.statement, row.args...); err != nil {
				t.Fatalf("schema %d: %s: %v", n, row.statement, err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		s := openTest(t, file)
		want := collector.Totals{Facts: 1, SetAside: 1, Users: 1, Conversations: 1, Messages: 1, Votes: 1}
		if got := totals(t, s); got != want {
			t.Errorf("schema %d: it has %+v, want %+v", n, got, want)
		}
		if key, err := s.KeyByHash(t.Context(), [32]byte{}); err != nil || key.Expired(time.Now()) {
			t.Errorf("schema %d: key %+v, %v", n, key, err)
		}
		if messages, _, err := s.Messages(t.Context(), "shop", "s", collector.Page{}); err != nil || len(messages) != 1 || messages[0].Content != "secret" || messages[0].Vote != collector.VoteUp {
			t.Errorf("schema %d: messages %+v, %v", n, messages, err)
		}
		if got := appendBatch(t, s, oneMessage("e1", 1)); got.Stored != 0 {
			t.Errorf("schema %d: what it had was stored again", n)
		}
		if replayed, err := s.Replay(t.Context()); err != nil || replayed != 1 {
			t.Errorf("schema %d: replayed %d, %v", n, replayed, err)
		}
		want.Users, want.Votes = 0, 0 // of which no fact speaks
		if got := totals(t, s); got != want {
			t.Errorf("schema %d: replayed, it has %+v, want %+v", n, got, want)
		}
	}
}

// Custom properties can be large. A message must not cost what its session's cost, so it does not even look at them.
func TestMessagesDoNotReadTheirSessionsProperties(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	if _, err := s.Append(t.Context(), "shop", oneMessage("e1", 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.do(t.Context(), &job{apply: func(t *transaction) error {
		_, err := t.conn.ExecContext(context.Background(), `INSERT INTO session_properties (project, session_id, state) VALUES ('shop', 's', 'unreadable')`)
		return err
	}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), "shop", oneMessage("e2", 2)); err != nil {
		t.Errorf("Append of a message: %v", err)
	}
}

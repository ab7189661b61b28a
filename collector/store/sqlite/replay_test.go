package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/store/storetest"
)

// views are the derived tables with all that is in them but the order in which rows came.
var views = map[string]string{
	"sessions":           "project, id, start_time, last_activity, message_count, state, odd, based",
	"session_properties": "project, session_id, state, texts",
	"users":              "project, id, state, based",
	"messages":           "project, session_id, idx, turn, hidden, role, content, time, properties, detail, versions, event_time, event_id, hex(version)",
	"versions":           "project, session_id, idx, hex(digest), state",
	"votes":              "project, session_id, idx, voter, vote, comment, reasons, score, score_min, score_max, event_time, event_id",
	"tags":               "project, session_id, run_id, tag, present, event_time, event_id",
}

// dump returns every derived table of a project, row by row.
func dump(t *testing.T, s *Store, project string) string {
	t.Helper()
	var b strings.Builder
	for _, table := range []string{"sessions", "session_properties", "users", "messages", "versions", "votes", "tags"} {
		columns := strings.TrimPrefix(views[table], "project, ")
		rows, err := s.read.db.Query("SELECT "+columns+" FROM "+table+" WHERE project = ? ORDER BY "+columns, project)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, table)
		dumpRows(t, &b, rows)
	}
	return b.String()
}

func dumpRows(t *testing.T, b *strings.Builder, rows *sql.Rows) {
	t.Helper()
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	values := make([]any, len(columns))
	for i := range values {
		values[i] = new(sql.RawBytes)
	}
	for rows.Next() {
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			fmt.Fprintf(b, "\t%q", *v.(*sql.RawBytes))
		}
		b.WriteByte('\n')
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}

// The dump of every derived table is the same, byte by byte, for a history in order and once, for the same one shuffled,
// repeated and split, with crashes between batches, and after a replay.
func TestEveryOrderAndReplayGiveTheSameDump(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	for n := range uint64(storetest.Histories()) {
		history := storetest.NewHistory(n)
		if _, err := s.Append(t.Context(), "ordered", collector.Batch{Facts: history.Facts}); err != nil {
			t.Fatal(err)
		}
		want := dump(t, s, "ordered")
		for _, batch := range history.Told() {
			if _, err := s.Append(t.Context(), "told", collector.Batch{Facts: batch}); err != nil {
				t.Fatal(err)
			}
			if n%50 == 0 && len(batch)%2 == 0 {
				s = crash(t, s, &file)
			}
		}
		if got := dump(t, s, "told"); got != want {
			t.Fatalf("history %d told otherwise:\n%s\nwant\n%s", n, got, want)
		}
		if _, err := s.Replay(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, project := range []string{"ordered", "told"} {
			if got := dump(t, s, project); got != want {
				t.Fatalf("history %d %s, replayed:\n%s\nwant\n%s", n, project, got, want)
			}
		}
		forgetAll(t, s)
	}
}

// crash leaves a store as a killed process does, without its last words, and opens another on the same file.
func crash(t *testing.T, s *Store, file *string) *Store {
	t.Helper()
	copied := filepath.Join(t.TempDir(), filepath.Base(*file))
	copyFile(t, *file, copied)
	copyFile(t, *file+"-wal", copied+"-wal")
	*file = copied
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openTest(t, copied)
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// forgetAll empties a store, for the next history.
func forgetAll(t *testing.T, s *Store) {
	t.Helper()
	err := s.do(t.Context(), &job{apply: func(t *transaction) error {
		for _, table := range []string{"facts", "sessions", "session_properties", "users", "messages", "versions", "votes", "tags"} {
			if _, err := t.conn.ExecContext(context.Background(), "DELETE FROM "+table); err != nil {
				return err
			}
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
}

func TestReplayMendsWhatWasDamaged(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	if _, err := s.Append(t.Context(), "shop", collector.Batch{Facts: storetest.NewHistory(7).Facts}); err != nil {
		t.Fatal(err)
	}
	want := dump(t, s, "shop")
	err := s.do(t.Context(), &job{apply: func(t *transaction) error {
		_, err := t.conn.ExecContext(context.Background(), `UPDATE sessions SET state = '{}', message_count = 99; DELETE FROM messages; DELETE FROM users`)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := dump(t, s, "shop"); got != want {
		t.Errorf("replayed:\n%s\nwant\n%s", got, want)
	}
}

func TestReplayThatFailsChangesNothing(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	if _, err := s.Append(t.Context(), "shop", oneMessage("e1", 1)); err != nil {
		t.Fatal(err)
	}
	want := dump(t, s, "shop")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Replay(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Replay without time: %v", err)
	}
	err := s.do(t.Context(), &job{apply: func(t *transaction) error {
		_, err := t.conn.ExecContext(context.Background(), `INSERT INTO facts (project, id, type, time, receive_time, event) VALUES ('shop', 'e2', '', 0, 0, x'ff736563726574')`)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Replay(t.Context()); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Replay of a damaged fact: %v, want an error without content", err)
	}
	if got := dump(t, s, "shop"); got != want {
		t.Errorf("after a replay that failed:\n%s\nwant\n%s", got, want)
	}
}

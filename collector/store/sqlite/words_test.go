package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/search"
	"github.com/openalign/align/collector/store/storetest"
)

// Whatever is left of the messages, the index finds what looking at them does.
func TestSearcherThatAlwaysAsksTheIndex(t *testing.T) {
	storetest.RunSearcher(t, func(t *testing.T) collector.Store {
		s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
		s.few = 0
		return s
	})
}

func TestIndexIsForTheOwnerAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "align.db")
	s := openTest(t, file)
	appendBatch(t, s, saying("e1", "s", 1, 1, "hello"))
	said(t, s, "hello")
	files, err := filepath.Glob(wordsFile(file) + "*")
	if err != nil || len(files) != 3 {
		t.Fatalf("found %v, %v; want the file, its log and the log's index", files, err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v, %v", f, info.Mode(), err)
		}
	}
	for _, statement := range []string{"DELETE FROM found.docs", "DELETE FROM facts"} {
		if _, err := s.search.ExecContext(t.Context(), statement); err == nil {
			t.Errorf("who searches can %s", statement)
		}
	}
}

// saying returns a batch of one message that says a text.
func saying(id, session string, index int32, at int64, text string) collector.Batch {
	batch := oneMessage(id, index)
	batch.Facts[0].Time = time.Unix(at, 0)
	m := batch.Facts[0].Event.GetProperties().GetMessageProperties()
	m.SessionId, m.MessageContent = session, text
	return batch
}

// said counts the conversations in which something is said, when the index has taken in all there is.
func said(t *testing.T, s *Store, text string) int {
	t.Helper()
	if err := s.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	n, _, err := s.Count(t.Context(), "shop", collector.Query{Text: text})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// documents counts what the index holds.
func documents(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := s.search.QueryRow(`SELECT count(*) FROM found.docs`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func closeStore(t *testing.T, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestIndexIsFilledWithoutBeingAsked(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	appendBatch(t, s, saying("e1", "s", 1, 1, "hello"))
	if n := s.Stats().UnindexedMessages; n > 1 {
		t.Errorf("%d messages wait, want no more than there are", n)
	}
	for s.Stats().UnindexedMessages > 0 { // ends, or the test does
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n, _, err := s.Count(t.Context(), "shop", collector.Query{Text: "hello"}); err != nil || n != 1 {
		t.Errorf("found %d, %v; want 1", n, err)
	}
	if lag := s.Stats().IndexLag; lag != 0 {
		t.Errorf("it is behind by %v when nothing waits", lag)
	}
}

// An append never waits for the index, whatever holds that up.
func TestAppendDoesNotWaitForTheIndex(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	unlock := lock(t, wordsFile(file))
	for i := range int32(10) {
		appendBatch(t, s, saying(fmt.Sprint("e", i), "s", i+1, int64(i), "hello"))
	}
	if n := s.Stats().UnindexedMessages; n != 10 {
		t.Errorf("%d messages wait, want 10", n)
	}
	hits, _, err := s.Search(t.Context(), "shop", collector.Query{Text: "hello"}, collector.Page{}, 0)
	if err != nil || len(hits) != 0 {
		t.Errorf("found %v, %v; want nothing yet", hits, err)
	}
	unlock()
	if n := said(t, s, "hello"); n != 1 {
		t.Errorf("found %d, want 1", n)
	}
}

func TestIndexThatIsMissingIsMadeAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	appendBatch(t, s, saying("e1", "s", 1, 1, "hello"))
	said(t, s, "hello")
	closeStore(t, s)
	left, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("Close left %v, %v; want the file and its index", left, err)
	}
	for _, damage := range []func() error{
		func() error { return os.Remove(wordsFile(file)) },
		func() error { return os.Truncate(wordsFile(file), 0) },
		func() error { return nil },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		s = openTest(t, file)
		if n := said(t, s, "hello"); n != 1 {
			t.Errorf("found %d, want 1", n)
		}
		closeStore(t, s)
	}
}

func TestIndexOfAnotherVersionIsMadeAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	appendBatch(t, s, saying("e1", "s", 1, 1, "hello"))
	said(t, s, "hello")
	closeStore(t, s)
	db, err := sql.Open("sqlite", dsn(wordsFile(file)))
	if err != nil {
		t.Fatal(err)
	}
	for _, statement := range []string{"PRAGMA user_version = 99", "DELETE FROM docs", "DROP TABLE projects"} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	db.Close()
	if n := said(t, openTest(t, file), "hello"); n != 1 {
		t.Errorf("found %d, want 1", n)
	}
}

// What is in the index's place and is none is not touched.
func TestOpenRefusesAnotherFileInTheIndexsPlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	db, err := sql.Open("sqlite", dsn(wordsFile(file)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("CREATE TABLE mine (x)"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if _, err := Open(t.Context(), file); !errors.Is(err, errNotWords) || !strings.Contains(err.Error(), "align-search.db") {
		t.Errorf("Open: %v, want an error that names the file", err)
	}
}

// A backup has no index, and one beside which an index of later days lies fills it anew.
func TestBackupsIndexIsMadeAgain(t *testing.T) {
	folder := t.TempDir()
	file, backup := filepath.Join(folder, "align.db"), filepath.Join(folder, "backup.db")
	s := openTest(t, file)
	appendBatch(t, s, saying("e1", "s", 1, 1, "hello"))
	said(t, s, "hello")
	if err := s.Backup(t.Context(), backup); err != nil {
		t.Fatal(err)
	}
	appendBatch(t, s, saying("e2", "s", 1, 2, "goodbye"))
	appendBatch(t, s, saying("e3", "s3", 1, 3, "hello later"))
	if said(t, s, "hello") != 1 || said(t, s, "goodbye") != 1 {
		t.Fatal("not found before")
	}
	closeStore(t, s)
	if err := os.Rename(backup, file); err != nil {
		t.Fatal(err)
	}
	s = openTest(t, file)
	appendBatch(t, s, saying("e4", "s4", 1, 3, "welcome")) // in the row of what was later
	for text, want := range map[string]int{"hello": 1, "goodbye": 0, "later": 0, "welcome": 1} {
		if got := said(t, s, text); got != want {
			t.Errorf("%s is found %d times, want %d", text, got, want)
		}
	}
}

func TestReplayFillsTheIndexAnew(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	for i := range int32(10) {
		appendBatch(t, s, saying(fmt.Sprint("e", i), fmt.Sprint("s", i), 1, int64(i), "hello"))
	}
	said(t, s, "hello")
	if _, err := s.Replay(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := said(t, s, "hello"); n != 10 || documents(t, s) != 10 {
		t.Errorf("found %d in %d documents, want 10", n, documents(t, s))
	}
}

func TestTwoStoresShareAnIndex(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	a, b := openTest(t, file), openTest(t, file)
	for i := range int32(20) {
		s := []*Store{a, b}[i%2]
		appendBatch(t, s, saying(fmt.Sprint("e", i), fmt.Sprint("s", i), 1, int64(i), "hello"))
	}
	for _, s := range []*Store{a, b} {
		if n := said(t, s, "hello"); n != 20 || documents(t, s) != 20 {
			t.Errorf("found %d in %d documents, want 20", n, documents(t, s))
		}
	}
}

// What the index has taken in of what changed is forgotten.
func TestChangesAreForgottenOnceIndexed(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	left := func() (n int) {
		t.Helper()
		if err := s.read.db.QueryRow(`SELECT count(*) FROM reindex`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	s.words.mu.Lock() // it waits
	appendBatch(t, s, saying("e1", "s", 1, 10, "hello"))
	appendBatch(t, s, saying("e2", "s", 1, 20, "goodbye")) // another text
	appendBatch(t, s, saying("e3", "s", 2, 5, "earlier"))  // and an earlier start
	if n := left(); n != 2 {
		t.Errorf("%d changes, want 2", n)
	}
	s.words.mu.Unlock()
	if n := said(t, s, "goodbye"); n != 1 || said(t, s, "hello") != 0 {
		t.Errorf("found %d, and what is no longer said %d times", n, said(t, s, "hello"))
	}
	s.words.prune(t.Context())
	if n := left(); n != 0 {
		t.Errorf("%d changes are kept, want none", n)
	}
}

// Messages that nobody changes cost the index nothing: no trigger writes for them.
func TestOnlyChangesAreNoted(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	for i := range int32(5) {
		appendBatch(t, s, saying(fmt.Sprint("e", i), "s", i+1, int64(i), "hello"))
		appendBatch(t, s, saying(fmt.Sprint("again", i), "s", i+1, int64(i), "hello")) // the same, told again
	}
	var seq sql.NullInt64
	if err := s.read.db.QueryRow(`SELECT max(seq) FROM reindex`).Scan(&seq); err != nil || seq.Valid {
		t.Errorf("%v changes, %v; want none", seq, err)
	}
}

// The index says when it has to be made again: the words it has are those that package search cuts today.
func TestIndexHasTheWordsOfPackageSearch(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	const text = "Où est ma Straße? 東京 👍🏽 don't a_b \x01 ½"
	appendBatch(t, s, saying("e1", "s", 1, 1, text))
	said(t, s, "est")
	s.words.mu.Lock()
	defer s.words.mu.Unlock()
	if _, err := s.words.conn.ExecContext(t.Context(), `CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab('main', 'words', 'instance')`); err != nil {
		t.Fatal(err)
	}
	rows, err := s.words.conn.QueryContext(t.Context(), `SELECT term FROM temp.vocabulary ORDER BY "offset"`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var term string
		if err := rows.Scan(&term); err != nil {
			t.Fatal(err)
		}
		got = append(got, term)
	}
	if want := string(search.AppendIndexed(nil, spaceOf(1), text)); strings.Join(got, " ") != want {
		t.Errorf("the index has %q, want %q", got, want)
	}
}

// The first page reads in the order of the index, and sorts nothing.
func TestSearchSortsNothing(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	appendBatch(t, s, saying("e1", "s", 1, 1, "hello"))
	said(t, s, "hello")
	for _, statement := range []string{
		`SELECT w.rowid, s.id, m.content FROM found.words w CROSS JOIN found.docs d ON d.id = w.rowid CROSS JOIN sessions s ON s.seq = d.session
			CROSS JOIN messages m ON m.seq = d.message WHERE w.words MATCH '"1_hello"' AND w.rowid BETWEEN 1 AND 2 AND s.project = 'shop' ORDER BY w.rowid DESC`,
		`SELECT s.id FROM ` + conversationTables + ` WHERE s.project = 'shop' AND s.user_id = 'ada' AND (s.start_time, s.id) < (1, 'x') ORDER BY s.start_time DESC, s.id DESC LIMIT 5`,
		`SELECT s.id FROM ` + conversationTables + ` WHERE s.project = 'shop' AND (s.start_time, s.id) > (1, 'x') ORDER BY s.start_time, s.id LIMIT 5`,
	} {
		rows, err := s.search.Query("EXPLAIN QUERY PLAN " + statement)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var id, parent, unused int
			var detail string
			if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(detail, "TEMP B-TREE") && parent == 0 {
				t.Errorf("%s: %s", statement, detail)
			}
		}
		if err := closeRows(rows); err != nil {
			t.Fatal(err)
		}
	}
}

// A query that takes too long ends with its context.
func TestSearchEndsWithItsContext(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	appendBatch(t, s, saying("e1", "s", 1, 1, "hello"))
	said(t, s, "hello")
	ctx, cancel := context.WithCancel(t.Context())
	t2, err := s.textSearch(ctx, "shop", &collector.Query{Text: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	err = t2.matches(ctx, 1<<62, true, func(*match) bool { cancel(); return true })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled in the middle: %v", err)
	}
}

// FuzzExpression asks SQLite what any query asks of any text: there is never an error, and it finds what the matcher does.
func FuzzExpression(f *testing.F) {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	for _, statement := range wordsTables {
		if strings.Contains(statement, "words ") {
			if _, err := db.Exec(statement); err != nil {
				f.Fatal(err)
			}
		}
	}
	for _, seed := range [][2]string{{"order", "Where is my order?"}, {`"my ord*" -x`, "my orders"}, {"a1 OR b1 c1", "b1 c1"}, {"東京 OR 👍*", "東京都👍🏽"},
		{`") OR ("1_`, "or 1"}, {"text:a NEAR(b c) ^d + e AND NOT f", "a near b c d e and not f text"}, {"'; DROP TABLE words --", "drop table words"},
		{"e\u0301* \x00 \xff", "é"}, {"½ ﷺ", "1 2 صلى"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, query, text string) {
		q, err := search.Parse(query)
		if err != nil {
			return
		}
		if _, err := db.Exec(`INSERT INTO words (words) VALUES ('delete-all')`); err != nil {
			t.Fatal(err)
		}
		if _, err := db.Exec(`INSERT INTO words (rowid, text) VALUES (1, ?)`, search.AppendIndexed([]byte{}, "1_", text)); err != nil {
			t.Fatal(err)
		}
		var found bool
		if err := db.QueryRow(`SELECT EXISTS (SELECT 1 FROM words WHERE words MATCH ?)`, q.Expression("1_")).Scan(&found); err != nil {
			t.Fatal(err)
		}
		if want := q.Matcher().Match(text); found != want {
			t.Errorf("SQLite finds it: %v; the matcher: %v", found, want)
		}
	})
}

// Of conversations that all start at one moment, as imported ones may, a page holds no more than it needs, and all are found.
func TestConversationsOfOneMomentArePaged(t *testing.T) {
	const conversations, size = 3000, 250
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	var batch collector.Batch
	for i := range conversations {
		batch.Facts = append(batch.Facts, saying(fmt.Sprint("e", i), fmt.Sprint("s", i*7919%conversations), 1, 1, "hello").Facts...)
	}
	appendBatch(t, s, batch)
	said(t, s, "hello")
	for _, reversed := range []bool{false, true} {
		ids := func(text string) (ids []string) {
			for page := (collector.Page{Size: size}); ; {
				hits, next, err := s.Search(t.Context(), "shop", collector.Query{Text: text, Reversed: reversed}, page, 0)
				if err != nil {
					t.Fatal(err)
				}
				for i := range hits {
					ids = append(ids, hits[i].ID)
				}
				if page.Token = next; next == "" {
					return ids
				}
			}
		}
		if got, want := ids("hello"), ids(""); !slices.Equal(got, want) || len(want) != conversations {
			t.Errorf("reversed %v: found %d, want the same %d in the same order", reversed, len(got), len(want))
		}
	}
}

// A short prefix is looked for in the next messages first: the pages are those of the index, wherever that stops.
func TestShortPrefixesArePagedAsAllElse(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	var batch collector.Batch
	for i := range 2*broadMessages + 500 {
		text := "this or that"
		if i%3 == 0 || i/1000 == 3 {
			text = "something else"
		}
		batch.Facts = append(batch.Facts, saying(fmt.Sprint("e", i), fmt.Sprint("s", i/5), int32(i%5+1), int64(i/50), text).Facts...)
	}
	appendBatch(t, s, batch)
	said(t, s, "this")
	for _, reversed := range []bool{false, true} {
		ids := func(few int) (ids []string) {
			s.few = few
			for page := (collector.Page{Size: 300}); ; {
				hits, next, err := s.Search(t.Context(), "shop", collector.Query{Text: "th*", Reversed: reversed}, page, 0)
				if err != nil {
					t.Fatal(err)
				}
				for i := range hits {
					ids = append(ids, hits[i].ID)
				}
				if page.Token = next; next == "" {
					return ids
				}
			}
		}
		if got, want := ids(fewMessages), ids(0); !slices.Equal(got, want) || len(want) < 1000 {
			t.Errorf("reversed %v: found %d, want the same %d as the index, in the same order", reversed, len(got), len(want))
		}
	}
}

package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/store/storetest"
)

// asked runs a statement over the views and returns its rows as text.
func asked(t *testing.T, file, statement string, limits QueryLimits) (rows []string, more bool, err error) {
	t.Helper()
	more, err = QueryViews(t.Context(), file, statement, limits, nil, func(_ []string, values []any) error {
		rows = append(rows, fmt.Sprint(values...))
		return nil
	})
	return rows, more, err
}

func TestViewsShowWhatIsThereWhileTheStoreIsOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	if _, err := s.Append(t.Context(), "shop", collector.Batch{Facts: chat("s1", "ada")}); err != nil {
		t.Fatal(err)
	}
	if err := s.DigestAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	for statement, want := range map[string]string{
		"SELECT project, id, user_id, message_count, test_mode FROM conversations":                        "[shops1ada7 0]",
		"select role, count(*) from messages group by role order by 1":                                    "[assistant3 user4]",
		"WITH m AS (SELECT * FROM messages) SELECT content FROM m WHERE idx = 1;":                         "[hi]",
		"SELECT user_messages, status, detected, labels FROM digests":                                     `[4failedEscalation2["vip"]]`,
		"SELECT l.value FROM digests, json_each(labels) l":                                                "[vip]",
		"SELECT ';' || 'x' -- ; DROP":                                                                     "[;x]",
		"SELECT count(*) FROM users u JOIN conversations c ON c.user_id = u.id JOIN tags USING (project)": "[0]",
		"VALUES (1), (2)": "[1 2]",
	} {
		rows, _, err := asked(t, file, statement, QueryLimits{})
		got := fmt.Sprint(rows)
		if strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") || err != nil {
			t.Errorf("%s: %s, %v; want %s", statement, got, err, want)
		}
	}
	for _, v := range Views {
		if _, _, err := asked(t, file, "SELECT * FROM "+v.Name, QueryLimits{}); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}

func TestStatementsReachNothingButViews(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	s := openTest(t, file)
	if _, err := s.Append(t.Context(), "shop", collector.Batch{Facts: chat("s1", "ada")}); err != nil {
		t.Fatal(err)
	}
	before := dump(t, s, "shop")
	for _, statement := range []string{
		"SELECT * FROM keys", "SELECT hash FROM main.keys", "SELECT * FROM facts", "SELECT event FROM main.facts", "SELECT * FROM set_aside", "SELECT * FROM audit",
		"SELECT * FROM main.sqlite_schema", "SELECT * FROM sqlite_temp_schema", "SELECT (SELECT count(*) FROM keys)", "SELECT 1 UNION SELECT hash FROM keys",
		"WITH k AS (SELECT * FROM keys) SELECT * FROM k", "SELECT EXISTS (SELECT 1 FROM main.facts WHERE id = 'x')",
		"SELECT 1; DELETE FROM messages", "SELECT 1; SELECT * FROM keys", "SELECT 1 /* ; */; PRAGMA query_only(0)", "SELECT ';';DROP TABLE keys",
		"DELETE FROM messages", "UPDATE main.messages SET content = ''", "WITH x AS (SELECT 1) DELETE FROM main.messages", "INSERT INTO main.tags SELECT 1",
		"ATTACH 'other.db' AS o", "PRAGMA query_only(0)", "VACUUM", "BEGIN", "CREATE TEMP TABLE x (a)", "EXPLAIN SELECT 1", "", ";",
		"SELECT data FROM sqlite_dbpage", "SELECT x.data FROM 'SQLITE_DBPAGE' x, json_each('[1]')", "SELECT (SELECT max(data) FROM sqlite_dbpage('main'))",
		"SELECT * FROM dbstat", "SELECT * FROM pragma_table_info('keys')", "SELECT file FROM pragma_database_list",
		"SELECT count(*) FROM messages UNION ALL SELECT pgno FROM sqlite_dbpage",
		"-- a comment\nSELECT 1", "SELECT load_extension('x')", "SELECT * FROM nothing", "SELECT '",
	} {
		if rows, _, err := asked(t, file, statement, QueryLimits{}); err == nil {
			t.Errorf("%s: %v", statement, rows)
		}
	}
	if got := dump(t, s, "shop"); got != before {
		t.Errorf("the data changed:\n%s\nwant\n%s", got, before)
	}
}

func TestStatementsAreBounded(t *testing.T) {
	file := filepath.Join(t.TempDir(), "align.db")
	openTest(t, file)
	const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT "
	rows, more, err := asked(t, file, endless+"i FROM n", QueryLimits{Rows: 5})
	if len(rows) != 5 || !more || err != nil {
		t.Errorf("%v, more: %t, %v", rows, more, err)
	}
	if _, _, err := asked(t, file, endless+"sum(i) FROM n", QueryLimits{Time: 50 * time.Millisecond}); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("an endless sum: %v", err)
	}
}

// Whatever the statement, the data stays and keys are not shown.
func FuzzQueryViews(f *testing.F) {
	for _, statement := range []string{"SELECT * FROM messages", "SELECT 1; SELECT * FROM keys", "SELECT [;] FROM (SELECT 1 AS [;])", "SELECT 1 /*", "VALUES(';')--;\n;"} {
		f.Add(statement)
	}
	file := filepath.Join(f.TempDir(), "align.db")
	s, err := Open(f.Context(), file)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	if _, err := s.Append(f.Context(), "shop", collector.Batch{Facts: storetest.NewHistory(1).Facts}); err != nil {
		f.Fatal(err)
	}
	if err := s.CreateKey(f.Context(), collector.Key{Hash: [32]byte{1}, Hint: "Xq7Xq7Xq", Project: "shop", Scope: collector.ScopeRead}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, statement string) {
		rows, _, _ := asked(t, file, statement, QueryLimits{Time: time.Second, Rows: 10})
		if strings.Contains(fmt.Sprint(rows), "Xq7Xq7Xq") && !strings.Contains(statement, "Xq7Xq7Xq") {
			t.Fatalf("%q shows a key", statement)
		}
	})
}

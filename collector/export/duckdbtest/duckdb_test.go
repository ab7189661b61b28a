//go:build cgo

package duckdbtest

import (
	"cmp"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the driver "duckdb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/internal/worlds"
	"github.com/openalign/align/collector/metrics"
	"github.com/openalign/align/collector/store/sqlite"
)

const project = "shop"

var size = flag.Int("conversations", 1_000, "conversations of each world; CONTRIBUTING.md has it for 10,000")

// columns of NDJSON, as docs/export.md has them.
const columns = `bot_id: 'VARCHAR', bot_name: 'VARCHAR', conversation_id: 'VARCHAR', platform_conversation_id: 'VARCHAR',
	conversation_start_time: 'TIMESTAMPTZ', conversation_end_time: 'TIMESTAMPTZ', language: 'VARCHAR', channel: 'VARCHAR',
	labels: 'VARCHAR[]', conversations_data: 'VARCHAR', test_mode: 'BOOLEAN', conversation_status: 'VARCHAR', last_resolution: 'VARCHAR',
	triggered_replies: 'VARCHAR', triggered_intent_replies: 'STRUCT(intent_name VARCHAR, intent_timestamp TIMESTAMPTZ, not_meaningful BOOLEAN)[]',
	is_llm_conversation: 'BOOLEAN', llm_notUnderstood_count: 'BIGINT', llm_responseGenerated_count: 'BIGINT', llm_errorOccurred_count: 'BIGINT',
	llm_escalationRequired_count: 'BIGINT', llm_fallback_count: 'BIGINT', bot_messages_count: 'BIGINT', visitor_messages_count: 'BIGINT',
	not_understood_messages_count: 'BIGINT', episode: 'BIGINT', continues: 'VARCHAR', thumbs_up_count: 'BIGINT', thumbs_down_count: 'BIGINT',
	session_feedback: 'VARCHAR'`

// views are what files are read through, by format; %s is the folder.
var views = map[export.Format][]string{
	export.FormatNDJSON: {
		`CREATE VIEW days AS SELECT * FROM read_json('%s/*[0-9].ndjson', format = 'newline_delimited', columns = {` + columns + `})`,
		`CREATE VIEW late AS SELECT * FROM read_json('%s/*.late.ndjson', format = 'newline_delimited', filename = true, columns = {day: 'VARCHAR', reasons: 'VARCHAR[]', ` + columns + `})`,
	},
	export.FormatParquet: {
		`CREATE VIEW days AS SELECT * FROM read_parquet('%s/*[0-9].parquet')`,
		`CREATE VIEW late AS SELECT * FROM read_parquet('%s/*.late.parquet', filename = true)`,
	},
}

// statement is one of docs/export.sql.
type statement struct{ name, sql string }

var named = regexp.MustCompile(`(?ms)^-- name: (\w+)[^\n]*\n(.*?);$`)

var comments = regexp.MustCompile(`(?m)^--.*\n`)

func statements(t *testing.T) (list []statement) {
	t.Helper()
	text, err := os.ReadFile("../../../docs/export.sql")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range named.FindAllStringSubmatch(string(text), -1) {
		list = append(list, statement{m[1], comments.ReplaceAllString(m[2], "")})
	}
	if len(list) < 15 {
		t.Fatalf("only %d statements are found", len(list))
	}
	return list
}

func TestTheExportDocumentsSQLOnFilesEqualsGetMetrics(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("world ", seed), func(t *testing.T) {
			file, folder := filepath.Join(t.TempDir(), "align.db"), t.TempDir()
			store, err := sqlite.Open(t.Context(), file)
			if err != nil {
				t.Fatal(err)
			}
			defer store.Close()
			if err := worlds.Append(seed, *size, func(batch collector.Batch) error {
				_, err := store.Append(t.Context(), project, batch)
				return err
			}); err != nil {
				t.Fatal(err)
			}
			if err := write(store, folder, end(t, store)); err != nil {
				t.Fatal(err)
			}
			compare(t, store, folder)
		})
	}
}

// The same with a world that happens day by day: every day is made final when it is time, so that conversations go on in
// further episodes, and late files say what came late.
func TestFilesOfDaysThatWereFinalInTurnSayTheSameWithTheirLateFiles(t *testing.T) {
	file, folder := filepath.Join(t.TempDir(), "align.db"), t.TempDir()
	var facts []collector.Fact
	if err := worlds.Facts(7, *size/5, func(some []collector.Fact) error { facts = append(facts, some...); return nil }); err != nil {
		t.Fatal(err)
	}
	for i := range facts { // some are sent two days after they happened
		facts[i].ReceiveTime = facts[i].Time
		if i%31 == 0 {
			facts[i].ReceiveTime = facts[i].Time.AddDate(0, 0, 2)
		}
	}
	slices.SortStableFunc(facts, func(a, b collector.Fact) int { return cmp.Compare(a.ReceiveTime.UnixNano(), b.ReceiveTime.UnixNano()) })
	synctest.Test(t, func(t *testing.T) {
		for len(facts) > 0 {
			day := collector.DayOf(facts[0].ReceiveTime)
			n := slices.IndexFunc(facts, func(f collector.Fact) bool { return collector.DayOf(f.ReceiveTime) != day })
			if n < 0 {
				n = len(facts)
			}
			// Nothing is open while time passes: what a store does every few seconds would be done very often.
			time.Sleep(time.Until(day.End().Add(time.Hour)))
			store, err := sqlite.Open(context.Background(), file)
			if err != nil {
				t.Fatal(err)
			}
			for some := range slices.Chunk(facts[:n], 1000) {
				if _, err := store.Append(context.Background(), project, collector.Batch{Facts: some}); err != nil {
					t.Fatal(err)
				}
			}
			facts = facts[n:]
			last := day
			if len(facts) == 0 {
				last = collector.DayOf(time.Now()) - 1
			}
			if err := write(store, folder, last); err != nil {
				t.Fatal(err)
			}
			if err := store.Close(); err != nil {
				t.Fatal(err)
			}
		}
	})
	store, err := sqlite.Open(t.Context(), file)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	db := open(t, export.FormatNDJSON, folder)
	var episodes, late int
	if err := db.QueryRow(`SELECT (SELECT count(*) FROM days WHERE episode > 1), (SELECT count(*) FROM late)`).Scan(&episodes, &late); err != nil {
		t.Fatal(err)
	}
	if episodes == 0 || late == 0 {
		t.Errorf("%d further episodes, %d late rows: this proves little", episodes, late)
	}
	t.Logf("%d further episodes, %d late rows", episodes, late)
	compare(t, store, folder)
}

// end is the last day on which a conversation ended.
func end(t *testing.T, store *sqlite.Store) (last collector.Day) {
	t.Helper()
	err := store.Activity(t.Context(), project, func(c collector.Conversation, _ []time.Time) error {
		last = max(last, collector.DayOf(c.LastActivity))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// write makes days final and writes those files that are not there yet.
func write(store *sqlite.Store, folder string, upto collector.Day) error {
	ctx := context.Background()
	e := export.New(store, export.Config{Logger: slog.New(slog.DiscardHandler)})
	if err := e.Finalize(ctx, project, upto); err != nil {
		return err
	}
	days, err := e.Days(ctx, project, 0, upto, 1<<20)
	if err != nil {
		return err
	}
	for _, m := range days {
		day, err := collector.ParseDay(m.Day)
		if err != nil {
			return err
		}
		for _, late := range []bool{false, true} {
			for format := range views {
				v := export.Variant{Day: day, Late: late, Format: format}
				name := filepath.Join(folder, v.Name())
				if _, err := os.Stat(name); err == nil {
					continue
				}
				file, err := os.Create(name)
				if err != nil {
					return err
				}
				if _, err := e.Write(ctx, file, project, v); err != nil {
					return err
				}
				if err := file.Close(); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// open returns a database that has the views of docs/export.sql over a folder's files.
func open(t *testing.T, format export.Format, folder string) *sql.DB {
	t.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	var all []string
	for _, view := range views[format] {
		all = append(all, fmt.Sprintf(view, folder))
	}
	for _, s := range statements(t) {
		if strings.HasPrefix(s.sql, "CREATE") {
			all = append(all, s.sql)
		}
	}
	for _, statement := range all {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return db
}

// compare runs every statement on files of both formats, and compares what it says with GetMetrics.
func compare(t *testing.T, store *sqlite.Store, folder string) {
	t.Helper()
	if err := store.DigestAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	engine := metrics.Engine{Store: store}
	window := metrics.Scope{From: worlds.Start.AddDate(0, 0, -5), To: time.Now(), ByEnd: true}
	for format := range views {
		db := open(t, format, folder)
		for _, s := range statements(t) {
			switch {
			case strings.HasPrefix(s.sql, "CREATE"):
			case s.name == "intents":
				compareIntents(t, &engine, window, db, format, s)
			default:
				var numerator, denominator float64
				if err := db.QueryRow(s.sql).Scan(&numerator, &denominator); err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
				answer, err := engine.Get(t.Context(), project, metrics.Query{Scope: window, Names: []string{s.name}})
				if err != nil {
					t.Fatalf("%s: %v", s.name, err)
				}
				want := answer.Values[0]
				if want.Denominator == 1 { // of a count
					denominator = 1
				}
				if numerator != want.Numerator || denominator != want.Denominator || numerator == 0 {
					t.Errorf("%s, %s: %v of %v, GetMetrics says %v of %v", format, s.name, numerator, denominator, want.Numerator, want.Denominator)
				}
			}
		}
	}
}

// compareIntents compares M11 with metrics by intent.
func compareIntents(t *testing.T, engine *metrics.Engine, window metrics.Scope, db *sql.DB, format export.Format, s statement) {
	t.Helper()
	answer, err := engine.Get(t.Context(), project, metrics.Query{Scope: window, Names: []string{"total_conversations", "bot_handled_conversations"}, GroupBy: "intent", MaxGroups: metrics.MaxGroups})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][2]float64{}
	for _, g := range answer.Groups {
		if g.Value != "" {
			want[g.Value] = [2]float64{g.Values[0].Numerator, g.Values[1].Numerator}
		}
	}
	rows, err := db.Query(s.sql)
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var (
			intent         string
			total, handled float64
		)
		if err := rows.Scan(&intent, &total, &handled); err != nil {
			t.Fatal(err)
		}
		if want[intent] != [2]float64{total, handled} {
			t.Errorf("%s, intent %s: %v and %v, GetMetrics says %v", format, intent, total, handled, want[intent])
		}
	}
	if err := rows.Err(); err != nil || n != len(want) || n == 0 {
		t.Errorf("%s: %d intents, GetMetrics says %d (%v)", format, n, len(want), err)
	}
}

package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/internal/worlds"
	"github.com/openalign/align/collector/store/sqlite"
)

// worldFolder is a data folder with a made-up project named shop.
func worldFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	err = worlds.Append(5, 400, func(b collector.Batch) error {
		_, err := store.Append(context.Background(), "shop", b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// said runs the program and returns its exit status and what it wrote.
func ran(t *testing.T, args ...string) (status int, out, err string) {
	t.Helper()
	var stdout, stderr strings.Builder
	status = run(t.Context(), args, streams{&stdout, &stderr})
	return status, stdout.String(), stderr.String()
}

func TestMetricsOfADataFolder(t *testing.T) {
	dir := worldFolder(t)
	window := []string{"--data", dir, "--project", "shop", "--from", "2026-03-01", "--to", "2026-04-20"}
	with := func(command string, args ...string) []string {
		return append(append([]string{command}, window...), args...)
	}

	status, out, errs := ran(t, with("metrics", "--json", "--by", "version", "--filter", "channel=chat", "--compare", "bot_handled_rate", "response_latency")...)
	var got struct {
		Values []struct {
			Name                   string
			Numerator, Denominator float64
			Value                  *float64
		}
		Groups []struct{ Value string }
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || status != 0 || len(got.Values) != 2 || len(got.Groups) != 3 || got.Values[0].Denominator == 0 {
		t.Errorf("%d %s %s", status, out, errs)
	}
	if status, out, errs := ran(t, with("metrics", "--by", "label")...); status != 0 || !strings.Contains(out, "vip: ") || !strings.Contains(out, "(none): ") || !strings.Contains(out, "retention_d30") {
		t.Errorf("%d %s %s", status, out, errs)
	}
	status, out, errs = ran(t, with("metrics", "--explain", "abandonment_rate", "--ended")...)
	for _, want := range []string{"By its SQL: ", "FROM digests", "left out, not: engaged: ", "in the numerator, ", ":project = \"shop\"", "test mode"} {
		if status != 0 || !strings.Contains(out, want) {
			t.Errorf("without %q: %d %s %s", want, status, out, errs)
		}
	}
	cut := []string{"metrics", "--data", dir, "--project", "shop", "--from", "2026-03-05", "--to", "2026-03-09T12:00:00Z"}
	if status, out, _ := ran(t, append(cut, "--compare")...); status != 0 || !strings.Contains(out, "Unknown, as they count UTC days and the window is not of whole ones: active_users, dau, wau,") {
		t.Errorf("a window that cuts a day: %d %s", status, out)
	}
	if status, out, errs := ran(t, append(cut, "dau")...); status == 0 || out != "" || !strings.Contains(errs, "dau counts UTC days") {
		t.Errorf("dau of a window that cuts a day: %d %s %s", status, out, errs)
	}
	if status, out, _ := ran(t, with("metrics", "stickiness", "understood_rate_macro", "--from", "2026-03-05", "--to", "2026-03-12")...); status != 0 || regexp.MustCompile(`\.\d{6}`).MatchString(out) {
		t.Errorf("numbers with many decimals: %d %s", status, out)
	}
	if status, out, _ := ran(t, "metrics", "--data", dir, "--project", "shop", "total_conversations"); status != 0 || strings.Count(strings.SplitN(out, "\n", 2)[0], "00:00:00") != 2 {
		t.Errorf("without a window: %d %s", status, out)
	}
	if status, out, _ := ran(t, with("metrics", "--explain", "deflection_rate")...); status != 0 || !strings.Contains(out, "By the daily files: no proof, as this is of conversations by start") {
		t.Errorf("without a proof: %d %s", status, out)
	}
	if status, out, _ := ran(t, "metrics", "--data", dir, "--project", "shop", "--list"); status != 0 || strings.Count(out, "\n") < 60 {
		t.Errorf("%d %s", status, out)
	}
	for _, wrong := range [][]string{{"secret"}, {"--by", "secret"}, {"--filter", "secret"}, {"--explain", "secret"}, {"--explain", "dau", "--by", "day"}, {"--idle", "0s"}, {"--from", "soon"}} {
		if status, out, errs := ran(t, with("metrics", wrong...)...); status == 0 || out != "" {
			t.Errorf("%v: %d %s %s", wrong, status, out, errs)
		}
	}
}

func TestGateSaysPassFailAndNotEnoughData(t *testing.T) {
	dir := worldFolder(t)
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--baseline", "version=1.4", "--candidate", "version=1.5", "--max-drop", "thumbs_up=90pp"}, 0, "pass"},
		{[]string{"--baseline", "version=1.4", "--candidate", "version=1.5", "--max-drop", "thumbs_up=0.1pp"}, 3, "not enough data"},
		{[]string{"--baseline", "channel=chat", "--candidate", "version=9", "--max-drop", "thumbs_up=90pp"}, 3, "not enough data"},
		{[]string{"--baseline", "label=vip", "--candidate", "2026-03-01..2026-04-20,label=email", "--max-drop", "deflection=1pp"}, 1, "fail"},
		{[]string{"--baseline", "label=vip", "--candidate", "label=email", "--max-rise", "escalation_rate=1pp", "--json"}, 1, `"verdict":"fail"`},
		{[]string{"--baseline", "version=1.4", "--candidate", "version=1.5", "--max-drop", "dau=3pp"}, 2, ""},
		{[]string{"--baseline", "version=1.4", "--candidate", "version=1.5", "--max-drop", "thumbs_up=3"}, 2, ""},
		{[]string{"--baseline", "version=1.4", "--candidate", "version=1.5", "--max-drop", "secret=3pp"}, 2, ""},
		{[]string{"--baseline", "version=1.4", "--candidate", "version=1.5"}, 2, ""},
		{[]string{"--baseline", "1.4", "--candidate", "version=1.5", "--max-drop", "thumbs_up=3pp"}, 2, ""},
	} {
		args := append([]string{"gate", "--data", dir, "--project", "shop", "--from", "2026-03-01", "--to", "2026-04-20"}, c.args...)
		status, out, errs := ran(t, args...)
		switch {
		case c.status == 2:
			if status != 2 || out != "" || errs == "" {
				t.Errorf("%v: %d %s %s; want a refusal", c.args, status, out, errs)
			}
		case status != c.status || !strings.Contains(out, c.want):
			t.Errorf("%v: %d %s %s; want %d and %q", c.args, status, out, errs, c.status, c.want)
		}
	}
}

func TestSQLInEveryForm(t *testing.T) {
	dir := worldFolder(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"SELECT 1 AS a, '=x' AS b, NULL AS c, -2 AS d, x'0a' AS e"}, "a  b   c  d   e\n1  =x     -2  0a\n"},
		{[]string{"--csv", "SELECT 1 AS a, '=x' AS b, NULL AS c, -2 AS d, char(9)||'y' AS \"-e\""}, "a,b,c,d,'-e\n1,'=x,,-2,'\ty\n"},
		{[]string{"--json", "SELECT 2 AS b, '<x>' AS a, NULL AS c, 1.5 AS d"}, `{"b":2,"a":"\u003cx\u003e","c":null,"d":1.5}` + "\n"},
		{[]string{"SELECT 1 AS a, 2 AS b WHERE false"}, "a  b\n"},
		{[]string{"--csv", "SELECT id, user_id FROM conversations WHERE id = 'none'"}, "id,user_id\n"},
		{[]string{"--json", "SELECT 1 AS a WHERE false"}, ""},
		{[]string{"SELECT char(27) || '[2J' AS a"}, "a\n�[2J\n"},
		{[]string{"SELECT count(*) AS n FROM conversations WHERE project = 'shop'"}, "n\n400\n"},
	} {
		if status, out, errs := ran(t, append([]string{"sql", "--data", dir}, c.args...)...); status != 0 || out != c.want {
			t.Errorf("%v: %d %q %s; want %q", c.args, status, out, errs, c.want)
		}
	}
	if status, out, errs := ran(t, "sql", "--data", dir, "--rows", "2", "--csv", "SELECT id FROM conversations"); status != 0 || strings.Count(out, "\n") != 3 || !strings.Contains(errs, "more than 2") {
		t.Errorf("%d %q %s", status, out, errs)
	}
	for _, wrong := range [][]string{{"DELETE FROM messages"}, {"SELECT * FROM keys"}, {"--rows", "0", "SELECT 1"}, {"--csv", "--json", "SELECT 1"}, {"--data", filepath.Join(dir, "none"), "SELECT 1"}} {
		if status, out, _ := ran(t, append([]string{"sql", "--data", dir}, wrong...)...); status == 0 || out != "" {
			t.Errorf("%v: %d %s", wrong, status, out)
		}
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestReportOfADataFolder(t *testing.T) {
	dir := worldFolder(t)
	file := filepath.Join(t.TempDir(), "week.html")
	week := func(args ...string) []string {
		return append([]string{"report", "--data", dir, "--project", "shop", "--from", "2026-03-20", "--to", "2026-03-27"}, args...)
	}
	status, out, errs := ran(t, week("-o", file, "--content", "--link", "https://align.example.com")...)
	if status != 0 || out != "" || !strings.HasPrefix(errs, "Report of shop, 20 – 26 March 2026: ") || strings.Count(errs, "\n") != 1 {
		t.Errorf("%d %q %q", status, out, errs)
	}
	page, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(page), "<!doctype html>") || !strings.Contains(string(page), `href="https://align.example.com/dashboard/conversation?id=`) {
		t.Errorf("%v: %.200s", err, page)
	}
	if status, out, errs := ran(t, week("-o", "-", "--format", "html", "--content", "--link", "https://align.example.com", "--as-of", "2026-07-01")...); status != 0 || out != string(page) {
		t.Errorf("another report: %d %s", status, errs)
	}
	status, out, errs = ran(t, week("-o", "-", "--format", "md", "--worst", "0")...)
	if status != 0 || !strings.HasPrefix(out, "# shop, 20 – 26 March 2026\n") || !strings.Contains(out, "None are listed, of ") {
		t.Errorf("%d %s %s", status, out, errs)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "*")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}

	tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	for name, wrong := range map[string][]string{
		"a name that says nothing": week("-o", filepath.Join(t.TempDir(), "report")),
		"a time of day":            week("-o", file, "--to", "2026-03-27T12:00:00Z"),
		"a day to come":            week("-o", file, "--to", tomorrow),
		"too many":                 week("-o", file, "--worst", "1000"),
		"a link that is none":      week("-o", file, "--link", "javascript:alert(1)"),
		"no idle time":             week("-o", file, "--idle", "0s"),
		"no project of that name":  {"report", "--data", dir, "--project", "shpo", "-o", file},
		"no project at all":        {"report", "--data", t.TempDir(), "-o", file},
		"no file":                  week(),
		"a folder that is missing": week("-o", filepath.Join(t.TempDir(), "none", "week.md")),
	} {
		if status, out, errs := ran(t, wrong...); status == 0 || out != "" || errs == "" {
			t.Errorf("%s: %d %q %q", name, status, out, errs)
		}
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(page) {
		t.Errorf("what was refused changed the file: %v", err)
	}
}

// Without flags a report is of the only project, and of the last seven whole days.
func TestReportIsOfTheLastSevenWholeDaysOfTheOnlyProject(t *testing.T) {
	dir := t.TempDir()
	day := fillDay(t, dir, 200) // the day before yesterday
	status, out, errs := ran(t, "report", "--data", dir, "-o", "-", "--format", "md")
	if status != 0 || !strings.HasPrefix(out, "# shop, ") || !strings.Contains(out, "\n| "+day.Start().Format("Mon 2 Jan")+" | 20 |") {
		t.Fatalf("%d %s %s", status, out, errs)
	}
	today := time.Now().UTC().Truncate(24 * time.Hour)
	if want := today.AddDate(0, 0, -7).Format(time.DateOnly) + " to " + today.Format(time.DateOnly) + ", 00:00 UTC"; !strings.Contains(out, want) {
		t.Errorf("not of %s: %.200s", want, out)
	}
	if status, _, errs := ran(t, "keys", "create", "--data", dir, "--project", "other", "--scope", "read"); status != 0 {
		t.Fatal(errs)
	}
	if status, out, errs := ran(t, "report", "--data", dir, "-o", "-", "--format", "md"); status != 1 || out != "" || !strings.Contains(errs, "--project") || !strings.Contains(errs, "2 projects") {
		t.Errorf("of two projects: %d %s %s", status, out, errs)
	}
}

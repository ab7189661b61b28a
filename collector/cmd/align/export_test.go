package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/export"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/store/sqlite"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// exportMessages is how many messages the day has whose export is measured. CONTRIBUTING.md has the figure for a million.
var exportMessages = flag.Int("exportmessages", 20_000, "messages of the day that TestExportOfADayStreams exports")

// runAndSayPeak in the environment makes the test binary be the program and say in the end how much memory it had at most.
const runAndSayPeak = "ALIGN_TEST_SAY_PEAK"

// sayPeak runs the program, then writes what [peakMemory] says of it to standard error.
func sayPeak() {
	status := run(context.Background(), os.Args[1:], streams{os.Stdout, os.Stderr})
	if peak, ok := peakOf("self"); ok {
		fmt.Fprintf(os.Stderr, "peak: %d kB\n", peak>>10)
	}
	os.Exit(status)
}

// fillDay stores conversations of ten messages that took place on a day some days back, and a key for their project.
func fillDay(t testing.TB, data string, messages int) (day collector.Day) {
	t.Helper()
	day = collector.DayOf(time.Now()) - 2
	store, err := sqlite.Open(t.Context(), filepath.Join(data, databaseFile))
	if err != nil {
		t.Fatal(err)
	}
	_, key, err := keys.New("shop", collector.ScopeRead)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.CreateKey(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("Where is my order? ", 12)
	for n := 0; n < messages; {
		var batch collector.Batch
		for range min(5000, messages-n) {
			at := day.Start().Add(time.Duration(n) * 80 * time.Microsecond)
			id := fmt.Sprintf("%012x7000%08x%08x", at.UnixMilli(), n, n)
			session := fmt.Sprint("session-", n/10)
			event := &ingestionv1alpha.Event{Id: id, Type: collector.TypeMessageCreate, CreateTime: timestamppb.New(at), Properties: &ingestionv1alpha.EventProperties{
				ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{
					SessionId: session, MessageIndexHint: int32(1 + n%10), MessageContent: text + fmt.Sprint(n), MessageRole: ingestionv1alpha.EventProperties_MessageProperties_Role(1 + n%2)}}}}
			if n%10 == 9 {
				event = &ingestionv1alpha.Event{Id: id, Type: collector.TypeSessionOpen, CreateTime: timestamppb.New(at), Properties: &ingestionv1alpha.EventProperties{
					ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{
						SessionId: session, UserId: fmt.Sprint("user-", n%997), Labels: []string{"vip"}, Data: `{"plan":"pro"}`}}}}
			}
			batch.Facts = append(batch.Facts, collector.Fact{ID: id, Event: event, Time: at, ReceiveTime: at})
			n++
		}
		if _, err := store.Append(t.Context(), "shop", batch); err != nil {
			t.Fatal(err)
		}
	}
	// What else a store does behind its appends is not what is measured.
	if err := errors.Join(store.DigestAll(t.Context()), store.CatchUp(t.Context()), store.Close()); err != nil {
		t.Fatal(err)
	}
	return day
}

// everyForm are the arguments of everything that the command does with a day: it is made final, written in every format with
// every compression, opened, with counts as texts, from several files, and verified.
func everyForm() (list []string) {
	list = append(list, "--manifest")
	for _, format := range export.Formats {
		for _, compression := range []string{"", " --compress gzip", " --compress zstd"} {
			list = append(list, fmt.Sprintf("--format %s%s", format, compression))
		}
		list = append(list, fmt.Sprintf("--format %s --open --compat ultimate", format), fmt.Sprintf("--format %s --starts-on --open", format))
	}
	return append(list, "--late", "--verify")
}

// A day is made final and written in every form, each in a process of its own, within 64 MiB however long the day is.
func TestExportOfADayStreams(t *testing.T) {
	if testing.Short() {
		t.Skip("what it measures, or how long it takes, needs no -short")
	}
	data := t.TempDir()
	day := fillDay(t, data, *exportMessages)
	worst := 0
	for _, args := range everyForm() {
		cmd := alignCommand(t, append([]string{"export", "--data", data, "--project", "shop", "--day", day.String(), "--out", filepath.Join(data, "out")}, strings.Fields(args)...)...)
		cmd.Env = append(cmd.Env, runAndSayPeak+"=1")
		var said bytes.Buffer
		cmd.Stderr = &said
		start := time.Now()
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, &said)
		}
		took := time.Since(start)
		m := regexp.MustCompile(`peak: (\d+)`).FindStringSubmatch(said.String())
		if m == nil {
			if runtime.GOOS == "linux" {
				t.Fatalf("%s: it did not say how much memory it had\n%s", args, &said)
			}
			t.Skip("this system does not say how much memory a process had")
		}
		// What is measured is the whole day, and not a file without rows.
		if rows := ": " + counted(*exportMessages/10, "conversation") + "."; strings.HasPrefix(args, "--format") && !strings.Contains(said.String(), rows) {
			t.Errorf("%s: want %q of\n%s", args, rows, &said)
		}
		kib, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %d MiB, %s", args, kib/1024, took.Round(10*time.Millisecond))
		if kib > 64<<10 && !raceEnabled {
			t.Errorf("%s: %d KiB at most, want 64 MiB", args, kib)
		}
		worst = max(worst, kib)
	}
	t.Logf("at most %d KiB in any of %d forms", worst, len(everyForm()))
}

func TestExportCommandWritesFilesAndTheirManifest(t *testing.T) {
	data := t.TempDir()
	day := fillDay(t, data, 40)
	exported := func(args ...string) (status int, out, said string) {
		var stdout, stderr bytes.Buffer
		status = run(t.Context(), append([]string{"export", "--data", data, "--project", "shop"}, args...), streams{&stdout, &stderr})
		return status, stdout.String(), stderr.String()
	}
	status, out, said := exported("--day", day.String(), "--format", "ndjson")
	if status != 0 || strings.Count(out, "\n") != 4 || !strings.Contains(said, "4 conversations") {
		t.Errorf("%d %s %s", status, out, said)
	}
	if _, again, _ := exported("--day", day.String(), "--format", "ndjson"); again != out {
		t.Error("it changed")
	}
	file := filepath.Join(data, "day.csv")
	if status, out, said := exported("--day", day.String(), "--format", "csv", "--open", "--out", file); status != 0 || out != "" {
		t.Errorf("%d %s %s", status, out, said)
	}
	if content, err := os.ReadFile(file); err != nil || !bytes.Contains(content, []byte(`"[""vip""]"`)) {
		t.Errorf("%s %v", content, err)
	}
	status, out, _ = exported("--day", day.String(), "--manifest")
	var m struct {
		Rows int `json:"rows"`
	}
	if err := json.Unmarshal([]byte(out), &m); err != nil || status != 0 || m.Rows != 4 {
		t.Errorf("%d %s %v", status, out, err)
	}
	if status, _, said := exported("--day", day.String(), "--verify"); status != 0 || !strings.Contains(said, "All 8 files") {
		t.Errorf("%d %s", status, said)
	}
	if status, out, said := exported("--day", day.String(), "--starts-on"); status != 0 || !strings.Contains(out, "session-3") || !strings.Contains(said, "all are final") {
		t.Errorf("%d %s %s", status, out, said)
	}
	// Who has the folder also gets the files of a day on which nothing was known to end, which no key does.
	if status, out, said := exported("--day", (day - 10).String()); status != 0 || out != "[\n]\n" || !strings.Contains(said, "0 conversations") {
		t.Errorf("a day before the first: %d %s %s", status, out, said)
	}
	today := collector.DayOf(time.Now()).String()
	if status, out, said := exported("--day", today, "--out", filepath.Join(data, "today")); status != 1 || out != "" || !strings.Contains(said, "not_final") {
		t.Errorf("%d %s %s", status, out, said)
	}
	if _, err := os.Stat(filepath.Join(data, "today")); err == nil {
		t.Error("there is a file of a day that is not final")
	}
	if status, _, said := exported("--project", "shpo", "--day", day.String()); status != 1 || !strings.Contains(said, "no such project") {
		t.Errorf("%d %s", status, said)
	}
	for _, args := range [][]string{{"--day", "today"}, {"--day", "2026-01-01", "--late", "--starts-on"}, {"--day", "2026-01-01", "--format", "xml"}} {
		if status, _, said := exported(args...); status != 2 {
			t.Errorf("%v: %d %s", args, status, said)
		}
	}
}

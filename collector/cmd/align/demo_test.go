package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/openalign/align"
)

// runDemo runs the demo in a temporary folder of its own and checks that it leaves nothing there.
func runDemo(t *testing.T, ctx context.Context, std streams, args ...string) int {
	t.Helper()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	status := run(ctx, append([]string{"demo"}, args...), std)
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return status
}

func TestDemoOncePlaysItsScriptAndTheNumbersAgree(t *testing.T) {
	var out, diagnostics bytes.Buffer
	if status := runDemo(t, t.Context(), streams{&out, &diagnostics}, "--once"); status != 0 {
		t.Fatalf("status %d\n%s\n%s", status, &out, &diagnostics)
	}
	for _, want := range []string{
		"74 accepted = 74 delivered + 0 dropped + 0 pending",
		"sessions          8        8\n",
		"messages         39       39\n",
		"thumbs up          8        8\n",
		"thumbs down          3        3\n",
		"idle closes          1        1\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	if diagnostics.Len() > 0 {
		t.Errorf("printed %q to standard error", &diagnostics)
	}
}

func TestDemoPlaysAFile(t *testing.T) {
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	for i := range 30 {
		fmt.Fprintf(zip, `{"id":"d%d","services":["x"],"turns":[{"role":"user","text":"Question %d, with \"quotes\" and\nlines","intent":"Ask"},{"role":"assistant","text":"Answer 😀","outcome":"success"}]}`+"\n", i, i)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "dialogues.jsonl.gz")
	if err := os.WriteFile(file, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, diagnostics bytes.Buffer
	if status := runDemo(t, t.Context(), streams{&out, &diagnostics}, "--once", "--file", file); status != 0 {
		t.Fatalf("status %d\n%s\n%s", status, &out, &diagnostics)
	}
	if !strings.Contains(out.String(), "messages         60       60\n") || !strings.Contains(out.String(), "thumbs up         30       30\n") {
		t.Errorf("printed\n%s", &out)
	}
}

var progressLine = regexp.MustCompile(`(?m)^ +\d+ %: [0-9,]+ of [0-9,]+ conversations\n`)

// beside is what was said beside progress.
func beside(diagnostics *bytes.Buffer) string {
	return progressLine.ReplaceAllString(diagnostics.String(), "")
}

func TestDemoServesUntilInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	// The last thing it prints before it waits says how it ends: answer that with the interrupt.
	out := &interrupter{word: "Ctrl-C", interrupt: cancel}
	var diagnostics bytes.Buffer
	if status := runDemo(t, ctx, streams{out, &diagnostics}, "--conversations", "40", "--quiet"); status != 0 || beside(&diagnostics) != "" {
		t.Errorf("status %d\n%s", status, &diagnostics)
	}
	if !strings.Contains(out.String(), "curl http://127.0.0.1:") || !strings.Contains(out.String(), `--data '{"conversationId":`) {
		t.Errorf("does not say how to look at it:\n%s", out)
	}
}

func TestDemoInterruptedEarlyEndsQuietly(t *testing.T) {
	for _, c := range []struct {
		args   []string
		status int
	}{{[]string{"--conversations", "100"}, 0}, {[]string{"--file", "demo.jsonl"}, 0}, {[]string{"--once"}, 1}} { // --once promises that the numbers agree
		ctx, cancel := context.WithCancel(t.Context())
		out := &interrupter{word: "Playing", interrupt: cancel}
		var diagnostics bytes.Buffer
		if status := runDemo(t, ctx, streams{out, &diagnostics}, c.args...); status != c.status || c.status == 0 && beside(&diagnostics) != "" {
			t.Errorf("%v: status %d, want %d; said %q", c.args, status, c.status, &diagnostics)
		}
		cancel()
	}
}

func TestDemoErrorsNameTheDialogueAndTheProgramOnce(t *testing.T) {
	for line, want := range map[string]string{
		`{"id":"d-1","turns":[{"role":"user","text":"x"}],"vote":"up"}`: "d-1",
		`{"id":"d-2","turns":[{"role":"pirate","text":"x"}]}`:           "dialogue d-2",
	} {
		file := filepath.Join(t.TempDir(), "dialogues.jsonl")
		if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, diagnostics bytes.Buffer
		status := runDemo(t, t.Context(), streams{&out, &diagnostics}, "--once", "--file", file)
		said := diagnostics.String()
		if status != 1 || !strings.Contains(said, want) || strings.Contains(said, "align: align:") {
			t.Errorf("%s: status %d, said %q, want it to name %q", line, status, said, want)
		}
		if out.Len() > 0 && !strings.Contains(out.String(), "Playing 1 conversation through") {
			t.Errorf("printed %q", &out)
		}
	}
}

func TestErrorsOfTheSDKNameTheProgramOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "dialogues.jsonl")
	if err := os.WriteFile(file, []byte(`{"id":"d","turns":[{"role":"user","text":"x"}],"user":"`+strings.Repeat("x", 100)+`"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, diagnostics bytes.Buffer
	if status := runDemo(t, t.Context(), streams{&out, &diagnostics}, "--once", "--file", file); status != 1 || strings.Contains(diagnostics.String(), "align: align:") {
		t.Errorf("status %d, said %q", status, &diagnostics)
	}
}

// The command is for people to paste, whatever the file called its dialogues.
func TestPrintedCurlIsSafeForAnyID(t *testing.T) {
	for _, id := range []string{`plain`, `it's`, `'; echo owned #`, `"quoted" \ $HOME`, "new\nline", `주문 📦`} {
		word, err := exec.Command("sh", "-c", "printf %s "+shellQuoted(listBody(id))).Output()
		if err != nil {
			t.Fatal(err)
		}
		var body struct{ ConversationID string }
		if err := json.Unmarshal(word, &body); err != nil || body.ConversationID != id {
			t.Errorf("%q: the shell passes %q: %v", id, word, err)
		}
	}
}

// interrupter is a writer that calls interrupt when it has seen word.
type interrupter struct {
	word      string
	interrupt func()

	mu sync.Mutex // guards the buffer
	bytes.Buffer
}

func (i *interrupter) Write(p []byte) (int, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if strings.Contains(string(p), i.word) {
		i.interrupt()
	}
	return i.Buffer.Write(p)
}

func TestBadDialogueFilesSayWhereTheyAreWrong(t *testing.T) {
	good := `{"id":"a","turns":[{"role":"user","text":"x"}]}`
	for text, want := range map[string]string{
		"":                         "no dialogues",
		good + "\n{":               "dialogue 2",
		good + "\n" + good:         "dialogue 2 needs an id of its own",
		`{"id":"a"}`:               "dialogue 1 needs",
		`{"turns":[{"text":"x"}]}`: "dialogue 1 needs",
		good + "\n" + `{"id":"b","vote":"up","turns":[{"text":"x"}]}`: `dialogue 2 (b): vote is "up"`,
		`{"id":1,"turns":[{"text":"x"}]}`:                             "dialogue 1",
		"\x1f\x8bthis is not gzip any more":                           "gzip",
	} {
		if _, err := parseDialogues(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want it to say %q", text, err, want)
		}
	}
}

func TestReportNoticesEveryDifference(t *testing.T) {
	stats := align.Stats{Accepted: 10, Delivered: 10}
	all := tally{sessions: 1, messages: 2, up: 3, down: 4, idle: 5}
	if !report(io.Discard, stats, all, all) {
		t.Error("equal numbers do not agree")
	}
	for i, other := range []tally{{2, 2, 3, 4, 5}, {1, 3, 3, 4, 5}, {1, 2, 4, 4, 5}, {1, 2, 3, 5, 5}, {1, 2, 3, 4, 6}} {
		if report(io.Discard, stats, all, other) {
			t.Errorf("difference %d is not noticed", i)
		}
	}
	for _, s := range []align.Stats{
		{Accepted: 10, Delivered: 9},
		{Accepted: 10, Delivered: 9, Pending: 1},
		{Accepted: 10, Delivered: 9, Dropped: map[align.DropReason]uint64{align.DropOverflow: 1}},
	} {
		if report(io.Discard, s, all, all) {
			t.Errorf("%+v agrees", s)
		}
	}
}

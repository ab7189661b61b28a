package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openalign/align"
	"github.com/openalign/align/aligntest"
)

// document is a transcript of two lines.
func document(n int) string {
	return fmt.Sprintf(`{"conversationId":%q,"start":"2024-01-01T00:00:00","lines":[{"role":"USER","content":"question %d"},{"role":"AI_ASSISTANT","content":null}],"note":1}`,
		align.AcroConversationID(fmt.Sprint(n)), n)
}

func write(t *testing.T, lines ...string) (name string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "transcripts.jsonl")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func documents(n int) (lines []string) {
	for i := range n {
		lines = append(lines, document(i))
	}
	return lines
}

func TestImportRecordsEveryLine(t *testing.T) {
	srv := aligntest.NewServer(t)
	srv.Script(aligntest.Status(503), aligntest.ResetAfter())
	var out strings.Builder
	if code := run(t.Context(), srv.Config(), []string{write(t, documents(1200)...)}, &out); code != exitOK {
		t.Fatalf("exit %d\n%s", code, out.String())
	}
	if n := len(srv.Sessions()); n != 1200 {
		t.Errorf("%d sessions", n)
	}
	s := srv.Session(align.AcroConversationID("7"))
	if want := "user: question 7\nassistant: \n"; s.Transcript() != want || !s.Closed {
		t.Errorf("%q, closed: %t", s.Transcript(), s.Closed)
	}
	if !strings.Contains(out.String(), "1000 lines done") {
		t.Errorf("no progress\n%s", out.String())
	}
}

func TestImportTellsOfBadLinesAndGoesOn(t *testing.T) {
	srv := aligntest.NewServer(t)
	var out strings.Builder
	name := write(t, document(0), "", `{"lines":[]}`, "secret", strings.Repeat("x", 11<<20), strings.Replace(document(1), "USER", "robot", 1), document(2))
	if code := run(t.Context(), srv.Config(), []string{name}, &out); code != exitSome {
		t.Errorf("exit %d", code)
	}
	if n := len(srv.Sessions()); n != 2 {
		t.Errorf("%d sessions", n)
	}
	for _, want := range []string{
		"line 3: align: Transcript.ConversationID must not be blank; align: Transcript.Start must not be blank",
		"line 4: align: Transcript must be a JSON object", "line 5: longer than", "line 6: align: Transcript.Lines[0].Role must be one of",
		"7 lines: 2 recorded, 4 left out",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("does not say %q", want)
		}
	}
	if strings.Contains(out.String(), "secret") {
		t.Error("quotes content")
	}
}

func TestStoppedImportGoesOnWhereItWas(t *testing.T) {
	srv := aligntest.NewServer(t)
	lines, progress := documents(1300), filepath.Join(t.TempDir(), "done")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out strings.Builder
	code := run(ctx, srv.Config(), []string{"-progress", progress, write(t, lines...)}, stopAt{&out, "1000 lines done", stop})
	if code != exitFailed {
		t.Errorf("exit %d\n%s", code, out.String())
	}
	if done, err := readProgress(progress); err != nil || done != 1000 {
		t.Errorf("%d done, %v", done, err)
	}
	before := len(srv.Events())
	if code := run(t.Context(), srv.Config(), []string{"-progress", progress, write(t, lines...)}, &out); code != exitOK {
		t.Errorf("exit %d\n%s", code, out.String())
	}
	if n := len(srv.Sessions()); n != 1300 {
		t.Errorf("%d sessions", n)
	}
	if events := len(srv.Events()) - before; events > 4*300 {
		t.Errorf("the second import recorded %d events", events)
	}
}

// stopAt calls stop when a text is written.
type stopAt struct {
	*strings.Builder
	text string
	stop func()
}

func (s stopAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.text) {
		s.stop()
	}
	return s.Builder.Write(p)
}

func TestImportedTwiceIsTheSame(t *testing.T) {
	srv := aligntest.NewServer(t)
	var out strings.Builder
	name := write(t, documents(10)...)
	for range 2 {
		if code := run(t.Context(), srv.Config(), []string{name}, &out); code != exitOK {
			t.Fatalf("exit %d\n%s", code, out.String())
		}
	}
	for _, s := range srv.Sessions() {
		if len(s.Messages) != 2 || s.Messages[0].Versions != 2 {
			t.Errorf("%+v", s)
		}
	}
}

func TestImportThatCannotBeginSaysSo(t *testing.T) {
	srv := aligntest.NewServer(t)
	bad := filepath.Join(t.TempDir(), "done")
	if err := os.WriteFile(bad, []byte("many"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{}, {"-x"}, {"a", "b"}, {filepath.Join(t.TempDir(), "missing")}, {"-progress", bad, write(t)}} {
		var out strings.Builder
		if code := run(t.Context(), srv.Config(), args, &out); code != exitFailed || out.Len() == 0 {
			t.Errorf("%v: exit %d, %q", args, code, out.String())
		}
	}
	var out strings.Builder
	if code := run(t.Context(), align.Config{ProjectID: "p", APIKey: "a b"}, []string{write(t)}, &out); code != exitFailed || !strings.Contains(out.String(), "Config.APIKey") {
		t.Errorf("exit %d, %q", code, out.String())
	}
}

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLintNamesLinesAndReasonsAndCountsWhatIsOdd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events.jsonl")
	events := `{"id":"o","type":"session_open","properties":{"sessionProperties":{"sessionId":"s1","userId":"secret"}}}
{"id":"m","type":"message_create","properties":{"messageProperties":{"sessionId":"s1","messageIndexHint":3,"messageRole":"ROLE_USER","messageContent":"secret"}}}
{"id":"m","type":"message_create","properties":{"messageProperties":{"sessionId":"s1","messageIndexHint":3,"messageRole":"ROLE_USER","messageContent":"secret"}}}

{"id":"n","type":"message_create","createTime":"2200-01-01T00:00:00Z","properties":{"messageProperties":{"sessionId":"s2","messageIndexHint":1,"messageRole":"ROLE_USER","messageContent":"secret"}}}
{"id":"x","type":"secret"}
secret
`
	if err := os.WriteFile(file, []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, diagnostics bytes.Buffer
	if status := run(t.Context(), []string{"lint", file}, streams{&out, &diagnostics}); status != 1 {
		t.Errorf("status %d, want 1", status)
	}
	want := file + ":6: type_unknown\n" + file + ":7: unreadable\n" +
		"1 × session lacks messages before its last\n1 × session has no opening\n1 × event has a time that cannot be\n3 events good, 1 repeated, 2 bad\n"
	if out.String() != want || strings.Contains(diagnostics.String(), "secret") {
		t.Errorf("printed\n%s%s\nwant\n%s", &out, &diagnostics, want)
	}
	if err := os.WriteFile(file, []byte(strings.SplitAfter(events, "\n")[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, _ := runAlign(t, "lint", file); out != "1 event good, 0 repeated, 0 bad\n" {
		t.Errorf("printed %q", out)
	}
}

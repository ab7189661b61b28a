package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
)

func TestKeysCreatePrintsTheKeyAloneAndKeepsItsHash(t *testing.T) {
	for _, scope := range []collector.Scope{collector.ScopeIngest, collector.ScopeRead, collector.ScopeAdmin} {
		t.Run(string(scope), func(t *testing.T) {
			data := filepath.Join(t.TempDir(), "not", "there", "yet")
			var out, diagnostics bytes.Buffer
			args := []string{"keys", "create", "--project", "shop", "--scope", string(scope), "--data", data}
			if status := run(t.Context(), args, streams{&out, &diagnostics}); status != 0 {
				t.Fatalf("status %d: %s", status, &diagnostics)
			}
			secret, rest, _ := strings.Cut(out.String(), "\n")
			if rest != "" || !strings.HasPrefix(secret, "align_"+string(scope)+"_") {
				t.Errorf("standard output is %q, want a key and nothing else", &out)
			}
			if strings.Contains(diagnostics.String(), secret) {
				t.Error("the key is shown twice")
			}
			checkKeyIsKept(t, data, secret, scope)
		})
	}
}

func checkKeyIsKept(t *testing.T, data, secret string, scope collector.Scope) {
	t.Helper()
	store, err := dataFlag{Data: data}.open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	key, err := store.KeyByHash(t.Context(), keys.Hash(secret))
	if err != nil || key.Project != "shop" || key.Scope != scope || key.Hint != secret[len(secret)-4:] {
		t.Errorf("kept %+v, %v", key, err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(data, "*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", data, err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(secret)) {
			t.Errorf("%s holds the key itself", filepath.Base(file))
		}
	}
}

func TestWrongCommandLinesSayWhatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		"keys create --scope ingest":                                  "--project",
		"keys create --project p":                                     "--scope",
		"keys create --project p --scope root":                        "ingest",
		"keys create --project= --scope ingest --data " + t.TempDir(): "project",
		"launch": "launch",
		"serve --idle-timeout 0s --data " + t.TempDir(): "--idle-timeout must not be 0",
		"serve --agnost org= --data " + t.TempDir():     "--agnost needs an organisation",
		"serve --agnost org --data " + t.TempDir():      "--agnost",
	} {
		var out, diagnostics bytes.Buffer
		if status := run(t.Context(), strings.Fields(line), streams{&out, &diagnostics}); status == 0 {
			t.Errorf("align %s: status 0", line)
		}
		if !strings.Contains(diagnostics.String(), want) || out.Len() > 0 {
			t.Errorf("align %s: printed %q and %q, want the second to name %q", line, &out, &diagnostics, want)
		}
	}
}

func TestHelpExitsWithSuccess(t *testing.T) {
	var out, diagnostics bytes.Buffer
	if status := run(t.Context(), []string{"--help"}, streams{&out, &diagnostics}); status != 0 || !strings.Contains(out.String(), "serve") {
		t.Errorf("status %d, printed %q", status, &out)
	}
}

func TestHelpOfServeSaysTheDefaults(t *testing.T) {
	var out, diagnostics bytes.Buffer
	if status := run(t.Context(), []string{"serve", "--help"}, streams{&out, &diagnostics}); status != 0 {
		t.Errorf("status %d", status)
	}
	said := strings.Join(strings.Fields(out.String()), " ") // it is wrapped
	for _, want := range []string{"./align-data", "127.0.0.1:7311", "30m", "0s", "20s", "info"} {
		if !strings.Contains(said, "(default "+want+")") {
			t.Errorf("does not say that %s is a default:\n%s", want, &out)
		}
	}
}

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
	for _, scope := range []collector.Scope{collector.ScopeIngest, collector.ScopeRead, collector.ScopeChat, collector.ScopeAdmin} {
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
		"serve --idle-timeout 0s --data " + t.TempDir():     "--idle-timeout must not be 0",
		"serve --agnost org= --data " + t.TempDir():         "--agnost needs an organisation",
		"serve --agnost org --data " + t.TempDir():          "--agnost",
		"serve --retain 0d":                                 "--retain",
		"serve --tls-cert cert.pem":                         "--tls-key",
		"serve --config missing.toml --data " + t.TempDir(): "missing.toml",
		"conversations list --key=":                         "--key",
		"serve --rate-limit -1":                             "--rate-limit",
		"replay --idle 0s":                                  "--idle",
		"replay --project p":                                "--idle",
		"demo --conversations 0":                            "--conversations",
		"demo --idle 10ms":                                  "--idle",
		"demo --config missing.toml":                        "missing.toml",
		"erase --project p":                                 "--user",
		"keys rotate --overlap -1s x --data " + t.TempDir(): "--overlap",
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
	for _, want := range []string{"./align-data", "127.0.0.1:7311", "30m", "0s", "20s", "info", "10000"} {
		if !strings.Contains(said, "(default "+want+")") {
			t.Errorf("does not say that %s is a default:\n%s", want, &out)
		}
	}
}

// runAlign runs a command line and returns what it printed. The test fails when the command does.
func runAlign(t *testing.T, args ...string) (out, diagnostics string) {
	t.Helper()
	var o, d bytes.Buffer
	if status := run(t.Context(), args, streams{&o, &d}); status != 0 {
		t.Fatalf("align %s: status %d: %s", strings.Join(args, " "), status, &d)
	}
	return o.String(), d.String()
}

func TestKeysListShowsHintsAndNeverSecrets(t *testing.T) {
	data := t.TempDir()
	secret, _ := runAlign(t, "keys", "create", "--project", "shop", "--scope", "read", "--data", data)
	secret = strings.TrimSpace(secret)
	list, _ := runAlign(t, "keys", "list", "--data", data)
	hash := keys.Hash(secret)
	id := (&collector.Key{Hash: hash}).ID()
	for _, want := range []string{id, "shop", "read", "…" + secret[len(secret)-4:], "never", "works"} {
		if !strings.Contains(list, want) {
			t.Errorf("the list lacks %q:\n%s", want, list)
		}
	}
	if strings.Contains(list, secret[:len(secret)-4]) {
		t.Errorf("the list shows the key:\n%s", list)
	}
	if others, _ := runAlign(t, "keys", "list", "--project", "other", "--data", data); strings.Contains(others, id) {
		t.Errorf("the list of another project shows the key:\n%s", others)
	}
}

func TestKeysCommandsDoNotRepeatWhatMayBeAKey(t *testing.T) {
	for _, command := range []string{"revoke", "rotate"} {
		var out, diagnostics bytes.Buffer
		status := run(t.Context(), []string{"keys", command, "--data", t.TempDir(), "align_read_secret"}, streams{&out, &diagnostics})
		if status == 0 || strings.Contains(out.String()+diagnostics.String(), "secret") {
			t.Errorf("keys %s: status %d, printed %q and %q", command, status, &out, &diagnostics)
		}
	}
}

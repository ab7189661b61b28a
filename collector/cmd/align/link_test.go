package main

import (
	"bytes"
	"crypto/sha256"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openalign/align/collector"
)

func TestLinkStandsAloneOnStandardOutputAndSignsInOnce(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	var out, diagnostics bytes.Buffer
	align := func(args ...string) int {
		out.Reset()
		diagnostics.Reset()
		return run(t.Context(), append(args, "--data", data), streams{&out, &diagnostics})
	}
	if status := align("keys", "create", "--project", "shop", "--scope", "ingest"); status != 0 {
		t.Fatalf("status %d: %s", status, &diagnostics)
	}
	if status := align("link", "--project", "shop", "--scope", "read", "--url", "https://align.example.com/"); status != 0 {
		t.Fatalf("status %d: %s", status, &diagnostics)
	}
	secret, ok := strings.CutPrefix(strings.TrimSuffix(out.String(), "\n"), "https://align.example.com/dashboard/enter?link=")
	if !ok || strings.Contains(diagnostics.String(), secret) {
		t.Fatalf("standard output is %q, want a link and nothing else; it is shown once", &out)
	}
	store, err := dataFlag{Data: data}.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	now := time.Now()
	login, err := store.RedeemLink(t.Context(), sha256.Sum256([]byte(secret)), collector.Login{Hash: [32]byte{1}, CreateTime: now, ExpireTime: now.Add(time.Hour)})
	if err != nil || login.Project != "shop" || login.Scope != collector.ScopeRead {
		t.Errorf("login %+v, %v", login, err)
	}
	for _, args := range [][]string{{"link", "--project", "nobody"}, {"link", "--url", "align.example.com"}, {"link", "--scope", "ingest"}} {
		if status := align(args...); status == 0 || out.Len() > 0 {
			t.Errorf("%q: status %d, %s", args, status, &out)
		}
	}
}

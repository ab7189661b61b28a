package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openalign/align"
)

// fillSpool leaves events in a spool, as an app does whose collector is away.
func fillSpool(t *testing.T, events int) (dir string) {
	t.Helper()
	dir = t.TempDir()
	client, err := align.New(align.Config{ProjectID: "shop", APIKey: "k", Host: "http://127.0.0.1:1", SpoolDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events {
		if err := client.CreateMessage(t.Context(), align.Message{SessionID: "s1", Index: i + 1, Role: align.RoleUser, Content: "my secret wish"}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // at once
	if err := client.Close(ctx); err == nil {
		t.Fatal("Close says that all is delivered")
	}
	return dir
}

func TestSpoolInspectShowsContentOnlyWhenAsked(t *testing.T) {
	dir := fillSpool(t, 3)
	var out, diagnostics bytes.Buffer
	if status := run(t.Context(), []string{"spool", "inspect", dir}, streams{&out, &diagnostics}); status != 0 {
		t.Fatalf("status %d: %s", status, &diagnostics)
	}
	if got := out.String(); !strings.Contains(got, "3 events") || !strings.Contains(got, "message_create") || strings.Contains(got, "secret") || strings.Contains(got, "s1") {
		t.Errorf("printed %q", got)
	}
	out.Reset()
	if status := run(t.Context(), []string{"spool", "inspect", dir, "--content"}, streams{&out, &diagnostics}); status != 0 || strings.Count(out.String(), "my secret wish") != 3 {
		t.Errorf("status %d, printed %q", status, &out)
	}
	out.Reset()
	var report spoolReport
	if status := run(t.Context(), []string{"spool", "inspect", dir, "--json"}, streams{&out, &diagnostics}); status != 0 {
		t.Errorf("status %d", status)
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil || report.Events != 3 || report.ByType[align.EventCreateMessage] != 3 || report.Oldest == nil {
		t.Errorf("%+v, %v", report, err)
	}
}

func TestSpoolSendDeliversAndSaysWhatIsLeft(t *testing.T) {
	dir := fillSpool(t, 1200)
	var up atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !up.Load() || req.Header.Get("Authorization") != "Bearer secret-key" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	send := []string{"spool", "send", dir, "--host", server.URL, "--key", "secret-key", "--timeout", (200 * time.Millisecond).String()}
	var out, diagnostics bytes.Buffer
	if status := run(t.Context(), send, streams{&out, &diagnostics}); status != 1 || !strings.Contains(out.String(), "0 events delivered, 1,200 left") && !strings.Contains(out.String(), "0 events delivered, 1200 left") {
		t.Errorf("status %d, printed %q, %s", status, &out, &diagnostics)
	}
	up.Store(true)
	out.Reset()
	send[len(send)-1] = "1m"
	if status := run(t.Context(), send, streams{&out, &diagnostics}); status != 0 || !strings.Contains(out.String(), "delivered, 0 left") {
		t.Errorf("status %d, printed %q, %s", status, &out, &diagnostics)
	}
	if strings.Contains(out.String()+diagnostics.String(), "secret-key") {
		t.Error("the key is shown")
	}
	info, err := align.InspectSpool(dir)
	if err != nil || info.Events != 0 {
		t.Errorf("%+v, %v", info, err)
	}
}

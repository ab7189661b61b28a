package ingest_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/openalign/align/collector/ingest"
)

// Ids of events whose clients give none: the same for the same words, a UUID, in order of time.
func TestEventIDSaysTheSameForTheSame(t *testing.T) {
	noon := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	id := ingest.EventID(noon, "a", "b")
	parsed, err := uuid.Parse(id)
	if err != nil || len(id) != 32 || parsed.Version() != 8 || parsed.Variant() != uuid.RFC4122 {
		t.Errorf("%s: %v, version %d", id, err, parsed.Version())
	}
	if again := ingest.EventID(noon, "a", "b"); again != id {
		t.Errorf("%s and %s for the same", id, again)
	}
	for _, other := range []string{ingest.EventID(noon, "ab"), ingest.EventID(noon, "a", "b", ""), ingest.EventID(noon, "b", "a"), ingest.EventID(time.Time{}, "a", "b")} {
		if other == id {
			t.Errorf("%s for something else", other)
		}
	}
	if later := ingest.EventID(noon.Add(time.Millisecond), "a", "b"); strings.Compare(later, id) <= 0 {
		t.Errorf("%s is later than %s and not after it", later, id)
	}
	if before := ingest.EventID(time.Unix(-1e9, 0), "a"); len(before) != 32 {
		t.Errorf("%s before 1970", before)
	}
}

// A body comes whole, within the limits of its dialect, and what room it took is there again afterwards.
func TestTakerReadsBodiesWithinLimits(t *testing.T) {
	taker := ingest.New(new(store), discard()).Taker("test")
	limits := ingest.Limits{Wire: 2 << 20, Body: 1 << 20}
	zip := func(text string) string {
		var zipped bytes.Buffer
		w := gzip.NewWriter(&zipped)
		if _, err := w.Write([]byte(text)); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		return zipped.String()
	}
	noise := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	text := strings.Repeat("text ", 200_000)
	for name, c := range map[string]struct {
		body, encoding string
		want           string
		status         int
	}{
		"plain":                     {text, "", text, 0},
		"gzip":                      {zip(text), "gzip", text, 0},
		"gzip of noise":             {zip(string(noise)), "gzip", string(noise), 0},
		"gzip of nothing":           {zip(""), "gzip", "", 0},
		"nothing":                   {"", "", "", 0},
		"nothing, gzip":             {"", "gzip", "", 0},
		"too large":                 {strings.Repeat("x", 2<<20+1), "", "", 413},
		"too large, decompressed":   {zip(strings.Repeat("x", 1<<20+1)), "gzip", "", 413},
		"gzip that ends early":      {zip(text)[:100], "gzip", "", 400},
		"gzip with a wrong sum":     {zip(text)[:len(zip(text))-8] + "12345678", "gzip", "", 400},
		"something else than gzip":  {text, "gzip", "", 400},
		"an encoding nobody speaks": {text, "br", "", 415},
	} {
		for n := range 110 { // more than there is room for, if any were kept
			r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader(c.body))) // of unknown length
			r.Header.Set("Content-Encoding", c.encoding)
			if n%2 == 0 {
				r.ContentLength = int64(len(c.body))
			}
			body, done, refused := taker.ReadBody(r, limits)
			switch {
			case refused != nil && refused.Status != c.status:
				t.Fatalf("%s: %d %s, want %d", name, refused.Status, refused.Message, c.status)
			case refused == nil && (c.status != 0 || string(body) != c.want):
				t.Fatalf("%s: %d bytes, want %d and status %d", name, len(body), len(c.want), c.status)
			case refused == nil:
				done()
			}
		}
	}
}

package export

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"

	"github.com/openalign/align/collector"
)

// Manifest says what the files of a day are. It is written when the day becomes final and never changes.
type Manifest struct {
	SchemaVersion int    `json:"schema_version"` // see [SchemaVersion]
	Project       string `json:"project"`
	Day           string `json:"day"`
	GeneratedAt   string `json:"generated_at"`         // RFC 3339
	IdleTimeout   int64  `json:"idle_timeout_seconds"` // after which conversations had ended
	Rows          int64  `json:"rows"`
	LateRows      int64  `json:"late_rows"`
	// EarliestStart is that of the conversation that began first, and Longest how many seconds the longest lasted; of late
	// ones neither is counted. Both are for who wants conversations by the day on which they began.
	EarliestStart string         `json:"earliest_start,omitempty"`
	Longest       int64          `json:"longest_seconds"`
	Files         []ManifestFile `json:"files"`
}

// ManifestFile is one file in one format, not compressed and without compatibility.
type ManifestFile struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"` // hexadecimal
}

// files are the variants whose sums a manifest has.
func files(day collector.Day) (list []Variant) {
	for _, late := range []bool{false, true} {
		for _, format := range Formats {
			list = append(list, Variant{Day: day, Late: late, Format: format})
		}
	}
	return list
}

// sum reads the files of a day back, in every format, and writes down what they are.
func (e *Exporter) sum(ctx context.Context, m *Manifest, project string, day collector.Day) error {
	for _, v := range files(day) {
		f, err := e.measure(ctx, project, v)
		if err != nil {
			return err
		}
		m.Files = append(m.Files, f)
	}
	return nil
}

// measure makes a file and keeps only what it is.
func (e *Exporter) measure(ctx context.Context, project string, v Variant) (ManifestFile, error) {
	sum := &summing{hash: sha256.New()}
	rows, err := e.write(ctx, sum, project, v)
	return ManifestFile{Name: v.Name(), Rows: rows, Bytes: sum.bytes, SHA256: hex.EncodeToString(sum.hash.Sum(nil))}, err
}

// summing is a writer that only counts.
type summing struct {
	hash  hash.Hash
	bytes int64
}

var _ io.Writer = (*summing)(nil)

func (s *summing) Write(p []byte) (int, error) {
	s.bytes += int64(len(p))
	return s.hash.Write(p)
}

// Verify makes the files of a final day again, and returns the names of those that are not what the manifest says: none,
// unless what is kept was damaged.
func (e *Exporter) Verify(ctx context.Context, project string, day collector.Day) (m *Manifest, differ []string, err error) {
	if m, err = e.Manifest(ctx, project, day); err != nil {
		return nil, nil, err
	}
	for i, v := range files(day) {
		got, err := e.measure(ctx, project, v)
		if ctx.Err() != nil {
			return m, nil, ctx.Err()
		}
		// What cannot be read differs as well.
		if err != nil || i >= len(m.Files) || got != m.Files[i] {
			differ = append(differ, v.Name())
		}
	}
	return m, differ, nil
}

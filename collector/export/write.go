package export

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Files of every form are made here from the lines that are kept. The same variant is the same bytes each time.

// Write makes a file of a final day. It returns how many rows it has.
func (e *Exporter) Write(ctx context.Context, to io.Writer, project string, v Variant) (rows int64, err error) {
	if err := v.Check(); err != nil {
		return 0, err
	}
	if _, err := e.Manifest(ctx, project, v.Day); err != nil {
		return 0, err
	}
	return e.write(ctx, to, project, v)
}

func (e *Exporter) write(ctx context.Context, to io.Writer, project string, v Variant) (rows int64, err error) {
	if !v.StartsOn {
		return e.writeRows(to, v, func(yield func(text []byte) error) error { return e.lines(ctx, project, v, yield) })
	}
	_, hold, err := e.startsOn(ctx, project, v.Day)
	if err != nil {
		return 0, err
	}
	first, end := MomentOf(v.Day.Start()), MomentOf(v.Day.End())
	return e.writeRows(to, v, func(yield func(text []byte) error) error {
		for _, day := range hold {
			one := v
			one.Day = day
			err := e.lines(ctx, project, one, func(text []byte) error {
				var row struct {
					Start Moment `json:"conversation_start_time"`
				}
				if err := json.Unmarshal(text, &row); err != nil || row.Start < first || row.Start >= end {
					return err
				}
				return yield(text)
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// writeRows writes lines in the form that a variant asks for.
func (e *Exporter) writeRows(to io.Writer, v Variant, lines func(yield func(text []byte) error) error) (rows int64, err error) {
	zipped, err := compressor(to, v)
	if err != nil {
		return 0, err
	}
	buffered := bufio.NewWriterSize(zipped, 64<<10)
	form, err := formOf(buffered, v)
	if err != nil {
		return 0, err
	}
	err = lines(func(text []byte) error {
		rows++
		return form.add(text)
	})
	if err != nil {
		return rows, err
	}
	if err := form.end(); err != nil {
		return rows, err
	}
	if err := buffered.Flush(); err != nil {
		return rows, err
	}
	return rows, zipped.Close()
}

// lines yields the lines of a file, without their ends: as they are kept, or opened, or for one bot only. A line is good
// until yield returns.
func (e *Exporter) lines(ctx context.Context, project string, v Variant, yield func(text []byte) error) error {
	unzip, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(1<<30))
	if err != nil {
		return err
	}
	defer unzip.Close()
	var text []byte
	return e.store.ExportChunks(ctx, project, v.Day, v.Late, func(data []byte) (err error) {
		if text, err = unzip.DecodeAll(data, text[:0]); err != nil {
			return fmt.Errorf("export: a piece of %s cannot be read: %w", v.Name(), err)
		}
		lines := bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
		if v.Bot != "" {
			lines = slices.DeleteFunc(lines, func(line []byte) bool {
				var row struct {
					BotID string `json:"bot_id"`
				}
				return json.Unmarshal(line, &row) != nil || row.BotID != v.Bot
			})
		}
		if v.Open {
			if lines, err = e.open(ctx, project, v.Late, lines); err != nil {
				return err
			}
		}
		for _, line := range lines {
			if err := yield(line); err != nil {
				return err
			}
		}
		return nil
	})
}

// open opens the lines of one piece.
func (e *Exporter) open(ctx context.Context, project string, late bool, lines [][]byte) (opened [][]byte, err error) {
	rows := make([]LateRow, len(lines))
	ids := make([]string, len(lines))
	for i, text := range lines {
		if err := json.Unmarshal(text, &rows[i]); err != nil {
			return nil, fmt.Errorf("export: a line cannot be read: %w", err)
		}
		ids[i] = rows[i].PlatformConversationID
	}
	keys, err := e.store.OpenExports(ctx, project, ids)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		row := &rows[i].RowOf
		if err := openRow(row, project, keys[ids[i]]); err != nil {
			return nil, err
		}
		var text []byte
		if late {
			text, err = line(&rows[i])
		} else {
			text, err = line(row)
		}
		if err != nil {
			return nil, err
		}
		opened = append(opened, bytes.TrimSuffix(text, []byte("\n")))
	}
	return opened, nil
}

// compressor returns what a file's bytes go through.
func compressor(to io.Writer, v Variant) (io.WriteCloser, error) {
	if v.Format != FormatParquet {
		switch v.Compression {
		case CompressionGzip:
			return gzip.NewWriterLevel(to, gzip.DefaultCompression)
		case CompressionZstd:
			return zstd.NewWriter(to, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
		}
	}
	return nopCloser{to}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// form writes rows in one format.
type form interface {
	add(line []byte) error
	end() error
}

func formOf(to io.Writer, v Variant) (form, error) {
	switch v.Format {
	case FormatNDJSON:
		return &lineForm{to: to, v: v}, nil
	case FormatCSV:
		return newCSV(to, v)
	case FormatParquet:
		return newParquet(to, v), nil
	}
	_, err := io.WriteString(to, "[")
	return &documentForm{to: to, v: v}, err
}

// lineForm is NDJSON.
type lineForm struct {
	to io.Writer
	v  Variant
}

func (f *lineForm) add(text []byte) (err error) {
	if text, err = ultimate(text, f.v); err != nil {
		return err
	}
	if _, err := f.to.Write(text); err != nil {
		return err
	}
	_, err = f.to.Write([]byte("\n"))
	return err
}

func (*lineForm) end() error { return nil }

// documentForm is one JSON array, a row on each line.
type documentForm struct {
	to   io.Writer
	v    Variant
	some bool
}

func (f *documentForm) add(text []byte) (err error) {
	if text, err = ultimate(text, f.v); err != nil {
		return err
	}
	between := "\n"
	if f.some {
		between = ",\n"
	}
	f.some = true
	if _, err := io.WriteString(f.to, between); err != nil {
		return err
	}
	_, err = f.to.Write(text)
	return err
}

func (f *documentForm) end() error {
	_, err := io.WriteString(f.to, "\n]\n")
	return err
}

// ultimate writes a line with counts as texts, where a variant asks for that.
func ultimate(text []byte, v Variant) ([]byte, error) {
	if !v.Ultimate {
		return text, nil
	}
	var row LateRow
	if err := json.Unmarshal(text, &row); err != nil {
		return nil, err
	}
	var compatible any = row.RowOf.texts()
	if v.Late {
		compatible = row.texts()
	}
	written, err := line(compatible)
	return bytes.TrimSuffix(written, []byte("\n")), err
}

package export

import (
	"encoding/json"
	"io"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
)

const (
	// parquetGroup is how many rows a row group has, which is what is in memory at a time.
	parquetGroup = 10_000
	// parquetBatch is how many rows are handed over at a time.
	parquetBatch = 500
)

// parquetForm is Apache Parquet: the columns are the members of a row, moments are timestamps in UTC.
type parquetForm[T any] struct {
	to    *parquet.GenericWriter[T]
	read  func(text []byte) (T, error)
	rows  []T
	group int
}

func newParquet(to io.Writer, v Variant) form {
	switch {
	case v.Late && v.Ultimate:
		return parquetOf(to, v, func(text []byte) (LateRowOf[string], error) { r, err := read[LateRow](text); return r.texts(), err })
	case v.Late:
		return parquetOf(to, v, read[LateRow])
	case v.Ultimate:
		return parquetOf(to, v, func(text []byte) (RowOf[string], error) { r, err := read[Row](text); return r.texts(), err })
	}
	return parquetOf(to, v, read[Row])
}

func read[T any](text []byte) (row T, err error) {
	err = json.Unmarshal(text, &row)
	return row, err
}

func parquetOf[T any](to io.Writer, v Variant, read func([]byte) (T, error)) form {
	codec := map[Compression]compress.Codec{CompressionNone: &parquet.Snappy, CompressionGzip: &parquet.Gzip, CompressionZstd: &parquet.Zstd}[v.Compression]
	return &parquetForm[T]{read: read, to: parquet.NewGenericWriter[T](to,
		parquet.Compression(codec),
		parquet.CreatedBy("align", "1", strconv.Itoa(SchemaVersion)), // and not the version of what wrote it: the bytes stay the same
		parquet.KeyValueMetadata("schema_version", strconv.Itoa(SchemaVersion)),
		parquet.WriteBufferSize(0),
	)}
}

func (f *parquetForm[T]) add(text []byte) error {
	row, err := f.read(text)
	if err != nil {
		return err
	}
	if f.rows = append(f.rows, row); len(f.rows) < parquetBatch {
		return nil
	}
	return f.flush()
}

func (f *parquetForm[T]) flush() error {
	if _, err := f.to.Write(f.rows); err != nil {
		return err
	}
	f.group += len(f.rows)
	clear(f.rows)
	f.rows = f.rows[:0]
	if f.group < parquetGroup {
		return nil
	}
	f.group = 0
	return f.to.Flush()
}

func (f *parquetForm[T]) end() error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.to.Close()
}

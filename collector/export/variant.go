package export

import (
	"cmp"
	"errors"
	"regexp"
	"strings"

	"github.com/openalign/align/collector"
)

// Format is a form that files come in.
type Format string

const (
	FormatJSON    Format = "json"    // one document: an array of rows
	FormatNDJSON  Format = "ndjson"  // a row on each line; what is kept, and lossless
	FormatCSV     Format = "csv"     // for spreadsheets: no cell is a formula
	FormatParquet Format = "parquet" // typed columns
)

// Formats are all there are.
var Formats = []Format{FormatJSON, FormatNDJSON, FormatCSV, FormatParquet}

// Compression is what files can be compressed with. Parquet compresses its columns, so that its files have no ending for it.
type Compression string

const (
	CompressionNone Compression = ""
	CompressionGzip Compression = "gzip"
	CompressionZstd Compression = "zstd"
)

// Variant is one form of one file. The zero value of all but the day is the file of the day as a JSON document.
type Variant struct {
	Day collector.Day
	// Late is the file with what became known late, instead of the day's own.
	Late        bool
	Format      Format
	Compression Compression
	// Ultimate writes counts as texts, as Ultimate's export does.
	Ultimate bool
	// Open opens what is sealed. What was erased is absent, so such a file can change: it loses what is erased.
	Open bool
	// StartsOn is the conversations that began on the day, from its file and some after it; see [Exporter.StartsOn]. There is no
	// late one.
	StartsOn bool
	// Bot leaves only the conversations of one assistant, if it is not empty.
	Bot string
}

// ErrVariant says that there is no such form of a file.
var ErrVariant = errors.New("export: there is no such form of a file")

// Check returns ErrVariant for words that are none of the above.
func (v *Variant) Check() error {
	v.Format = cmp.Or(v.Format, FormatJSON)
	for _, f := range Formats {
		if v.Format == f {
			if v.StartsOn && v.Late {
				return ErrVariant
			}
			switch v.Compression {
			case CompressionNone, CompressionGzip, CompressionZstd:
				return nil
			}
		}
	}
	return ErrVariant
}

// Name is what the file is called, such as 2026-01-31.late.csv.gz.
func (v *Variant) Name() string {
	name := v.Day.String()
	if v.Late {
		name += ".late"
	}
	if v.StartsOn {
		name += ".starts_on"
	}
	if v.Ultimate {
		name += ".ultimate"
	}
	if v.Open {
		name += ".open"
	}
	name += "." + string(v.Format)
	if v.Format != FormatParquet {
		name += endings[v.Compression]
	} else if v.Compression != CompressionNone {
		name = strings.TrimSuffix(name, ".parquet") + "." + string(v.Compression) + ".parquet"
	}
	return name
}

var endings = map[Compression]string{CompressionGzip: ".gz", CompressionZstd: ".zst"}

var names = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2})(\.late|\.starts_on)?(\.ultimate)?(\.open)?(?:\.(json|ndjson|csv)(\.gz|\.zst)?|(\.gzip|\.zstd)?\.(parquet))$`)

// ParseName is the opposite of [Variant.Name].
func ParseName(name string) (v Variant, err error) {
	m := names.FindStringSubmatch(name)
	if m == nil {
		return v, ErrVariant
	}
	if v.Day, err = collector.ParseDay(m[1]); err != nil {
		return v, ErrVariant
	}
	v.Late, v.StartsOn, v.Ultimate, v.Open = m[2] == ".late", m[2] == ".starts_on", m[3] != "", m[4] != ""
	v.Format = Format(m[5] + m[8])
	switch m[6] + m[7] {
	case ".gz", ".gzip":
		v.Compression = CompressionGzip
	case ".zst", ".zstd":
		v.Compression = CompressionZstd
	}
	return v, nil
}

// MediaType is the file's Content-Type.
func (v *Variant) MediaType() string {
	switch {
	case v.Format == FormatParquet:
		return "application/vnd.apache.parquet"
	case v.Compression == CompressionGzip:
		return "application/gzip"
	case v.Compression == CompressionZstd:
		return "application/zstd"
	case v.Format == FormatNDJSON:
		return "application/x-ndjson"
	case v.Format == FormatCSV:
		return "text/csv; charset=utf-8"
	}
	return "application/json"
}

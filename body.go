package align

import (
	"errors"
	"io"
	"sync"

	"github.com/openalign/align/internal/gzip"
	"google.golang.org/protobuf/encoding/protowire"
)

// body is what a request carries, made once for a batch and the same for every attempt: the request_id, then the batch's
// bytes where they lie, or all of that compressed.
type body struct {
	chunks [][]byte
	size   int64
	packed *[]byte // holds the only chunk of a compressed body; nil for a plain one
}

// minPacked is the size below which compressing is not worth it: such a body fits into one packet as it is.
const minPacked = 1 << 10

func newBody(b *batch, compress bool) *body {
	head := protowire.AppendTag(nil, fieldRequestID, protowire.BytesType)
	head = protowire.AppendString(head, b.id)
	plain := &body{chunks: append([][]byte{head}, b.chunks...), size: int64(len(head) + b.bytes)}
	if compress && plain.size >= minPacked {
		if packed := plain.pack(); packed != nil {
			return packed
		}
	}
	return plain
}

var (
	packers   = sync.Pool{New: func() any { return new(gzip.Writer) }}
	packedFor = sync.Pool{New: func() any { return new([]byte) }}
)

// pack returns b compressed, nil if it cannot be read.
func (b *body) pack() *body {
	w, out := packers.Get().(*gzip.Writer), packedFor.Get().(*[]byte)
	defer packers.Put(w)
	w.Begin((*out)[:0])
	if !guard(func() {
		for _, chunk := range b.chunks {
			w.Write(chunk)
		}
	}) {
		packedFor.Put(out)
		return nil
	}
	*out = w.End()
	return &body{chunks: [][]byte{*out}, size: int64(len(*out)), packed: out}
}

// release ends the body. No attempt may be under way.
func (b *body) release() {
	if b.packed != nil {
		packedFor.Put(b.packed)
	}
}

// readers hands out a body for one attempt. net/http may still read a body after the call that sent it has returned;
// detach ends that, so that the bytes can be used for other events.
type readers struct {
	mu     sync.Mutex // guards all below, and every copy out of chunks
	chunks [][]byte   // nil once detached
	torn   bool       // they could not be read
}

func (r *readers) detach() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chunks = nil
}

// isTorn reports whether an attempt found the body unreadable: its bytes are in a file that somebody cut short.
func (r *readers) isTorn() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.torn
}

// open returns a reader from the start.
func (r *readers) open() io.ReadCloser { return &bodyReader{all: r} }

type bodyReader struct {
	all         *readers
	chunk, from int // where the next byte is
}

var errDetached = errors.New("align: the attempt is over")

func (r *bodyReader) Read(dst []byte) (n int, err error) {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	if r.all.chunks == nil {
		return 0, errDetached
	}
	for n < len(dst) && r.chunk < len(r.all.chunks) {
		chunk := r.all.chunks[r.chunk]
		var copied int
		if !guard(func() { copied = copy(dst[n:], chunk[r.from:]) }) {
			r.all.torn = true
			return n, errFault
		}
		n += copied
		if r.from += copied; r.from == len(chunk) {
			r.chunk, r.from = r.chunk+1, 0
		}
	}
	if n == 0 && len(dst) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *bodyReader) Close() error { return nil }

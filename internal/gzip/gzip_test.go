package gzip

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// pack compresses chunks as one body behind prefix.
func pack(w *Writer, prefix []byte, chunks ...[]byte) []byte {
	w.Begin(prefix)
	for _, chunk := range chunks {
		w.Write(chunk)
	}
	return w.End()
}

// unpack is the standard library's reader, which takes one body and nothing behind it.
func unpack(t testing.TB, packed []byte) []byte {
	t.Helper()
	r, err := stdgzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// mostPacked is how long a body may become: five bytes for each stored block, and what stands around them.
func mostPacked(size int) int { return size + 5*(size/blockSize+1) + 18 + 1 }

func checkRoundTrip(t testing.TB, w *Writer, chunks ...[]byte) {
	t.Helper()
	plain := bytes.Join(chunks, nil)
	packed := pack(w, []byte("before"), chunks...)
	packed, found := bytes.CutPrefix(packed, []byte("before"))
	if !found {
		t.Fatal("what was there before is gone")
	}
	if got := unpack(t, packed); !bytes.Equal(got, plain) {
		t.Fatalf("%d bytes came back as %d others", len(plain), len(got))
	}
	if len(packed) > mostPacked(len(plain)) {
		t.Errorf("%d bytes became %d, want at most %d", len(plain), len(packed), mostPacked(len(plain)))
	}
}

func TestWhatIsPackedComesBack(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(size, of int) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(random.IntN(of))
		}
		return b
	}
	// Counts that are Fibonacci's make codes as long as they can be, longer than DEFLATE allows.
	var deep []byte
	for i, a, b := 0, 1, 1; len(deep) < 300_000; i, a, b = i+1, b, a+b {
		deep = append(deep, bytes.Repeat([]byte{byte(i)}, a)...)
	}
	random.Shuffle(len(deep), func(i, j int) { deep[i], deep[j] = deep[j], deep[i] })
	w := new(Writer)
	for name, plain := range map[string][]byte{
		"nothing":           nil,
		"a byte":            {7},
		"three bytes":       []byte("abc"),
		"a block of zeros":  make([]byte, blockSize),
		"zeros":             make([]byte, 1<<20),
		"noise":             noise(200_000, 256),
		"two symbols":       noise(200_000, 2),
		"all lengths":       noise(300_000, 4),
		"skewed":            deep,
		"as far as can be":  bytes.Repeat(noise(window, 256), 4),
		"farther than that": bytes.Repeat(noise(window+1, 256), 4),
		"events":            bytes.Join(events(3000), nil),
		"noise, then words": append(noise(70_000, 256), strings.Repeat("words and words ", 9000)...),
	} {
		t.Run(name, func(t *testing.T) {
			checkRoundTrip(t, w, plain)
			checkRoundTrip(t, w, plain[:len(plain)/3], nil, plain[len(plain)/3:])
		})
	}
}

func TestABodyDoesNotDependOnTheOneBefore(t *testing.T) {
	plain := bytes.Join(events(500), nil)
	fresh := pack(new(Writer), nil, plain)
	w := new(Writer)
	pack(w, nil, plain[1000:])
	w.Begin(nil)
	w.Write(plain[:5000]) // never ended
	if again := pack(w, nil, plain); !bytes.Equal(again, fresh) {
		t.Error("the same body is packed in two ways")
	}
}

func TestPositionsBeginAnew(t *testing.T) {
	w := new(Writer)
	plain := bytes.Join(events(2000), nil)
	w.Begin(nil)
	w.origin = maxOrigin - 100_000
	w.Write(plain)
	if got := unpack(t, w.End()); !bytes.Equal(got, plain) {
		t.Error("not the same bytes")
	}
}

func TestEventsAreAsSmallAsTheStandardLibraryMakesThem(t *testing.T) {
	plain := bytes.Join(events(500), nil)
	ours, theirs := len(pack(new(Writer), nil, plain)), len(standard(nil, plain))
	if float64(ours) > 1.07*float64(theirs) {
		t.Errorf("%d bytes, want at most 1.07 times %d", ours, theirs)
	}
}

func TestPackingAllocatesNothing(t *testing.T) {
	w, plain := new(Writer), bytes.Join(events(500), nil)
	out := pack(w, nil, plain)
	if n := testing.AllocsPerRun(10, func() { out = pack(w, out[:0], plain) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("abcabcabcabd"), uint16(3), uint16(1))
	f.Add(bytes.Repeat([]byte{0}, 1000), uint16(90), uint16(500))
	f.Add(events(1)[0], uint16(300), uint16(17))
	w := new(Writer)
	f.Fuzz(func(t *testing.T, piece []byte, times, cut uint16) {
		if len(piece) > 1<<12 {
			t.Skip("long enough")
		}
		// Repeated with a byte changed here and there, the piece reaches over blocks and windows.
		var plain []byte
		for i := range int(times) % 400 {
			plain = append(plain, piece...)
			if len(plain) > 0 {
				plain[i*7919%len(plain)] ^= byte(i)
			}
		}
		at := min(int(cut), len(plain))
		checkRoundTrip(t, w, plain[:at], plain[at:])
	})
}

// events are entries as a client sends them: ids, times, a few hundred open sessions, words, three properties.
func events(n int) [][]byte {
	random := rand.New(rand.NewPCG(3, 4))
	words := strings.Fields(`the my your order arrived yesterday but box was open and one of two lamps is broken could you please
		send another I have a question about invoice number from last month it shows amount we never agreed on thanks for
		reaching out sorry to hear that can check tracking code right away parcel left warehouse Monday should be with by
		Friday customs may take longer would like refund or replacement both are fine our policy allows returns`)
	id := func() string {
		var b [16]byte
		for i := range b {
			b[i] = byte(random.Uint32())
		}
		return hex.EncodeToString(b[:])
	}
	sessions := make([]string, 400)
	for i := range sessions {
		sessions[i] = id()
	}
	bytesOf := func(b []byte, field protowire.Number, value string) []byte {
		return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), value)
	}
	number := func(b []byte, field protowire.Number, value int) []byte {
		return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), uint64(value))
	}
	all := make([][]byte, n)
	for i := range all {
		var text strings.Builder
		for text.Len() < 200 {
			text.WriteString(words[random.IntN(len(words))])
			text.WriteByte(" ,.\n"[max(0, random.IntN(20)-16)])
		}
		m := bytesOf(nil, 1, sessions[random.IntN(len(sessions))])
		m = number(number(m, 3, i+1), 4, 1+i%2)
		m = bytesOf(m, 5, text.String())
		p := bytesOf(nil, 2, string(m))
		for k, v := range []string{"small-2", "web", "control"} {
			p = bytesOf(p, 10, string(bytesOf(bytesOf(nil, 1, []string{"model", "channel", "variant"}[k]), 2, v)))
		}
		e := bytesOf(nil, 1, fmt.Sprintf("0199a3c4d%03x7%s", i/100, id()[:19]))
		e = bytesOf(e, 2, "message_create")
		e = bytesOf(e, 3, string(number(number(nil, 1, 1_800_000_000), 2, i*1700)))
		e = bytesOf(e, 4, string(p))
		all[i] = bytesOf(nil, 2, string(bytesOf(e, 5, "project-1")))
	}
	return all
}

var standardWriter *stdgzip.Writer

// standard packs with compress/gzip at its fastest.
func standard(dst, plain []byte) []byte {
	out := bytes.NewBuffer(dst)
	if standardWriter == nil {
		standardWriter, _ = stdgzip.NewWriterLevel(nil, stdgzip.BestSpeed)
	}
	standardWriter.Reset(out)
	standardWriter.Write(plain)
	standardWriter.Close()
	return out.Bytes()
}

// BenchmarkPack packs batches of 500 events, here and in the standard library at its fastest.
func BenchmarkPack(b *testing.B) {
	var bodies [][]byte // several: of one alone the processor learns every branch
	size := 0
	for batch := range slices.Chunk(events(5000), 500) {
		bodies = append(bodies, bytes.Join(batch, nil))
		size += len(bodies[len(bodies)-1])
	}
	w := new(Writer)
	for name, pack := range map[string]func(dst, plain []byte) []byte{
		"ours":     func(dst, plain []byte) []byte { return pack(w, dst, plain) },
		"standard": standard,
	} {
		b.Run(name, func(b *testing.B) {
			var out []byte
			packed := 0
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				packed = 0
				for _, plain := range bodies {
					out = pack(out[:0], plain)
					packed += len(out)
				}
			}
			b.ReportMetric(float64(packed)/float64(size), "ratio")
		})
	}
}

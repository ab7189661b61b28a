package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestMain lets this test program be its own server and clients, too.
func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) != "" {
		main()
		return
	}
	stayLocal()
	os.Exit(m.Run())
}

// serveHTTP runs a handler's server on loopback and returns its URL.
func serveHTTP(t testing.TB, serve func(context.Context, net.Listener) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := serve(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); group.Wait() })
	return "http://" + l.Addr().String()
}

func TestEveryPeerDeliversEverythingAndIsCountedExactly(t *testing.T) {
	const events = 1000 // fits every buffer
	for _, p := range peers {
		if p == loopPeer {
			continue
		}
		for _, s := range []setup{{}, {Tuned: true}, {Gzip: true}, {Tuned: true, Gzip: true}} {
			if s.Gzip && !p.compresses {
				continue
			}
			t.Run(fmt.Sprintf("%s/tuned=%t,gzip=%t", p.name, s.Tuned, s.Gzip), func(t *testing.T) {
				t.Parallel()
				url := serveHTTP(t, newServer().serve)
				m, err := do(t.Context(), job{Peer: p.name, URL: url, Tuned: s.Tuned, Gzip: s.Gzip, Events: events, Goroutines: 4})
				if err != nil {
					t.Fatal(err)
				}
				if m.Sent != events || m.Accepted != events || m.Delivered != events || m.Duplicates != 0 || m.Damaged != 0 {
					t.Errorf("got %+v", m.tally)
				}
				if p == alignPeer && m.Disordered != 0 {
					t.Errorf("%d out of order", m.Disordered)
				}
				if least := int64(events * contentBytes); !s.Gzip && m.Wire < least || s.Gzip && m.Wire > least {
					t.Errorf("%d bytes on the wire", m.Wire)
				}
				if m.Requests == 0 || m.Conns == 0 || m.Conns > m.Requests || m.Delivery <= 0 || m.Samples == 0 {
					t.Errorf("got %+v", m)
				}
			})
		}
	}
	t.Cleanup(func() {
		if n := strays.Load(); n > 0 {
			t.Errorf("%d attempts to reach another machine", n)
		}
	})
}

func TestNothingLeavesTheMachine(t *testing.T) {
	before := strays.Load()
	defer strays.Store(before)
	for _, url := range []string{"http://192.0.2.1/", "http://[2001:db8::1]/", "http://example.com/"} {
		for _, transport := range []http.RoundTripper{http.DefaultTransport, localTransport(1), control.Transport} {
			resp, err := (&http.Client{Transport: transport}).Get(url)
			if err == nil {
				resp.Body.Close()
			}
			if !errors.Is(err, errNotLocal) && !strings.Contains(fmt.Sprint(err), errNotLocal.Error()) {
				t.Errorf("%s: %v", url, err)
			}
		}
	}
	if strays.Load() == before {
		t.Error("not counted")
	}
}

// post sends messages in posthog's format, which is the plainest.
func post(t *testing.T, url string, messages ...message) {
	t.Helper()
	type properties map[string]any
	type item struct {
		DistinctID string     `json:"distinct_id"`
		Properties properties `json:"properties"`
	}
	var body struct {
		Batch []item `json:"batch"`
	}
	for _, m := range messages {
		body.Batch = append(body.Batch, item{m.session, properties{"index": m.index, "role": m.role, "content": m.content,
			"model": m.model, "channel": m.channel, "variant": m.variant}})
	}
	data, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(url+posthogPeer.route, "application/json", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
}

func TestServerCountsWhatIsWrong(t *testing.T) {
	url := serveHTTP(t, newServer().serve)
	if err := begin(t.Context(), url, run{Events: 3 * sessions}); err != nil {
		t.Fatal(err)
	}
	work := newWorkload()
	at := func(i int) (m message) {
		work.message(i, &m)
		return m
	}
	changed := at(5)
	changed.content += "."
	stranger := at(6)
	stranger.index = 4 * sessions
	post(t, url, at(0), at(2*sessions), at(1))
	post(t, url, at(sessions), at(1), changed, stranger) // late in its session, again, damaged, not of this run
	got, err := fetchTally(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if got.Delivered != 4 || got.Duplicates != 1 || got.Damaged != 2 || got.Disordered != 1 || got.Requests != 2 {
		t.Errorf("got %+v", got)
	}
	if resp, err := http.Post(url+posthogPeer.route, "application/json", strings.NewReader("{")); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("nonsense: %v, %v", resp, err)
	}
}

func TestWorkloadIsTheSameEverywhere(t *testing.T) {
	var a, b message
	newWorkload().message(12_345, &a)
	newWorkload().message(12_345, &b)
	if a != b || a.index != 12_346 || len(a.content) < contentBytes || len(a.session) != 32 {
		t.Errorf("got %+v and %+v", a, b)
	}
	for _, goroutines := range []int{1, 4, 16} {
		if sessions%goroutines != 0 {
			t.Errorf("%d goroutines share sessions", goroutines)
		}
	}
}

func TestRecordersRecordEveryEventOnce(t *testing.T) {
	for _, goroutines := range []int{1, 3, 16} {
		c := &remembering{}
		for _, r := range newRecorders(job{Events: 100, Goroutines: goroutines}) {
			r.record(c, newWorkload(), time.Now())
		}
		slices.Sort(c.indexes)
		if len(c.indexes) != 100 || c.indexes[0] != 1 || c.indexes[99] != 100 || len(slices.Compact(c.indexes)) != 100 {
			t.Errorf("%d goroutines: %v", goroutines, c.indexes)
		}
	}
}

type remembering struct {
	loop
	indexes []int
	flushed int
}

func (c *remembering) record(m *message) error {
	c.indexes = append(c.indexes, m.index)
	return nil
}

func (c *remembering) flush(context.Context) error {
	c.flushed++
	return nil
}

func TestWindowedFlushesAfterEveryWindow(t *testing.T) {
	c := &remembering{}
	w := &windowed{flusher: c, size: 3}
	for range 10 {
		if err := w.record(&message{}); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.indexes) != 10 || c.flushed != 3 {
		t.Errorf("%d recorded, %d flushed", len(c.indexes), c.flushed)
	}
}

func TestPercentile(t *testing.T) {
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	for _, c := range []struct {
		samples []time.Duration
		q       float64
		want    time.Duration
	}{
		{nil, 0.5, 0},
		{[]time.Duration{7}, 0.999, 7},
		{[]time.Duration{1, 2}, 0.5, 1},
		{hundred, 0.5, 50},
		{hundred, 0.99, 99},
		{hundred, 0.999, 100},
		{hundred, 0, 1},
		{hundred, 1, 100},
	} {
		if got := percentile(c.samples, c.q); got != c.want {
			t.Errorf("percentile(%d samples, %g) = %d, want %d", len(c.samples), c.q, got, c.want)
		}
	}
}

func TestSpread(t *testing.T) {
	if got, want := spreadOf([]float64{3, 1, 2}), (spread{2, 1, 3}); got != want {
		t.Errorf("odd: %v", got)
	}
	if got, want := spreadOf([]float64{4, 1, 2, 3}), (spread{2.5, 1, 4}); got != want {
		t.Errorf("even: %v", got)
	}
}

func TestSamplingIsBounded(t *testing.T) {
	for _, events := range []int{1, 1000, 150_000, 1_000_000, 10_000_000, 100_000_000} {
		if every := sampling(events); every < 3 || events > 1_000_000_000/every && every < 211 {
			t.Errorf("%d events: one in %d", events, every)
		}
	}
}

// made is a report of numbers chosen by hand: ours costs 1 µs an event, the peer that delivers all 4, the one that loses
// half 3.
func made() *report {
	r := newReport(options{rounds: 2, events: defaultEvents})
	add := func(peer string, delivered int, cpu time.Duration) {
		c := cell{Scenario: "firehose", Peer: peer, Goroutines: 4, Events: 1000}
		for round := range time.Duration(2) {
			r.add(c, &measurement{
				tally: tally{Delivered: delivered, Requests: 2, Conns: 1, Wire: int64(delivered) * 400}, Sent: 1000, Accepted: 1000,
				P50: 500, P99: 2000 + 1000*round, P999: 9000, Allocs: 2, AllAllocs: 2.5, Bytes: 480, AllBytes: 490,
				Delivery: 2000 * cpu, CPU: cpu, Peak: 32 << 20,
			})
		}
	}
	add(alignPeer.name, 1000, time.Millisecond)
	add(posthogPeer.name, 1000, 4*time.Millisecond)
	add(otelPeer.name, 500, 1500*time.Microsecond)
	return r
}

func TestReportTable(t *testing.T) {
	var out strings.Builder
	if err := made().write(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`## firehose from 4 goroutines, default

| peer    | call p50 µs |     p99 µs | p99.9 µs | allocs/call (all) | B/call (all) | delivered/accepted/sent | delivered in s | events/s | × best | CPU µs/event | × best | wire B/event | conns | peak MiB |
|:--------|------------:|-----------:|---------:|------------------:|-------------:|------------------------:|---------------:|---------:|-------:|-------------:|-------:|-------------:|------:|---------:|
| align   |        0.50 | 2.50 (2–3) |        9 |          2 (2.50) |    480 (490) |   1,000 / 1,000 / 1,000 |              2 |      500 |   0.25 |            1 |   0.25 |          400 |     1 |       32 |
| posthog |        0.50 | 2.50 (2–3) |        9 |          2 (2.50) |    480 (490) |   1,000 / 1,000 / 1,000 |              8 |      125 |   1.00 |            4 |   1.00 |          400 |     1 |       32 |
| otel    |        0.50 | 2.50 (2–3) |        9 |          2 (2.50) |    480 (490) |     500 / 1,000 / 1,000 |              3 |      167 |   0.75 |            3 |   0.75 |          400 |     1 |       32 |
`,
		"| CPU an event against the best peer's          |   ≤ 0.25 |     0.25 | yes   | firehose from 4 goroutines, default |",
		"| events lost                                   |      ≤ 0 |        0 | yes   |",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestReportJSON(t *testing.T) {
	var out bytes.Buffer
	if err := made().writeJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Results []struct {
			Cell   cell
			Rounds []measurement
		}
		Bars []struct {
			What  string
			Holds bool
		}
	}
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Results) != 3 || len(got.Results[2].Rounds) != 2 || got.Results[2].Rounds[1].Delivered != 500 || len(got.Bars) == 0 || !got.Bars[0].Holds {
		t.Errorf("got %+v", got)
	}
}

func TestPictureIsSVG(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.svg")
	if err := draw(made(), file); err != nil {
		t.Fatal(err)
	}
	svg, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		if _, err := d.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{">align<", ">posthog<", ">otel<", ">events lost, %<", ">50<"} {
		if !bytes.Contains(svg, []byte(want)) {
			t.Errorf("no %s", want)
		}
	}
	if err := draw(newReport(options{}), file); err == nil {
		t.Error("drew nothing")
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.123: "0.12", 1.5: "1.50", 2: "2", 12.34: "12.3", 20: "20", 456.7: "457", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := number(v); got != want {
			t.Errorf("number(%g) = %s, want %s", v, got, want)
		}
	}
}

func TestPlanCoversEverything(t *testing.T) {
	o, err := parse(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[cell]bool{}
	for _, c := range plan(o.events, o.scenarios, o.only) {
		if seen[c] {
			t.Errorf("twice: %+v", c)
		}
		seen[c] = true
	}
	for _, want := range []cell{
		{Scenario: "paced", Peer: "align", Goroutines: 1, Events: 25_000, Rate: 20_000},
		{Scenario: "burst", Peer: "sentry", Tuned: true, Goroutines: 1, Events: 10_000},
		{Scenario: "firehose", Peer: "align", Tuned: true, Gzip: true, Goroutines: 4, Events: 1_000_000},
		{Scenario: "firehose", Peer: "otel", Goroutines: 16, Events: 1_000_000},
		{Scenario: "firehose", Peer: "posthog", Tuned: true, Goroutines: 16, Events: 200_000},
		{Scenario: "latency", Peer: "align", Tuned: true, Goroutines: 4, Events: 1_000_000, Delay: 20 * time.Millisecond},
		{Scenario: "spool", Peer: "align", Goroutines: 16, Events: 1_000_000, Tuned: true, Spool: true},
		{Scenario: "growth", Peer: "align", Goroutines: 4, Events: 10_000_000},
		{Scenario: "resident", Peer: "align", Goroutines: 4, Events: 1_000_000},
	} {
		if !seen[want] {
			t.Errorf("missing: %+v", want)
		}
	}
}

func TestParseRefusesWhatIsNotThere(t *testing.T) {
	for _, args := range [][]string{{"--peer", "nobody"}, {"--scenario", "storm"}, {"--rounds", "0"}, {"more"}, {"--what"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
	o, err := parse([]string{"--quick", "--rounds", "2"}, io.Discard)
	if err != nil || o.rounds != 2 || o.events != quickEvents {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestBenchRunsServerAndClientsApart(t *testing.T) {
	var out bytes.Buffer
	err := bench(t.Context(), []string{"--rounds", "1", "--events", "1000", "--scenario", "burst,resident", "--peer", "align,segment", "--json"}, &out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Results []*result }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Results) != 5 { // two peers in two settings, and one at rest
		t.Fatalf("%d results", len(got.Results))
	}
	for _, r := range got.Results {
		if len(r.Rounds) != 1 || !r.complete() {
			t.Errorf("%+v: %+v", r.Cell, r.Rounds)
		}
	}
}

// BenchmarkServer is what the server spends on an event in each wire format. It shares the machine with the clients.
func BenchmarkServer(b *testing.B) {
	const events = 500
	work := newWorkload()
	for _, p := range peers {
		if p == loopPeer {
			continue
		}
		b.Run(p.name, func(b *testing.B) {
			bodies := requests(b, p, work, events)
			b.ResetTimer()
			b.ReportAllocs()
			for b.Loop() {
				c := newCounts(run{Events: events})
				for _, body := range bodies {
					if err := c.count(0, body, p.decode, work, new(conn)); err != nil {
						b.Fatal(err)
					}
				}
				if c.total.Delivered != events {
					b.Fatal(c.total)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events, "ns/event")
		})
	}
}

// requests records with a peer and returns what it sends.
func requests(b *testing.B, p *peer, work *workload, events int) (bodies [][]byte) {
	var mu sync.Mutex
	url := serveHTTP(b, func(ctx context.Context, l net.Listener) error {
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				b.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			bodies = append(bodies, body)
			w.WriteHeader(p.answer.status)
		})}
		defer context.AfterFunc(ctx, func() { srv.Close() })()
		if err := srv.Serve(l); err != http.ErrServerClosed {
			return err
		}
		return nil
	})
	c, err := p.open(setup{URL: url})
	if err != nil {
		b.Fatal(err)
	}
	var m message
	for i := range events {
		work.message(i, &m)
		if err := c.record(&m); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.close(context.Background()); err != nil {
		b.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	return bodies
}

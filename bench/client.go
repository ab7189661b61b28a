package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A client runs in a process of its own, so that CPU, memory and allocations are its own. These are its orders and its
// report.

// job is one run of one client.
type job struct {
	Peer       string
	URL        string
	Tuned      bool
	Gzip       bool
	Events     int
	Goroutines int
	Rate       int           // events a second; 0: as fast as it takes them
	Delay      time.Duration // of the network, each way together
	Resident   bool          // measure memory at rest, too
	Spool      bool          // keep events on disk until they are delivered
}

// measurement is what came of it.
type measurement struct {
	tally
	start int64 // of the first call, Unix nanoseconds

	Sent     int // calls
	Accepted int // calls that returned no error

	P50, P99, P999 time.Duration // of a call
	Samples        int
	Allocs, Bytes  float64       // a call, until the last one returned, whatever goroutine allocated
	AllAllocs      float64       // a call, until everything was sent
	AllBytes       float64       // a call, until everything was sent
	Recording      time.Duration // first call to last return
	Delivery       time.Duration // first call to the last arrival
	CPU            time.Duration // user and system, opening to closed
	Peak           int64         // resident bytes at most, over the program's own
	Opened, Idle   int64         // job.Resident: bytes held over the program's own, after opening and when all was delivered
	Strays         int64         // attempts to reach another machine
}

const (
	warmUp     = 10_000 // enough for each text to have been used, and for the heap to have had the size of a burst
	restEvents = 2000
	closeLimit = 2 * time.Minute
)

// do runs a job against a server.
func do(ctx context.Context, j job) (*measurement, error) {
	p, err := peerNamed(j.Peer)
	if err != nil {
		return nil, err
	}
	work := newWorkload()
	s := setup{URL: j.URL, Tuned: j.Tuned, Gzip: j.Gzip, Delay: j.Delay > 0, Spool: j.Spool}
	m := &measurement{}
	own := settled("VmRSS")
	if j.Resident {
		if err := m.rest(ctx, p, s, work, j); err != nil {
			return nil, err
		}
	} else if err := prime(ctx, p, s, work, j); err != nil {
		return nil, err
	}
	if err := begin(ctx, j.URL, run{j.Events, j.Delay}); err != nil {
		return nil, err
	}
	if err := m.measure(ctx, p, s, work, j); err != nil {
		return nil, err
	}
	m.tally, err = fetchTally(ctx, j.URL)
	if err != nil {
		return nil, err
	}
	if m.Last > 0 {
		m.Delivery = time.Duration(m.Last - m.start)
	}
	m.Peak -= own
	m.Strays = strays.Load()
	return m, nil
}

// prime runs a client of its own through a small load first: code is in memory, the heap has found its size.
func prime(ctx context.Context, p *peer, s setup, work *workload, j job) error {
	if err := begin(ctx, j.URL, run{Events: warmUp}); err != nil {
		return err
	}
	j.Events, j.Rate = warmUp, 0
	defer http.DefaultClient.CloseIdleConnections()
	return new(measurement).measure(ctx, p, s, work, j)
}

// measure opens a client, records, closes.
func (m *measurement) measure(ctx context.Context, p *peer, s setup, work *workload, j job) error {
	runtime.GC()
	cpu := cpuTime()
	c, err := p.open(s)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	recorders := newRecorders(j)
	var before, recorded, closed runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	var group sync.WaitGroup
	for i := range recorders {
		group.Go(func() { recorders[i].record(c, work, start) })
	}
	group.Wait()
	m.Recording = time.Since(start)
	m.start = start.UnixNano()
	runtime.ReadMemStats(&recorded)

	ctx, cancel := context.WithTimeout(ctx, closeLimit)
	defer cancel()
	if err := c.close(ctx); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	m.CPU = cpuTime() - cpu
	runtime.ReadMemStats(&closed)
	m.Peak = resident("VmHWM")

	m.Sent = j.Events
	n := float64(j.Events)
	m.Allocs = float64(recorded.Mallocs-before.Mallocs) / n
	m.Bytes = float64(recorded.TotalAlloc-before.TotalAlloc) / n
	m.AllAllocs = float64(closed.Mallocs-before.Mallocs) / n
	m.AllBytes = float64(closed.TotalAlloc-before.TotalAlloc) / n
	var samples []time.Duration
	for i := range recorders {
		m.Accepted += recorders[i].accepted
		samples = append(samples, recorders[i].samples...)
	}
	slices.Sort(samples)
	m.Samples = len(samples)
	m.P50, m.P99, m.P999 = percentile(samples, 0.5), percentile(samples, 0.99), percentile(samples, 0.999)
	return nil
}

// rest measures what a client holds when nothing happens: in a program that has not used it before, without a warm-up.
func (m *measurement) rest(ctx context.Context, p *peer, s setup, work *workload, j job) error {
	own := settled("RssAnon")
	c, err := p.open(s)
	if err != nil {
		return err
	}
	m.Opened = settled("RssAnon") - own
	if err := begin(ctx, j.URL, run{Events: restEvents}); err != nil {
		return err
	}
	f, ok := c.(flusher)
	if !ok {
		return fmt.Errorf("%s cannot flush", p.name)
	}
	var msg message
	for i := range restEvents {
		work.message(i, &msg)
		if err := c.record(&msg); err != nil {
			return err
		}
	}
	if err := f.flush(ctx); err != nil {
		return err
	}
	m.Idle = settled("RssAnon") - own
	return c.close(ctx)
}

// settled is a line of [resident] after garbage has been collected and given back.
func settled(name string) int64 {
	debug.FreeOSMemory()
	return resident(name)
}

// recorder is one goroutine that records its share: every so-manieth event, always of the same sessions.
type recorder struct {
	first, step, events int
	rate                float64 // events a second of this one; 0: as fast as it can
	every               int     // every so-manieth call is timed
	samples             []time.Duration
	accepted            int
	read                int // ends of lines, before they were recorded
}

func newRecorders(j job) []recorder {
	rs := make([]recorder, j.Goroutines)
	every := sampling(j.Events)
	for i := range rs {
		rs[i] = recorder{first: i, step: j.Goroutines, events: j.Events, rate: float64(j.Rate) / float64(j.Goroutines), every: every}
		rs[i].samples = make([]time.Duration, 0, j.Events/j.Goroutines/every+1)
	}
	return rs
}

// sampling says that every so-manieth call is timed: about 50,000 of them, but at most one in three. Reading the clock
// twice costs some 50 ns. Primes, so that the samples fall on every place in a batch.
func sampling(events int) int {
	for _, prime := range []int{3, 5, 11, 23, 47, 97} {
		if events/prime <= 50_000 {
			return prime
		}
	}
	return 211
}

func (r *recorder) record(c client, work *workload, start time.Time) {
	m := new(message)
	for n, i := 0, r.first; i < r.events; n, i = n+1, i+r.step {
		if r.rate > 0 {
			r.pace(n, start)
		}
		work.message(i, m)
		r.read += m.read()
		var err error
		if n%r.every != 0 {
			err = c.record(m)
		} else {
			begin := time.Since(start)
			err = c.record(m)
			r.samples = append(r.samples, time.Since(start)-begin)
		}
		if err == nil {
			r.accepted++
		}
	}
}

// pace sleeps until the n-th event is due. It looks at the clock once a millisecond's worth of events, as they would come
// in small bursts.
func (r *recorder) pace(n int, start time.Time) {
	burst := max(int(r.rate/1000), 1)
	if n%burst == 0 {
		time.Sleep(time.Duration(float64(n)/r.rate*float64(time.Second)) - time.Since(start))
	}
}

// control talks to the server about runs, on connections of its own.
var control = &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}

// begin tells the server what comes next.
func begin(ctx context.Context, url string, r run) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url+beginRoute, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := control.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("begin: %s", resp.Status)
	}
	return nil
}

func fetchTally(ctx context.Context, url string) (t tally, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+tallyRoute, nil)
	if err != nil {
		return t, err
	}
	resp, err := control.Do(req)
	if err != nil {
		return t, err
	}
	defer resp.Body.Close()
	return t, json.NewDecoder(resp.Body).Decode(&t)
}

// resident reads a line of /proc/self/status, in bytes. Where there is none, memory is not known: 0. (The maximum in
// rusage will not do: Linux hands it down from the process that started this one.)
func resident(name string) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, found := strings.CutPrefix(line, name+":"); found {
			kib, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10
		}
	}
	return 0
}

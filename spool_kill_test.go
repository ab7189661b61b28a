//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package align

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"hash/maphash"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"google.golang.org/protobuf/proto"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

var kills = flag.Int("kills", 10, "how many processes TestKilledProcessLosesNothing kills")

// killWriters is how many goroutines record in the process that is killed.
const killWriters = 8

// killedProcess is the environment of a process that TestKilledProcessLosesNothing starts and kills.
const killedProcess = "ALIGN_TEST_KILLED_PROCESS"

// killCollector is a collector that fails at random, and holds what arrives against what it knows: of each session the
// first time an event arrives it is the next one, and every time it has the same id.
type killCollector struct {
	seed maphash.Seed
	well atomic.Bool

	mu       sync.Mutex          // guards all below
	arrived  map[string][]uint64 // hashes of event ids by session, in order of index
	twice    int
	problems []string
}

func (k *killCollector) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var msg ingestionv1alpha.CollectEventsRequest
	if err != nil || proto.Unmarshal(body, &msg) != nil { // the process died while it sent
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	luck := 9
	if !k.well.Load() {
		luck = rand.IntN(10)
	}
	if luck == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	k.take(&msg)
	if luck == 1 { // the answer is lost
		panic(http.ErrAbortHandler)
	}
}

func (k *killCollector) take(msg *ingestionv1alpha.CollectEventsRequest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range msg.Events {
		m := e.Properties.GetMessageProperties()
		if m == nil {
			continue
		}
		id := maphash.String(k.seed, e.Id)
		known, index := k.arrived[m.SessionId], int(m.MessageIndexHint)
		switch {
		case index == len(known)+1:
			k.arrived[m.SessionId] = append(known, id)
		case index <= len(known) && known[index-1] == id:
			k.twice++
		case len(k.problems) < 10:
			k.problems = append(k.problems, fmt.Sprintf("%s: message %d arrives after %d", m.SessionId, index, len(known)))
		}
	}
}

// Children record at full speed and are killed at random moments, while the collector fails at random, too. Every event
// whose call returned arrives after the restarts, in order, once for each id, and none that was never recorded.
func TestKilledProcessLosesNothing(t *testing.T) {
	if round := os.Getenv(killedProcess); round != "" {
		recordUntilKilled(round)
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	collector := &killCollector{seed: maphash.MakeSeed(), arrived: make(map[string][]uint64)}
	server := &http.Server{Handler: collector}
	go server.Serve(listener)
	defer server.Close()
	spool := filepath.Join(t.TempDir(), "spool")
	host := "http://" + listener.Addr().String()

	returned := make(map[string]int) // calls by session
	for round := range *kills {
		progress := filepath.Join(t.TempDir(), "progress")
		if err := os.WriteFile(progress, make([]byte, pageBytes), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessLosesNothing$")
		cmd.Env = append(os.Environ(), killedProcess+"="+strings.Join([]string{strconv.Itoa(round), spool, host, progress}, "|"))
		var output strings.Builder
		cmd.Stdout, cmd.Stderr = &output, &output
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		kill := time.AfterFunc(rand.N(400*time.Millisecond), func() { cmd.Process.Kill() })
		cmd.Wait()
		kill.Stop()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("round %d ended by itself: %v\n%s", round, cmd.ProcessState, &output)
		}
		data, err := os.ReadFile(progress)
		if err != nil {
			t.Fatal(err)
		}
		for g := range killWriters {
			returned[killSession(round, g)] = int(binary.NativeEndian.Uint64(data[8*g:]))
		}
	}

	collector.well.Store(true)
	last, err := New(killConfig(spool, host))
	if err != nil {
		t.Fatal(err)
	}
	if err := last.Close(within(t, time.Minute)); err != nil {
		t.Error(err)
	}
	if s := last.Stats(); s.dropped() > 0 {
		t.Errorf("%+v", s)
	}
	collector.mu.Lock()
	defer collector.mu.Unlock()
	for _, problem := range collector.problems {
		t.Error(problem)
	}
	total := 0
	for session, n := range returned {
		total += n
		if got := len(collector.arrived[session]); got < n || got > n+1 { // the last call may have died before it returned
			t.Errorf("%s: %d calls returned, %d messages arrived", session, n, got)
		}
	}
	if total == 0 {
		t.Error("nothing was recorded")
	}
	t.Logf("%d processes killed, %d calls returned, all arrived; %d events came twice", *kills, total, collector.twice)
}

func killSession(round, g int) string { return fmt.Sprintf("round-%d-writer-%d", round, g) }

func killConfig(spool, host string) Config {
	return Config{
		ProjectID: "p1", APIKey: "k", Host: host, Logger: discard, SpoolDir: spool, SpoolMaxBytes: 32 << 20, Overflow: OverflowBlock,
		FlushInterval: 10 * time.Millisecond, Senders: 1 + rand.IntN(4),
		HTTPClient: &http.Client{Transport: &http.Transport{}}, // TestMain's does not dial
	}
}

// recordUntilKilled is the process that is killed. How far each writer has come is in a mapped file, like the spool: it
// outlives the process, and costs nothing.
func recordUntilKilled(spec string) {
	args := strings.Split(spec, "|")
	round, err := strconv.Atoi(args[0])
	if err != nil {
		panic(err)
	}
	progress, err := os.OpenFile(args[3], os.O_RDWR, 0)
	if err != nil {
		panic(err)
	}
	mem, err := syscall.Mmap(int(progress.Fd()), 0, pageBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	c, err := New(killConfig(args[1], args[2]))
	if err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	for g := range killWriters {
		wg.Go(func() {
			counter := (*atomic.Uint64)(unsafe.Pointer(&mem[8*g]))
			m := Message{SessionID: killSession(round, g), Role: RoleUser, Content: "What does the process leave behind?"}
			for m.Index = 1; ; m.Index++ {
				if err := c.CreateMessage(context.Background(), m); err != nil {
					panic(err)
				}
				counter.Store(uint64(m.Index))
			}
		})
	}
	wg.Wait()
}

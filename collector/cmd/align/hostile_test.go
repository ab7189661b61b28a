package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// mostMemory is what the program may have held at its worst.
const mostMemory = 256 << 20

// peakMemory returns the most memory that a process has held, in bytes: resident, beside the pages of files, the program's
// own above all, which the system takes back when it needs them.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	peak, ok := peakOf(strconv.Itoa(pid))
	if !ok {
		t.Skip("this system does not say how much memory a process has")
	}
	return peak
}

// peakOf is peakMemory of a process in /proc, where there is one.
func peakOf(process string) (bytes int, ok bool) {
	status, _ := os.ReadFile("/proc/" + process + "/status")
	kib := map[string]int{}
	for line := range strings.Lines(string(status)) {
		if field, value, _ := strings.Cut(line, ":"); field == "VmHWM" || field == "RssFile" {
			kib[field], _ = strconv.Atoi(strings.Fields(value)[0])
		}
	}
	return (kib["VmHWM"] - kib["RssFile"]) << 10, kib["VmHWM"] > 0
}

// hostile does to a collector what strangers and broken clients do, by name.
var hostile = map[string]func(t *testing.T, addr, key string){
	"GzipBombs": func(t *testing.T, addr, key string) {
		size := int64(1 << 30)
		if raceEnabled {
			size = 128 << 20 // which is as forbidden
		}
		bomb := gzipOf(t, size)
		eachOf(32, func() {
			expect(t, addr, key, "gzip", bytes.NewReader(bomb), int64(len(bomb)), http.StatusRequestEntityTooLarge)
		})
	},
	"GibibyteBodies": func(t *testing.T, addr, key string) {
		eachOf(8, func() {
			for _, length := range []int64{1 << 30, -1} { // told in advance, and not
				post(addr, key, "", io.LimitReader(zeros{}, 1<<30), length) // the connection may end before the body does
			}
		})
	},
	"StrangersBodies": func(t *testing.T, addr, _ string) {
		eachOf(8, func() { post(addr, "stranger", "", io.LimitReader(zeros{}, 100<<20), -1) })
	},
	"HeaderFloods": func(t *testing.T, addr, key string) {
		eachOf(64, func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			flood := []byte("X-Flood: " + strings.Repeat("x", 4000) + "\r\n")
			_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+key+"\r\n")
			for sent := 0; err == nil && sent < 16<<20; sent += len(flood) { // until it is cut off
				_, err = conn.Write(flood)
			}
			if err == nil {
				t.Error("16 MiB of headers were taken")
			}
		})
	},
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// gzipOf returns so many zeros in gzip.
func gzipOf(t *testing.T, n int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.Copy(w, io.LimitReader(zeros{}, n)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// eachOf does something n times at once; fewer with the race detector, under which each takes ten times as long.
func eachOf(n int, do func()) {
	if raceEnabled {
		n = max(1, n/16)
	}
	var all sync.WaitGroup
	for range n {
		all.Go(do)
	}
	all.Wait()
}

// post returns the status of an answer, 0 where there was none.
func post(addr, key, encoding string, body io.Reader, length int64) (status int) {
	r, err := http.NewRequest(http.MethodPost, "http://"+addr+"/ingestion.v1alpha.IngestionService/CollectEvents", body)
	if err != nil {
		panic(err)
	}
	r.ContentLength = length
	r.Header.Set("Content-Type", "application/proto")
	r.Header.Set("Authorization", "Bearer "+key)
	if encoding != "" {
		r.Header.Set("Content-Encoding", encoding)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func expect(t *testing.T, addr, key, encoding string, body io.Reader, length int64, want ...int) {
	t.Helper()
	status := post(addr, key, encoding, body, length)
	for _, w := range want {
		if status == w {
			return
		}
	}
	t.Errorf("status %d, want %v", status, want)
}

// Whatever is thrown at it, memory is bounded, and clients that behave are answered meanwhile and after.
func TestHostileInputIsBoundedAndOthersAreServed(t *testing.T) {
	if testing.Short() {
		t.Skip("what it measures, or how long it takes, needs no -short")
	}
	data := t.TempDir()
	p := startServe(t, data)
	key := createKey(t, data)
	addr := strings.TrimPrefix(p.url, "http://")
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	for name, attack := range hostile {
		t.Run(name, func(t *testing.T) {
			good := newLoad(p.url, key, len(name), 4, 1)
			attack(t, addr, key)
			good.waitForSome(t)
			if status := ask(t, p.url, key); status != http.StatusOK {
				t.Errorf("a good client, after it: status %d", status)
			}
			good.end()
			peak := peakMemory(t, p.Process.Pid)
			t.Logf("peak memory %d MiB", peak>>20)
			if peak > mostMemory && !raceEnabled {
				t.Errorf("it held %d MiB, want no more than %d", peak>>20, mostMemory>>20)
			}
		})
	}
}

// slowConnections is how many clients hang on at most: the tests of a machine share its file descriptors.
const slowConnections = 10_000

func TestSlowConnectionsKeepNobodyOut(t *testing.T) {
	if testing.Short() {
		t.Skip("what it measures, or how long it takes, needs no -short")
	}
	data := t.TempDir()
	p := startServe(t, data)
	key := createKey(t, data)
	addr := strings.TrimPrefix(p.url, "http://")
	most := slowConnections
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		most = min(most, int(limit.Cur)-500)
	}
	dialer := net.Dialer{Timeout: 30 * time.Second}
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for n := range most {
		conn, err := dialer.Dial("tcp", addr)
		if err != nil {
			t.Logf("no more than %d connections here: %v", n, err)
			break
		}
		conns = append(conns, conn)
		begun := "POST /ingestion.v1alpha.IngestionService/CollectEvents HTTP/1.1\r\nHost: x\r\n"
		if n%2 == 0 { // half of them stay in the headers, half in the body
			begun += "Authorization: Bearer " + key + "\r\nContent-Type: application/proto\r\nContent-Length: 1000\r\n\r\nx"
		}
		if _, err := io.WriteString(conn, begun); err != nil {
			t.Fatal(err)
		}
	}
	good := newLoad(p.url, key, 0, loadClients, 300)
	good.waitForSome(t)
	good.end()
	peak := peakMemory(t, p.Process.Pid)
	t.Logf("%d slow connections, peak memory %d MiB", len(conns), peak>>20)
	if peak > mostMemory && !raceEnabled {
		t.Errorf("it held %d MiB, want no more than %d", peak>>20, mostMemory>>20)
	}
}

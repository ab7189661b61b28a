package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	cryptorand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/store/sqlite"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// The tests in this file run the real program, as a process that can be killed.

// runAsAlign in the environment makes the test binary be the program: the same code, also under -race, and nothing to build.
const runAsAlign = "ALIGN_TEST_RUN_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(runAndSayPeak) != "" {
		sayPeak()
	}
	if os.Getenv(runAsAlign) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// alignCommand is the program with these arguments, not yet started.
func alignCommand(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), runAsAlign+"=1")
	return cmd
}

// alignProcess is a running "align serve".
type alignProcess struct {
	*exec.Cmd
	url    string
	stderr *bytes.Buffer // to be read after Wait
}

// startServe starts the program on a data folder and waits until it is ready.
func startServe(t testing.TB, data string, args ...string) *alignProcess {
	t.Helper()
	p := &alignProcess{Cmd: alignCommand(t, append([]string{"serve", "--data", data, "--addr", "127.0.0.1:0"}, args...)...), stderr: new(bytes.Buffer)}
	p.Stderr = p.stderr
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // of no effect once it was waited for
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		_ = p.Wait()
		t.Fatalf("align serve said nothing: %v\n%s", err, p.stderr)
	}
	p.url = strings.TrimSpace(strings.TrimPrefix(line, "listening on "))
	// It says so when it listens, so the first request is answered; no need to ask twice.
	resp, err := http.Get(p.url + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("/readyz: %s", resp.Status)
	}
	return p
}

// createKey makes an ingest key with the program itself.
func createKey(t testing.TB, data string) string {
	t.Helper()
	out, err := alignCommand(t, "keys", "create", "--project", "shop", "--scope", "ingest", "--data", data).Output()
	if err != nil {
		t.Fatalf("keys create: %v", err)
	}
	return strings.TrimSuffix(string(out), "\n")
}

// load is a crowd of clients. Each sends messages of its own session, one request after the other, until one is not
// acknowledged.
type load struct {
	url, key string
	client   *http.Client
	wg       sync.WaitGroup
	ctx      context.Context
	stop     context.CancelFunc

	mu    sync.Mutex
	acked map[string]int // session → messages acknowledged; guarded by mu
	total int            // guarded by mu
	want  int
	some  chan struct{} // closed when want messages are acknowledged
	ended chan struct{} // closed when no client is left
}

const eventsPerRequest = 3

// newLoad starts the clients of a round against url.
func newLoad(url, key string, round, clients, want int) *load {
	ctx, stop := context.WithCancel(context.Background())
	l := &load{url: url, key: key, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}},
		ctx: ctx, stop: stop, acked: make(map[string]int), want: want, some: make(chan struct{}), ended: make(chan struct{})}
	for c := range clients {
		l.wg.Go(func() { l.run(fmt.Sprintf("round%d-client%d", round, c)) })
	}
	go func() {
		l.wg.Wait()
		close(l.ended)
	}()
	return l
}

// waitForSome returns when as many messages as wanted are acknowledged.
func (l *load) waitForSome(t testing.TB) {
	t.Helper()
	select {
	case <-l.some:
	case <-l.ended:
		t.Fatalf("all clients were refused, after %d messages", l.total)
	}
}

func (l *load) run(session string) {
	for index := 1; l.ctx.Err() == nil; index += eventsPerRequest {
		req := new(ingestionv1alpha.CollectEventsRequest)
		for n := range eventsPerRequest {
			req.Events = append(req.Events, messageEvent(session, index+n))
		}
		body, err := proto.Marshal(req)
		if err != nil {
			panic(err)
		}
		if !l.send(body) {
			return
		}
		l.acknowledge(session)
	}
}

func (l *load) acknowledge(session string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked[session] += eventsPerRequest
	before := l.total
	l.total += eventsPerRequest
	if before < l.want && l.total >= l.want {
		close(l.some)
	}
}

// send reports whether the request was acknowledged.
func (l *load) send(body []byte) bool {
	r, err := http.NewRequest(http.MethodPost, l.url+"/ingestion.v1alpha.IngestionService/CollectEvents", bytes.NewReader(body))
	if err != nil {
		panic(err)
	}
	r.Header.Set("Content-Type", "application/proto")
	r.Header.Set("Authorization", "Bearer "+l.key)
	resp, err := l.client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode == http.StatusOK
}

// end stops the clients and returns what was acknowledged.
func (l *load) end() map[string]int {
	l.stop()
	<-l.ended
	l.client.CloseIdleConnections()
	return l.acked
}

func messageEvent(session string, index int) *ingestionv1alpha.Event {
	return &ingestionv1alpha.Event{
		Id: fmt.Sprintf("%s-%d", session, index), Type: "message_create", CreateTime: timestamppb.Now(),
		Properties: &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_MessageProperties_{
			MessageProperties: &ingestionv1alpha.EventProperties_MessageProperties{
				SessionId: session, MessageIndexHint: int32(index), MessageContent: "message",
				MessageRole: ingestionv1alpha.EventProperties_MessageProperties_ROLE_USER}}},
	}
}

// checkNothingLost opens the data folder and compares it with what was acknowledged: nothing is missing, requests are there
// as a whole or not at all, and everything is there once. sessions is how many there were: those without an acknowledged
// request may still have one that was stored and not answered.
func checkNothingLost(t *testing.T, data string, sessions int, acked map[string]int) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(data, "align.db"))
	if err != nil {
		t.Fatal(err)
	}
	var said string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&said); err != nil || said != "ok" {
		t.Errorf("the file is damaged: %s, %v", said, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.Context(), filepath.Join(data, "align.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	kept := 0
	for session, want := range acked {
		got := 0
		for page := (collector.Page{Size: 1000}); ; {
			messages, next, err := store.Messages(t.Context(), "shop", session, page)
			if err != nil {
				t.Errorf("%s: %d messages were acknowledged: %v", session, want, err)
				break
			}
			for _, message := range messages {
				if got++; int(message.Index) != got || message.Versions != 1 {
					t.Fatalf("%s: message %d stands at %d, with %d versions", session, got, message.Index, message.Versions)
				}
			}
			if page.Token = next; next == "" {
				break
			}
		}
		// The last request of a client may have been stored and not answered.
		if got != want && got != want+eventsPerRequest {
			t.Errorf("%s: %d messages kept, %d acknowledged", session, got, want)
		}
		kept += got
	}
	totals, err := store.Totals(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if most := kept + eventsPerRequest*(sessions-len(acked)); totals.Facts < kept || totals.Facts > most || totals.Facts != totals.Messages {
		t.Errorf("%d facts and %d messages stored, want each of the %d messages to be one fact", totals.Facts, totals.Messages, kept)
	}
}

// kills is how many rounds the collector is killed in. CI takes 20; a few will do to see that the test works.
var kills = flag.Int("kills", 4, "rounds of TestKilledUnderLoadLosesNothingAcknowledged")

const (
	killClients = 64
	loadClients = 8
)

func TestKilledUnderLoadLosesNothingAcknowledged(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	key := createKey(t, data)
	acked := make(map[string]int)
	for round := range *kills {
		p := startServe(t, data)
		// A random moment, told by progress rather than by a clock, so that there is a load to kill under on any machine.
		l := newLoad(p.url, key, round, killClients, 1+rand.IntN(5000))
		l.waitForSome(t)
		if err := p.Process.Kill(); err != nil { // SIGKILL
			t.Fatal(err)
		}
		_ = p.Wait()
		for session, n := range l.end() {
			acked[session] = n
		}
	}
	checkNothingLost(t, data, *kills*killClients, acked)
}

func TestTerminatedUnderLoadFinishesWhatItAcknowledged(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	key := createKey(t, data)
	p := startServe(t, data)
	l := newLoad(p.url, key, 0, loadClients, 500)
	l.waitForSome(t)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Errorf("exit status: %v\n%s", err, p.stderr)
	}
	// The last to close a database moves its log into it: had the store not been closed, the log would be there.
	if left, err := filepath.Glob(filepath.Join(data, "*-wal")); err != nil || len(left) > 0 {
		t.Errorf("the store was not closed: %v, %v", left, err)
	}
	checkNothingLost(t, data, loadClients, l.end())
	if strings.Contains(p.stderr.String(), "error=") {
		t.Errorf("all went well, and the log speaks of an error:\n%s", p.stderr)
	}
	if !strings.Contains(p.stderr.String(), "stopped") || strings.Contains(p.stderr.String(), key) {
		t.Errorf("the log does not say that it stopped, or says the key:\n%s", p.stderr)
	}
}

func TestTerminatedServerSaysItIsNotReadyBeforeItGoes(t *testing.T) {
	p := startServe(t, t.TempDir(), "--drain-delay", "1h") // longer than this test waits for anything
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for said := ""; said != "draining\n"; { // until the signal has arrived
		resp, err := http.Get(p.url + "/readyz")
		if err != nil {
			t.Fatalf("it has gone: %v", err)
		}
		content, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if said = string(content); err != nil || (resp.StatusCode == http.StatusOK) != (said == "ok\n") {
			t.Fatalf("%s %q %v", resp.Status, said, err)
		}
	}
	for { // another one ends it at once, but not if it comes before the first was dealt with: ask again until it has gone
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		resp, err := http.Get(p.url + "/readyz")
		if err != nil {
			break
		}
		resp.Body.Close()
	}
	if err := p.Wait(); err == nil {
		t.Error("status 0, though it did not finish")
	}
}

func TestServeSpeaksOfKeysOnFirstStartOnly(t *testing.T) {
	data := filepath.Join(t.TempDir(), "new", "data")
	for start, want := range []bool{true, false} {
		p := startServe(t, data)
		if err := p.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if err := p.Wait(); err != nil {
			t.Errorf("exit status: %v", err)
		}
		if got := strings.Contains(p.stderr.String(), "align keys create --project NAME --scope ingest"); got != want {
			t.Errorf("start %d: spoke of keys: %v, want %v\n%s", start, got, want, p.stderr)
		}
		if got := strings.Contains(p.stderr.String(), p.url+"/dashboard/enter?link="); got != want {
			t.Errorf("start %d: printed a link: %v, want %v\n%s", start, got, want, p.stderr)
		}
	}
}

func TestKeyMadeWhileServingIsGoodAtOnce(t *testing.T) {
	data := t.TempDir()
	p := startServe(t, data)
	l := newLoad(p.url, createKey(t, data), 0, loadClients, eventsPerRequest)
	l.waitForSome(t)
	l.end()
}

// ask sends an empty batch with a key and returns the status.
func ask(t *testing.T, url, key string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url+"/ingestion.v1alpha.IngestionService/CollectEvents", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/proto")
	r.Header.Set("Authorization", "Bearer "+key)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func keyID(secret string) string { return (&collector.Key{Hash: keys.Hash(secret)}).ID() }

func TestKeysRotateAndRevokeWhileServing(t *testing.T) {
	data := t.TempDir()
	p := startServe(t, data)
	first := createKey(t, data)
	out, _ := runAlign(t, "keys", "rotate", "--data", data, "--overlap", "1h", keyID(first))
	second := strings.TrimSpace(out)
	for name, key := range map[string]string{"old": first, "new": second} {
		if status := ask(t, p.url, key); status != http.StatusOK {
			t.Errorf("the %s key, while both work: status %d", name, status)
		}
	}
	runAlign(t, "keys", "revoke", "--data", data, keyID(first))
	if status := ask(t, p.url, first); status != http.StatusUnauthorized {
		t.Errorf("the revoked key: status %d", status)
	}
	out, _ = runAlign(t, "keys", "rotate", "--data", data, "--overlap", "0s", keyID(second))
	if status := ask(t, p.url, second); status != http.StatusUnauthorized {
		t.Errorf("the key rotated without overlap: status %d", status)
	}
	if status := ask(t, p.url, strings.TrimSpace(out)); status != http.StatusOK {
		t.Errorf("the key that took its place: status %d", status)
	}
	if list, _ := runAlign(t, "keys", "list", "--data", data); strings.Count(list, "ended") != 2 {
		t.Errorf("want two of three keys to have ended:\n%s", list)
	}
}

func TestEraseAndBackupWhileServingUnderLoad(t *testing.T) {
	data := t.TempDir()
	p := startServe(t, data)
	key := createKey(t, data)
	open := &ingestionv1alpha.Event{Id: "open", Type: collector.TypeSessionOpen,
		Properties: &ingestionv1alpha.EventProperties{ReservedProperties: &ingestionv1alpha.EventProperties_SessionProperties_{
			SessionProperties: &ingestionv1alpha.EventProperties_SessionProperties{SessionId: "theirs", UserId: "Xq7-user", SessionTitle: "Xq7-title"}}}}
	body, err := proto.Marshal(&ingestionv1alpha.CollectEventsRequest{Events: []*ingestionv1alpha.Event{open}})
	if err != nil {
		t.Fatal(err)
	}
	l := newLoad(p.url, key, 0, loadClients, 100)
	if !l.send(body) {
		t.Fatal("not acknowledged")
	}
	l.waitForSome(t)
	runAlign(t, "backup", "--data", data, filepath.Join(data, "copy.db"))
	if err := os.Rename(filepath.Join(data, "copy.db"), filepath.Join(t.TempDir(), "copy.db")); err != nil { // it may hold them
		t.Fatal(err)
	}
	l.end()
	runAlign(t, "erase", "--data", data, "--project", "shop", "--user", "Xq7-user")
	files, err := filepath.Glob(filepath.Join(data, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if content, err := os.ReadFile(file); err != nil || bytes.Contains(content, []byte("Xq7")) {
			t.Errorf("%s holds what was erased, or %v", filepath.Base(file), err)
		}
	}
	if list, _ := runAlign(t, "audit", "--data", data); !strings.Contains(list, "erase") || strings.Contains(list, "Xq7") {
		t.Errorf("the audit says:\n%s", list)
	}
	if !l.send(body) || ask(t, p.url, key) != http.StatusOK {
		t.Error("the collector no longer takes events")
	}
}

func TestServeOverTLS(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCertificate(t, cert, key)
	p := &alignProcess{Cmd: alignCommand(t, "serve", "--data", dir, "--addr", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)}
	stdout, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill(); _ = p.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(cert)
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Get(strings.TrimSpace(strings.TrimPrefix(line, "listening on ")) + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 2 {
		t.Errorf("%s over HTTP/%d, want 200 over HTTP/2", resp.Status, resp.ProtoMajor)
	}
}

// writeCertificate makes a certificate for 127.0.0.1 that vouches for itself.
func writeCertificate(t *testing.T, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), cryptorand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(cryptorand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

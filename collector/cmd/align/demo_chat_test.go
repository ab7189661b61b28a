package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openalign/align/collector"
)

type writerFunc func(printed string)

func (f writerFunc) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}

var (
	printedLink = regexp.MustCompile(`(http://\S+)(/dashboard/enter\?link=)(\S+)`)
	formField   = regexp.MustCompile(`name="(token|conversation)" value="([^"]*)"`)
)

// visitor is a browser that came by the printed link.
type visitor struct {
	t      *testing.T
	base   string
	client *http.Client
}

// enter signs in with the link that was printed.
func enter(t *testing.T, printed string) *visitor {
	t.Helper()
	link := printedLink.FindStringSubmatch(printed)
	if link == nil || strings.Count(printed, "/dashboard/enter") != 1 {
		t.Fatalf("not one link is printed:\n%s", printed)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &visitor{t, link[1], &http.Client{Jar: jar}}
	v.send(v.base+"/dashboard/enter", url.Values{"token": {v.fields(link[2] + link[3])["token"]}, "link": {link[3]}})
	return v
}

// fields are what the forms of a page carry.
func (v *visitor) fields(path string) map[string]string {
	v.t.Helper()
	found := map[string]string{}
	for _, field := range formField.FindAllStringSubmatch(v.read(path), -1) {
		if found[field[1]] == "" {
			found[field[1]] = field[2]
		}
	}
	return found
}

func (v *visitor) read(path string) string {
	v.t.Helper()
	response, err := v.client.Get(v.base + path)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.body(response)
}

func (v *visitor) send(address string, form url.Values) string {
	v.t.Helper()
	response, err := v.client.PostForm(address, form)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.body(response)
}

func (v *visitor) body(response *http.Response) string {
	v.t.Helper()
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		v.t.Fatalf("%s %s: %s, %v\n%.300s", response.Request.Method, response.Request.URL.Path, response.Status, err, text)
	}
	return string(text)
}

// One link leads to the dashboard, with the month's daily exports, and to the chat; what is said there is kept with the rest, and no key of the demo's works on.
func TestDemoChatIsKeptAndItsKeysEnd(t *testing.T) {
	data := t.TempDir()
	for round := 1; round <= 2; round++ {
		ctx, cancel := context.WithCancel(t.Context())
		out := writerFunc(func(printed string) {
			if !strings.Contains(printed, "Ctrl-C") { // the last thing before it waits
				return
			}
			v := enter(t, printed)
			if page := v.read("/dashboard/"); !strings.Contains(page, `<a href="/demo">Demo chat</a>`) {
				t.Error("the navigation does not lead to the chat")
			}
			form := v.fields("/demo")
			page := v.send(v.base+"/demo/say", url.Values{"token": {form["token"]}, "conversation": {form["conversation"]}, "text": {fmt.Sprintf("Round %d", round)}, "agent": {"echo"}})
			if strings.Count(page, fmt.Sprintf(">Round %d</div>", round)) != 2 || !strings.Contains(page, "Say nothing for 45 seconds") {
				t.Errorf("the page after saying something: %s", page)
			}
			for !strings.Contains(v.read("/dashboard/exports"), ".parquet") { // made beside, within moments
				time.Sleep(10 * time.Millisecond)
			}
			cancel()
		})
		var diagnostics bytes.Buffer
		if status := runDemo(t, ctx, streams{out, &diagnostics}, "--conversations", "20", "--quiet", "--data", data, "--idle", "45s"); status != 0 || beside(&diagnostics) != "" {
			t.Fatalf("status %d\n%s", status, &diagnostics)
		}
	}
	store, err := dataFlag{Data: data}.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	totals, err := store.Totals(t.Context(), demoProject)
	if err != nil || totals.Conversations != 22 {
		t.Errorf("%d conversations, %v; want 22", totals.Conversations, err)
	}
	hits, _, err := store.Search(t.Context(), demoProject, collector.Query{Source: "demo page"}, collector.Page{Size: 10}, 0)
	if err != nil || len(hits) != 2 || hits[0].MessageCount != 2 {
		t.Errorf("of the chat page: %+v, %v", hits, err)
	}
	list, err := store.Keys(t.Context(), demoProject)
	if err != nil || len(list) != 4 {
		t.Fatalf("%d keys, %v; want 4", len(list), err)
	}
	for _, key := range list {
		if !key.Expired(time.Now()) {
			t.Errorf("a key of scope %s still works", key.Scope)
		}
	}
}

func TestOnlyTheDemoHasTheChat(t *testing.T) {
	p := startServe(t, t.TempDir())
	for _, path := range []string{"/demo", "/demo/chat.js", "/demo/say"} {
		response, err := http.Get(p.url + path)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != http.StatusNotFound {
			t.Errorf("align serve answers %s: %s", path, response.Status)
		}
	}
}

// demoProcess is a small demo in a process of its own, with a temporary folder of its own.
type demoProcess struct {
	*exec.Cmd
	stdout io.ReadCloser
	stderr bytes.Buffer
	tmp    string
}

func startDemo(t *testing.T) *demoProcess {
	t.Helper()
	p := &demoProcess{Cmd: alignCommand(t, "demo", "--conversations", "20"), tmp: t.TempDir()}
	p.Env, p.Stderr = append(p.Env, "TMPDIR="+p.tmp), &p.stderr
	var err error
	if p.stdout, err = p.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Process.Kill() }) // of no effect once it was waited for
	return p
}

// leftNothing waits for its end, and returns how that was.
func (p *demoProcess) leftNothing(t *testing.T) error {
	t.Helper()
	err := p.Wait()
	if left, readErr := os.ReadDir(p.tmp); readErr != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v; it ended with %v\n%s", left, readErr, err, &p.stderr)
	}
	return err
}

// As with `align demo | head -1`.
func TestDemoLeavesNothingBehindWhenNobodyReadsOn(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a pipe whose reader has gone is no signal on Windows")
	}
	p := startDemo(t)
	if line, err := bufio.NewReader(p.stdout).ReadString('\n'); err != nil {
		t.Fatalf("%q, %v", line, err)
	}
	p.stdout.Close()
	_ = p.leftNothing(t) // how it ends is the system's word
}

// A terminal that is closed says SIGHUP.
func TestDemoLeavesNothingBehindWhicheverSignalEndsIt(t *testing.T) {
	for _, sign := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM} {
		if signal.Ignored(sign) {
			t.Logf("%v is ignored here, and by what is started", sign)
			continue
		}
		p := startDemo(t)
		for lines := bufio.NewScanner(p.stdout); lines.Scan(); {
			if strings.HasPrefix(lines.Text(), "Ctrl-C") {
				if err := p.Process.Signal(sign); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := p.leftNothing(t); err != nil {
			t.Errorf("%v: %v\n%s", sign, err, &p.stderr)
		}
	}
}

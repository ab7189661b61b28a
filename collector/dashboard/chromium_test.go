package dashboard_test

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var screenshots = flag.String("screenshots", "", "folder for pictures of every page, light and dark, desktop and phone")

// axeVersion is the release of axe-core that pages are held against.
const axeVersion = "4.14.1"

// chromium is a headless Chromium, told what to do over a pair of pipes in its DevTools protocol, and all that it complained of.
type chromium struct {
	t       *testing.T
	ctx     context.Context
	out     io.Writer
	in      *bufio.Reader
	id      int
	session string // of the page
	host    string // the only one that pages may ask
	wrongs  []string
	loads   int // pages that were loaded to their end
}

// startChromium starts a Chromium with an empty profile, which ends with the test. Where there is none the test is skipped,
// or fails if ALIGN_CHROMIUM is set: to "required", or to the program to start.
func startChromium(t *testing.T, address string) *chromium {
	t.Helper()
	wish, program := os.Getenv("ALIGN_CHROMIUM"), ""
	for _, name := range []string{wish, "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		const advice = "no Chromium found: install one (Debian, Ubuntu: apt-get install chromium), or name it in ALIGN_CHROMIUM"
		if wish != "" {
			t.Fatal(advice)
		}
		t.Skip(advice)
	}
	parsed, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	// A browser that hangs must not hang the tests; nothing else depends on the time.
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	theirIn, ourOut, err := os.Pipe()
	ourIn, theirOut, err2 := os.Pipe()
	if err := cmp.Or(err, err2); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
		"--user-data-dir="+t.TempDir(), "--window-size=1280,860", "--remote-debugging-pipe", "about:blank")
	cmd.ExtraFiles = []*os.File{theirIn, theirOut} // descriptors 3 and 4
	cmd.WaitDelay = 10 * time.Second
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	context.AfterFunc(ctx, func() { ourIn.Close() }) // who reads then, stops
	c := &chromium{t: t, ctx: ctx, out: ourOut, in: bufio.NewReader(ourIn), host: parsed.Host}
	t.Cleanup(func() {
		_ = c.do("Browser.close", nil, nil) // so that nobody writes to the profile any more when it is removed
		ourOut.Close()
		_ = cmd.Wait()
		cancel()
		if t.Failed() {
			t.Logf("%s says:\n%.600s", program, &complaints)
		}
	})
	c.window()
	return c
}

// window opens a page in a window of its own, which commands are for from then on. It returns what to set
// session to for coming back to it.
func (c *chromium) window() (session string) {
	c.t.Helper()
	c.session = "" // the browser's own
	var target struct{ TargetID string }
	var attached struct{ SessionID string }
	c.must("Target.createTarget", object{"url": "about:blank", "newWindow": true}, &target)
	c.must("Target.attachToTarget", object{"targetId": target.TargetID, "flatten": true}, &attached)
	c.session = attached.SessionID
	for _, domain := range []string{"Page", "Network", "Log", "Audits", "Runtime"} {
		c.must(domain+".enable", nil, nil)
	}
	c.look(false, false)
	return c.session
}

type object = map[string]any

// told takes in what the browser tells on its own account, and notes what is wrong. That the sign-in page has status 401 is
// not.
func (c *chromium) told(method string, raw json.RawMessage) {
	var e struct {
		Type     string
		Request  struct{ URL string }
		Response struct {
			URL    string
			Status int
		}
		Entry            struct{ Level, Text, URL string }
		Args             json.RawMessage
		ExceptionDetails json.RawMessage
		Issue            struct {
			Code    string
			Details struct{ ContentSecurityPolicyIssueDetails json.RawMessage }
		}
	}
	if err := json.Unmarshal(raw, &e); err != nil {
		c.t.Errorf("%s: %v", method, err)
		return
	}
	wrong := func(format string, args ...any) { c.wrongs = append(c.wrongs, fmt.Sprintf(format, args...)) }
	switch method {
	case "Page.loadEventFired":
		c.loads++
	case "Network.requestWillBeSent":
		// Chromium's own date fields have pictures in data addresses; a page's would violate its policy.
		if to, err := url.Parse(e.Request.URL); err != nil || to.Host != c.host && to.Scheme != "about" && to.Scheme != "data" {
			wrong("request to %s", e.Request.URL)
		}
	case "Network.responseReceived":
		if e.Response.Status >= 400 && e.Response.Status != 401 {
			wrong("status %d of %s", e.Response.Status, e.Response.URL)
		}
	case "Log.entryAdded":
		if (e.Entry.Level == "error" || e.Entry.Level == "warning") && !strings.Contains(e.Entry.Text, "status of 401") {
			wrong("log: %s %s", e.Entry.Text, e.Entry.URL)
		}
	case "Runtime.consoleAPICalled":
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			wrong("console: %s", e.Args)
		}
	case "Runtime.exceptionThrown":
		wrong("exception: %s", e.ExceptionDetails)
	case "Page.javascriptDialogOpening":
		wrong("dialog: %s", raw)
	case "Audits.issueAdded":
		if e.Issue.Code == "ContentSecurityPolicyIssue" {
			wrong("policy violated: %s", e.Issue.Details.ContentSecurityPolicyIssueDetails)
		}
	}
}

// fine fails the test when something was wrong so far.
func (c *chromium) fine(where string) {
	c.t.Helper()
	c.eval("1", new(int)) // whatever was told before it has been read then
	for _, wrong := range c.wrongs {
		c.t.Errorf("%s: %s", where, wrong)
	}
	c.wrongs = nil
}

// open opens a page and waits until it is there.
func (c *chromium) open(path string) {
	c.t.Helper()
	before := c.loads
	c.must("Page.navigate", object{"url": "http://" + c.host + path}, nil)
	c.loaded(before)
}

// loaded waits until a page is there that was not before.
func (c *chromium) loaded(before int) {
	c.t.Helper()
	for c.loads == before {
		// The error is of a page that is gone.
		_ = c.do("Runtime.evaluate", object{"expression": "new Promise(done => setTimeout(done, 5))", "awaitPromise": true}, nil)
		if err := c.ctx.Err(); err != nil {
			c.t.Fatal(err)
		}
	}
}

// press clicks on something that leads to another page, and waits until that is there.
func (c *chromium) press(selector string) {
	c.t.Helper()
	before := c.loads
	c.click(selector)
	c.loaded(before)
}

// click clicks with the mouse on the middle of something, as a person would. It must be visible and nothing may cover it.
func (c *chromium) click(selector string) {
	c.t.Helper()
	var at []float64
	c.eval(fmt.Sprintf(`(() => {
		const e = document.querySelector(%q);
		e.scrollIntoView({block: "center", behavior: "instant"});
		const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;
		return e.contains(document.elementFromPoint(x, y)) ? [x, y] : null;
	})()`, selector), &at)
	if at == nil {
		c.t.Fatalf("%s cannot be clicked on", selector)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		c.must("Input.dispatchMouseEvent", object{"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1}, nil)
	}
}

// write types into a field in place of what is there.
func (c *chromium) write(selector, text string) {
	c.t.Helper()
	c.eval(fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.focus(); e.value = ""; return 1 })()`, selector), new(int))
	c.must("Input.insertText", object{"text": text}, nil)
}

// eval returns what an expression in the page is, once it is settled.
func (c *chromium) eval(expression string, value any) {
	c.t.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	c.must("Runtime.evaluate", object{"expression": expression, "awaitPromise": true, "returnByValue": true}, &answer)
	if answer.ExceptionDetails != nil {
		c.t.Fatalf("%.200s: %s", expression, answer.ExceptionDetails)
	}
	if err := json.Unmarshal(answer.Result.Value, value); err != nil {
		c.t.Fatalf("%.200s: %v", expression, err)
	}
}

// wait returns when a condition in the page holds.
func (c *chromium) wait(condition string) {
	c.t.Helper()
	c.eval(`new Promise(resolve => { const look = () => `+condition+` ? resolve(true) : setTimeout(look, 5); look() })`, new(bool))
}

// text is what the page says.
func (c *chromium) text() (text string) {
	c.t.Helper()
	c.eval(`document.body.innerText`, &text)
	return text
}

// look sets how the page is looked at.
func (c *chromium) look(dark, phone bool) {
	c.t.Helper()
	scheme, width, height := "light", 1280, 860
	if dark {
		scheme = "dark"
	}
	if phone {
		width, height = 390, 844
	}
	c.must("Emulation.setDeviceMetricsOverride", object{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}, nil)
	c.must("Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// picture keeps pictures of a page where the flag says.
func (c *chromium) picture(name string) {
	c.t.Helper()
	if *screenshots == "" {
		return
	}
	for _, dark := range []bool{false, true} {
		for _, phone := range []bool{false, true} {
			c.look(dark, phone)
			c.eval(`scrollTo(0, 0), 1`, new(int)) // what sticks to the top is there then
			var size struct {
				CSSContentSize struct{ Width, Height float64 }
			}
			c.must("Page.getLayoutMetrics", nil, &size)
			var picture struct{ Data []byte }
			c.must("Page.captureScreenshot", object{"captureBeyondViewport": true,
				"clip": object{"x": 0, "y": 0, "width": size.CSSContentSize.Width, "height": min(size.CSSContentSize.Height, 2400), "scale": 1}}, &picture)
			file := name + map[bool]string{false: "-light", true: "-dark"}[dark] + map[bool]string{false: "", true: "-phone"}[phone] + ".png"
			if err := os.WriteFile(filepath.Join(*screenshots, file), picture.Data, 0o644); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	c.look(false, false)
}

func (c *chromium) must(method string, params object, result any) {
	c.t.Helper()
	if err := c.do(method, params, result); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
}

// do sends one command and reads until its answer.
func (c *chromium) do(method string, params object, result any) error {
	c.id++
	command := object{"id": c.id, "method": method}
	if params != nil {
		command["params"] = params
	}
	if c.session != "" && method != "Browser.close" {
		command["sessionId"] = c.session
	}
	raw, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := c.out.Write(append(raw, 0)); err != nil {
		return err
	}
	for {
		raw, err := c.in.ReadBytes(0)
		if err != nil {
			return errors.Join(err, c.ctx.Err())
		}
		var answer struct {
			ID     int
			Error  *struct{ Message string }
			Result json.RawMessage
			Method string
			Params json.RawMessage
		}
		if err := json.Unmarshal(raw[:len(raw)-1], &answer); err != nil {
			return err
		}
		switch {
		case answer.Method != "":
			c.told(answer.Method, answer.Params)
		case answer.ID != c.id:
		case answer.Error != nil:
			return errors.New(answer.Error.Message)
		case result != nil:
			return json.Unmarshal(answer.Result, result)
		default:
			return nil
		}
	}
}

// axe returns axe-core, or nothing where it cannot be had.
func axe(t *testing.T) string {
	t.Helper()
	npm, err := exec.LookPath("npm")
	if err != nil {
		t.Log("no npm found: pages are not held against axe-core")
		return ""
	}
	dir := t.TempDir()
	pack := exec.CommandContext(t.Context(), npm, "pack", "--silent", "--pack-destination", dir, "axe-core@"+axeVersion)
	pack.Dir = dir
	if out, err := pack.CombinedOutput(); err != nil {
		t.Logf("axe-core %s cannot be had: %v: %.200s", axeVersion, err, out)
		return ""
	}
	text, err := exec.CommandContext(t.Context(), "tar", "-xzOf", filepath.Join(dir, "axe-core-"+axeVersion+".tgz"), "package/axe.min.js").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// accessible fails the test when axe-core finds a serious violation, by day or by night, on a desktop or a phone.
func (c *chromium) accessible(axe, where string) {
	c.t.Helper()
	if axe == "" {
		return
	}
	for _, look := range []struct{ dark, phone bool }{{false, false}, {true, false}, {false, true}} {
		c.look(look.dark, look.phone)
		var found []struct {
			ID, Impact, Help string
			Nodes            []struct {
				HTML           string
				FailureSummary string
			}
		}
		var text string
		c.eval(axe+";0", new(int))
		c.eval(`axe.run(document, {resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations))`, &text)
		if err := json.Unmarshal([]byte(text), &found); err != nil {
			c.t.Fatal(err)
		}
		for _, violation := range found {
			if violation.Impact == "serious" || violation.Impact == "critical" || violation.Impact == "moderate" {
				for _, node := range violation.Nodes[:min(3, len(violation.Nodes))] {
					c.t.Errorf("%s (dark %v, phone %v): %s: %s\n%.300s\n%.300s", where, look.dark, look.phone, violation.ID, violation.Help, node.HTML, node.FailureSummary)
				}
			}
		}
	}
	c.look(false, false)
}

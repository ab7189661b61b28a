package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// browser is a headless Chromium, told what to do over a pair of pipes in its DevTools protocol.
type browser struct {
	t       *testing.T
	ctx     context.Context
	out     io.Writer
	in      *bufio.Reader
	id      int
	session string // of the page
}

// startBrowser starts a Chromium with an empty profile, which ends with the test. Where there is none the test is skipped,
// or fails if ALIGN_CHROMIUM is set: to "required", or to the program to start.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	wish := os.Getenv("ALIGN_CHROMIUM")
	program := ""
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
	// A browser that hangs must not hang the tests; nothing else depends on the time.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	theirIn, ourOut, err := os.Pipe()
	ourIn, theirOut, err2 := os.Pipe()
	if err := cmp.Or(err, err2); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage",
		"--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
		"--user-data-dir="+t.TempDir(), "--window-size=760,760", "--remote-debugging-pipe", "about:blank")
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
	b := &browser{t: t, ctx: ctx, out: ourOut, in: bufio.NewReader(ourIn)}
	t.Cleanup(func() {
		b.do("Browser.close", nil, nil) // so that nobody writes to the profile any more when it is removed
		ourOut.Close()
		cmd.Wait()
		cancel()
		if t.Failed() {
			t.Logf("%s says:\n%s", program, &complaints)
		}
	})
	return b
}

// open opens a page in a tab of its own, and waits until it is there.
func (b *browser) open(url string) {
	b.t.Helper()
	var target struct{ TargetID string }
	var attached struct{ SessionID string }
	b.session = ""
	b.must("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	b.must("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	b.must("Page.navigate", map[string]any{"url": url}, nil)
	b.wait(fmt.Sprintf(`location.href === %q && document.readyState === "complete"`, url))
}

// eval returns what an expression in the page is, once it is settled.
func (b *browser) eval(expression string) (value any) {
	b.t.Helper()
	var answer struct {
		Result           struct{ Value any }
		ExceptionDetails any
	}
	b.must("Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &answer)
	if answer.ExceptionDetails != nil {
		b.t.Fatalf("%s: %v", expression, answer.ExceptionDetails)
	}
	return answer.Result.Value
}

// wait returns when a condition in the page holds.
func (b *browser) wait(condition string) {
	b.t.Helper()
	b.eval(`new Promise(resolve => { const look = () => ` + condition + ` ? resolve() : setTimeout(look, 5); look() })`)
}

// click clicks with the mouse on the middle of an element, as a person would: it must be visible and nothing may cover it.
func (b *browser) click(selector string) {
	b.t.Helper()
	at, ok := b.eval(fmt.Sprintf(`(() => {
		const e = document.querySelector(%q);
		e.scrollIntoView({block: "center", behavior: "instant"});
		const r = e.getBoundingClientRect(), x = r.x + r.width / 2, y = r.y + r.height / 2;
		return e.contains(document.elementFromPoint(x, y)) ? [x, y] : null;
	})()`, selector)).([]any)
	if !ok {
		b.t.Fatalf("%s cannot be clicked on", selector)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		b.must("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1}, nil)
	}
}

// write types into the element that has the focus.
func (b *browser) write(text string) {
	b.t.Helper()
	b.must("Input.insertText", map[string]any{"text": text}, nil)
}

// screenshot keeps a picture of the page where THUMBS_SCREENSHOTS says.
func (b *browser) screenshot(name string) {
	dir := os.Getenv("THUMBS_SCREENSHOTS")
	if dir == "" {
		return
	}
	var picture struct{ Data []byte }
	b.must("Page.captureScreenshot", nil, &picture)
	if err := os.WriteFile(dir+"/"+name+".png", picture.Data, 0o644); err != nil {
		b.t.Error(err)
	}
}

func (b *browser) must(method string, params map[string]any, result any) {
	b.t.Helper()
	if err := b.do(method, params, result); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
}

// do sends one command and reads until its answer; what the browser tells on its own account is not looked at.
func (b *browser) do(method string, params map[string]any, result any) error {
	b.id++
	command := map[string]any{"id": b.id, "method": method, "params": params}
	if params == nil {
		delete(command, "params")
	}
	if b.session != "" && method != "Browser.close" {
		command["sessionId"] = b.session
	}
	raw, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := b.out.Write(append(raw, 0)); err != nil {
		return err
	}
	for {
		raw, err := b.in.ReadBytes(0)
		if err != nil {
			return errors.Join(err, b.ctx.Err())
		}
		var answer struct {
			ID     int
			Error  *struct{ Message string }
			Result json.RawMessage
		}
		if err := json.Unmarshal(raw[:len(raw)-1], &answer); err != nil {
			return err
		}
		switch {
		case answer.ID != b.id:
		case answer.Error != nil:
			return errors.New(answer.Error.Message)
		case result != nil:
			return json.Unmarshal(answer.Result, result)
		default:
			return nil
		}
	}
}

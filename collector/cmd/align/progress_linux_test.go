package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"golang.org/x/sys/unix"

	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// screen is a pseudo terminal: what a program writes to tty is read as what a terminal would be told.
type screen struct {
	tty   *os.File
	begun chan struct{} // closed when something is shown
	shown chan string
}

func newScreen(t *testing.T) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100})
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &screen{begun: make(chan struct{}), shown: make(chan string, 1)}
	if s.tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	go func() {
		var b bytes.Buffer
		if _, err := io.CopyN(&b, master, 1); err == nil {
			close(s.begun)
		}
		_, _ = io.Copy(&b, master) // it ends with an error once nobody has the other side open
		master.Close()
		s.shown <- b.String()
	}()
	return s
}

// end returns all that was shown.
func (s *screen) end() string {
	s.tty.Close()
	return <-s.shown
}

// What takes long shows a bar on a terminal, and wipes it away; what was asked for is not in its way.
func TestLongCommandsShowABarOnATerminal(t *testing.T) {
	data := t.TempDir()
	day := fillDay(t, data, 4000)
	spool := fillSpool(t, 500)
	var s *screen
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-s.begun })) // or all would be over before anybody looks
	t.Cleanup(slow.Close)
	_, handler := alignv1connect.NewConversationServiceHandler(manyPages{})
	pages := httptest.NewServer(handler)
	t.Cleanup(pages.Close)
	for name, c := range map[string]struct {
		args   []string
		things string
		counts bool // of a total that is not known
		out    string
	}{
		"replay": {[]string{"replay", "--data", data}, "facts", false, ""},
		"idle":   {[]string{"replay", "--data", data, "--idle", "10m"}, "sessions", true, "IDLE"},
		"backup": {[]string{"backup", "--data", data, filepath.Join(t.TempDir(), "copy.db")}, "bytes", false, ""},
		"export": {[]string{"export", "--data", data, "--project", "shop", "--day", day.String(), "--format", "ndjson"}, "bytes", true, `{"`},
		"report": {[]string{"report", "--data", data, "--project", "shop", "--out", "-", "--format", "md"}, "steps", false, "# shop"},
		"spool":  {[]string{"spool", "send", spool, "--host", slow.URL, "--key", "k"}, "events", false, "delivered, 0 left"},
		"list":   {[]string{"conversations", "list", "--host", pages.URL, "--key", "k", "--limit", "2000"}, "conversations", true, "conversation-1999"},
		"erase":  {[]string{"erase", "--data", copied(t, data), "--project", "shop", "--user", "nobody"}, "facts", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s = newScreen(t)
			var out bytes.Buffer
			status := run(t.Context(), c.args, streams{&out, s.tty})
			shown := s.end()
			if status != 0 {
				t.Fatalf("status %d: %q", status, shown)
			}
			if !strings.Contains(shown, c.things) || !strings.Contains(shown, "\r") || strings.Contains(shown, "%") == c.counts {
				t.Errorf("the screen shows %q", shown)
			}
			bar := shown[:strings.LastIndex(shown, "\r")]
			if rest := shown[len(bar)+1:]; strings.Contains(rest, "█") || strings.Contains(rest, "%") {
				t.Errorf("the bar is left: %q", rest)
			}
			if !strings.Contains(out.String(), c.out) || strings.Contains(out.String(), "\r") || strings.Contains(out.String(), "█░") {
				t.Errorf("standard output is %.300q", out.String())
			}
		})
	}
}

// manyPages has conversations without end.
type manyPages struct {
	alignv1connect.UnimplementedConversationServiceHandler
}

func (manyPages) SearchConversations(_ context.Context, req *connect.Request[alignv1.SearchConversationsRequest]) (*connect.Response[alignv1.SearchConversationsResponse], error) {
	from, _ := strconv.Atoi(req.Msg.GetPageToken()) // empty is 0
	page := &alignv1.SearchConversationsResponse{NextPageToken: strconv.Itoa(from + int(req.Msg.GetPageSize()))}
	for i := range int(req.Msg.GetPageSize()) {
		page.Conversations = append(page.Conversations, &alignv1.Conversation{Id: fmt.Sprint("conversation-", from+i)})
	}
	return connect.NewResponse(page), nil
}

// copied is a copy of a data folder.
func copied(t *testing.T, data string) string {
	t.Helper()
	dir := t.TempDir()
	if status, _, errs := ran(t, "backup", "--data", data, filepath.Join(dir, databaseFile)); status != 0 {
		t.Fatal(errs)
	}
	return dir
}

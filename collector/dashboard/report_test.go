package dashboard_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/metrics"
	"github.com/openalign/align/collector/report"
)

// A report has the dashboard's pictures, and is held against the same bars: here, where the browser is.
func TestReportInABrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: not with -short")
	}
	w := lively(t, 20)
	day := time.Now().UTC().Truncate(24 * time.Hour)
	empty := newWorld(t, dashboard.Options{})
	pages := map[string]string{}
	for name, of := range map[string]struct {
		*world
		opts report.Options
	}{
		"report":         {w, report.Options{To: day}},
		"report-content": {w, report.Options{To: day.AddDate(0, 0, 1), Content: true, Worst: 200, Link: "https://align.example.com"}},
		"report-empty":   {empty, report.Options{To: day}},
	} {
		of.opts.Project, of.opts.From = project, of.opts.To.AddDate(0, 0, -report.DefaultDays)
		made, err := report.Make(context.Background(), of.store, &metrics.Engine{Store: of.store}, of.opts)
		if err != nil {
			t.Fatal(err)
		}
		var page strings.Builder
		if err := made.HTML(&page); err != nil {
			t.Fatal(err)
		}
		pages["/"+name] = page.String()
	}
	for _, want := range []string{"That is not what I asked.", "&lt;script&gt;alert(1)&lt;/script&gt;"} {
		if !strings.Contains(pages["/report-content"], want) {
			t.Errorf("the report with content has no %q", want)
		}
	}
	var others atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if pages[r.URL.Path] == "" {
			others.Add(1)
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(pages[r.URL.Path])) // the browser has gone
	}))
	t.Cleanup(web.Close)
	c := startChromium(t, web.URL)
	tool := axe(t)
	for path := range pages {
		c.open(path)
		for _, phone := range []bool{false, true} {
			c.look(false, phone)
			var sideways bool
			if c.eval(`document.documentElement.scrollWidth > document.documentElement.clientWidth`, &sideways); sideways {
				t.Errorf("%s scrolls sideways, on a phone: %v", path, phone)
			}
		}
		c.picture(path[1:])
		c.accessible(tool, path)
		c.print(path[1:])
		c.fine(path)
	}
	if n := others.Load(); n > 0 {
		t.Errorf("%d requests for something else", n)
	}
}

// print keeps what a page looks like on paper, where pictures are wanted.
func (c *chromium) print(name string) {
	c.t.Helper()
	var paper struct{ Data []byte }
	c.must("Page.printToPDF", object{"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": false}, &paper)
	if len(paper.Data) == 0 {
		c.t.Errorf("%s: nothing is printed", name)
	}
	if *screenshots == "" {
		return
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".pdf"), paper.Data, 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.must("Emulation.setDeviceMetricsOverride", object{"width": 794, "height": 1123, "deviceScaleFactor": 1, "mobile": false}, nil)
	c.must("Emulation.setEmulatedMedia", object{"media": "print"}, nil)
	var picture struct{ Data []byte }
	c.must("Page.captureScreenshot", object{"captureBeyondViewport": true, "clip": object{"x": 0, "y": 0, "width": 794, "height": 2400, "scale": 1}}, &picture)
	if err := os.WriteFile(filepath.Join(*screenshots, name+"-print.png"), picture.Data, 0o644); err != nil {
		c.t.Fatal(err)
	}
	c.must("Emulation.setEmulatedMedia", object{"media": ""}, nil)
	c.look(false, false)
}

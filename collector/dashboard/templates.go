package dashboard

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"mime"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/openalign/align/collector/internal/figures"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets/*
var assetFiles embed.FS

// asset is a file that pages load. Its name on the wire changes with what is in it, so that browsers may keep it for ever.
type asset struct {
	kind string
	data []byte
}

var assets, assetNames = loadAssets()

func loadAssets() (byName map[string]asset, names map[string]string) {
	byName, names = map[string]asset{}, map[string]string{}
	files, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // they are part of the program
	}
	for _, file := range files {
		data, err := assetFiles.ReadFile("assets/" + file.Name())
		if err != nil {
			panic(err)
		}
		ext := path.Ext(file.Name())
		sum := sha256.Sum256(data)
		name := strings.TrimSuffix(file.Name(), ext) + "-" + hex.EncodeToString(sum[:6]) + ext
		byName[name], names[file.Name()] = asset{mime.TypeByExtension(ext), data}, Path+"assets/"+name
	}
	return byName, names
}

// serveAsset is open to all: there is nothing in it but how pages look.
func serveAsset(w http.ResponseWriter, r *http.Request) error {
	file, ok := assets[r.PathValue("name")]
	if !ok {
		return errNoPage
	}
	w.Header().Set("Content-Type", file.kind)
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	_, _ = w.Write(file.data) // the browser has gone
	return nil
}

// templates are the pages by name, each with the layout around it.
var templates = loadTemplates()

func loadTemplates() map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	files, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err) // they are part of the program
	}
	pages := map[string]*template.Template{}
	for _, file := range files {
		if name := strings.TrimSuffix(file.Name(), ".html"); name != "layout" && name != "parts" {
			pages[name] = template.Must(template.Must(shared.Clone()).ParseFS(templateFiles, "templates/"+file.Name()))
		}
	}
	return pages
}

var functions = template.FuncMap{
	"asset":    func(name string) string { return assetNames[name] },
	"rfc":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
	"moment":   moment,
	"clock":    func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"date":     func(t time.Time) string { return t.UTC().Format("Mon 2 Jan 2006") },
	"sameDay":  func(a, b time.Time) bool { return a.UTC().Format(time.DateOnly) == b.UTC().Format(time.DateOnly) },
	"ago":      func(t time.Time) string { return ago(time.Since(t)) },
	"duration": figures.Duration,
	"count":    figures.Count,
	"bytes": func(n any) string { // an int or an int64
		if n, ok := n.(int); ok {
			return byteCount(int64(n))
		}
		return byteCount(n.(int64))
	},
	"words": words,
	"text":  func(v any) string { return fmt.Sprint(v) },
	"dict":  dict,
	"plural": func(n int, one, many string) string {
		if n == 1 {
			return "1 " + one
		}
		return figures.Count(n) + " " + many
	},
}

// dict makes a map of names and values, to hand more than one thing to a template.
func dict(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m
}

func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2 Jan 2006, 15:04")
}

// ago says roughly how long ago something was.
func ago(d time.Duration) string {
	unit := func(n int, name string) string {
		if n == 1 {
			return "1 " + name + " ago"
		}
		return strconv.Itoa(n) + " " + name + "s ago"
	}
	switch {
	case d < -time.Minute:
		return "in the future"
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return unit(int(d/time.Minute), "minute")
	case d < 48*time.Hour:
		return unit(int(d/time.Hour), "hour")
	case d < 60*24*time.Hour:
		return unit(int(d/(24*time.Hour)), "day")
	}
	return unit(int(d/(30*24*time.Hour)), "month")
}

func byteCount(n int64) string {
	switch {
	case n < 1<<10:
		return strconv.FormatInt(n, 10) + " B"
	case n < 1<<20:
		return strconv.FormatFloat(float64(n)/(1<<10), 'f', 1, 64) + " KiB"
	}
	return strconv.FormatFloat(float64(n)/(1<<20), 'f', 1, 64) + " MiB"
}

// words writes a name such as notUnderstood or not_understood as words.
func words(name string) string {
	var b strings.Builder
	for i, r := range name {
		switch {
		case r == '_':
			b.WriteByte(' ')
		case i > 0 && r >= 'A' && r <= 'Z':
			b.WriteByte(' ')
			b.WriteRune(r + ('a' - 'A'))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

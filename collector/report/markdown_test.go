package report

import (
	"math"
	"strings"
	"testing"
	"time"
	"unicode"
)

var settledDay = time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)

func TestPicturesOfCharacters(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct{ got, want string }{
		{spark([]float64{0, 50, 100, nan}, 100), "▁▅█·"}, {spark([]float64{0, 0}, 0), "▁▁"}, {spark(nil, 0), ""},
		{bar(0), "░░░░░░░░░░"}, {bar(.44), "████░░░░░░"}, {bar(2), "██████████"}, {bar(nan), ""},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}

func TestDaysAreWrittenForPeople(t *testing.T) {
	day := func(text string) time.Time {
		d, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct{ from, to, want string }{
		{"2026-03-02", "2026-03-03", "2 March 2026"}, {"2026-03-02", "2026-03-09", "2 – 8 March 2026"},
		{"2026-02-27", "2026-03-06", "27 February – 5 March 2026"}, {"2025-12-29", "2026-01-05", "29 December 2025 – 4 January 2026"},
	} {
		if got := daysOf(day(c.from), day(c.to)); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// Whatever is written, Markdown has no sign of it but behind a backslash, and it stays on its line.
func FuzzPlainTextIsNoMarkdown(f *testing.F) {
	for _, text := range []string{"", "a|b", "[x](y)", "![x](y)", "<b>&lt;", "`\\`", "www.example.com WWW.x", "http://x", "a\nb\r\u2028c", "\\", "\\\\|", "\u202e", "\xff", "wwww..www."} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := plain(text)
		if strings.Contains(strings.ToLower(got), "www.") {
			t.Errorf("%q has an address", got)
		}
		escaped := false
		for _, r := range got {
			switch {
			case escaped:
				escaped = false
			case r == '\\':
				escaped = true
			case strings.ContainsRune("`*_{}[]()#+!|~:@=^$<>", r) || unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\u202e':
				t.Fatalf("%q becomes %q, with %q", text, got, r)
			}
		}
		if escaped {
			t.Errorf("%q ends in a backslash", got)
		}
		back := strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&").Replace(unescape(got))
		if want := strings.Join(strings.Fields(text), " "); !strings.ContainsFunc(text, func(r rune) bool { return r == '\uFFFD' || unicode.IsControl(r) || r >= '\u202a' && r <= '\u2069' }) && back != want {
			t.Errorf("%q reads as %q", text, back)
		}
	})
}

// unescape takes backslashes away, one before each character.
func unescape(text string) string {
	var b strings.Builder
	escaped := false
	for _, r := range text {
		if r == '\\' && !escaped {
			escaped = true
			continue
		}
		b.WriteRune(r)
		escaped = false
	}
	return b.String()
}

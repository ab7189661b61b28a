package align

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// FuzzRetryAfter: the result is what an oracle reads, whole seconds or an HTTP date, and zero for everything else; never
// negative, and what is used of it never above the cap.
func FuzzRetryAfter(f *testing.F) {
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	for _, s := range []string{"", "0", "7", " 7 ", "-1", "+7", "7.5", "99999999999999999999", "Sun, 01 Mar 2026 00:00:40 GMT", "Sat, 28 Feb 2026 00:00:00 GMT", "Sunday, 01-Mar-26 00:00:40 GMT", "soon"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got := retryAfter(header, now)
		var want time.Duration
		text := strings.TrimSpace(header)
		digits := text != "" && strings.Trim(text, "0123456789") == ""
		if digits {
			want = maxRetryAfter
			if n, err := strconv.Atoi(text); err == nil && n < int(maxRetryAfter/time.Second) {
				want = time.Duration(n) * time.Second
			}
		} else if date, err := http.ParseTime(text); err == nil && date.After(now) {
			want = date.Sub(now)
		}
		if got != want {
			t.Errorf("%q: %v, want %v", header, got, want)
		}
	})
}

// FuzzErrorText: whatever an answer's body says, what we make of it is one printable line, no longer, without the key.
func FuzzErrorText(f *testing.F) {
	f.Add([]byte(`{"code":"unauthenticated","message":"no such key: key-secret"}`), uint8(10))
	f.Add([]byte("key-key-secretsecret\x00\x1b[31m\xff\u2028"), uint8(3))
	f.Add([]byte(strings.Repeat("k", 1024)+"key-secre"), uint8(9))
	f.Fuzz(func(t *testing.T, body []byte, echoed uint8) {
		const key = "key-secret"
		tr := transport{key: key}
		cut := key[:min(int(echoed), len(key))] // the answer echoes the key, perhaps only as far as we read
		for _, text := range [][]byte{body, append([]byte(cut), body...), append(append([]byte(nil), body...), cut...)} {
			got := tr.clean(text)
			if strings.Contains(got, key) {
				t.Errorf("%q shows the key", got)
			}
			if len(cut) >= 4 && !strings.Contains(string(body), cut) && strings.HasSuffix(got, cut) {
				t.Errorf("%q shows the start of the key", got)
			}
			if !utf8.ValidString(got) || strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Errorf("%q is not a line of print", got)
			}
		}
	})
}

// FuzzMessageKeeps: the quick answer and the tags never disagree, or an event that breaks a limit gets through, or one
// that keeps them is refused without a reason.
func FuzzMessageKeeps(f *testing.F) {
	f.Add("s1", 1, "user", "hello", "key", "value", int64(0), int64(0), uint8(3))
	f.Add(strings.Repeat("é", 64), 1<<31-1, "assistant", " ", "1a", strings.Repeat("é", 257), int64(1), int64(0), uint8(11))
	f.Add(strings.Repeat("é", 65), 0, "User", "\x00", "a\n", "\xff", int64(-62135596801), int64(0), uint8(10))
	f.Add("\u00a0", -1, "", "\u2028", "", "", int64(253402300800), int64(1), uint8(1))
	r := newRules(Config{}.withDefaults().Limits)
	f.Fuzz(func(t *testing.T, session string, index int, role, content, key, value string, seconds, nanos int64, properties uint8) {
		m := Message{SessionID: session, Index: index, Role: Role(role), Content: content}
		if seconds != 0 || nanos != 0 {
			m.CreateTime = time.Unix(seconds, nanos)
		}
		for i := range min(int(properties), 20) {
			if m.Properties == nil {
				m.Properties = Properties{}
			}
			m.Properties[key+strings.Repeat("x", i)] = value
		}
		tags := r.validate.Struct(&m)
		if _, quick := m.keeps(r, nil); quick != (tags == nil) {
			t.Errorf("quick answer %v, tags say %v", quick, tags)
		}
	})
}

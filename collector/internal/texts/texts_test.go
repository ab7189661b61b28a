package texts

import "testing"

func TestTextIsCutBetweenCodePoints(t *testing.T) {
	for _, c := range []struct {
		text string
		max  int
		want string
		more bool
	}{{"añ🙈b", 3, "añ🙈", true}, {"añ🙈b", 4, "añ🙈b", false}, {"añ🙈b", 9, "añ🙈b", false}, {"", 0, "", false}, {"a", 0, "", true}} {
		if got, more := Cut(c.text, c.max); got != c.want || more != c.more {
			t.Errorf("%q to %d: %q %v, want %q %v", c.text, c.max, got, more, c.want, c.more)
		}
		if got, marked := Brief(c.text, c.max), c.want+map[bool]string{true: "…"}[c.more]; got != marked {
			t.Errorf("%q to %d in brief: %q, want %q", c.text, c.max, got, marked)
		}
	}
}

package dashboard

import "testing"

func TestTextIsCutBetweenCharacters(t *testing.T) {
	for _, c := range []struct {
		text string
		max  int
		want string
		more bool
	}{{"", 0, "", false}, {"é", 1, "", true}, {"aé", 2, "a", true}, {"aé", 3, "aé", false}, {`"a`, 4, "", true}, {`"a`, 5, `"`, true}, {`"a`, 6, `"a`, false}} {
		if got, more := cutEscaped(c.text, c.max); got != c.want || more != c.more {
			t.Errorf("%q to %d: %q %v, want %q %v", c.text, c.max, got, more, c.want, c.more)
		}
	}
}

func TestNamesReadLikeWords(t *testing.T) {
	for got, want := range map[string]string{words("notUnderstood"): "not understood", words("session_open"): "session open"} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

package figures

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestNumbersReadLikeNumbers(t *testing.T) {
	for got, want := range map[string]string{
		Count(0): "0", Count(-1234): "-1 234", Count(999): "999", Count(1234567): "1 234 567",
		Duration(1500 * time.Microsecond): "1.5 ms", Duration(1234 * time.Millisecond): "1.23 s", Duration(90 * time.Minute): "90 min",
		Percent(.7081): "70.8 %", Percent(1): "100 %", Percent(math.NaN()): "–", Signed(-.04): "±0", Signed(2.25): "+2.2",
		Growth(99, 10): "+890.0 %", Growth(5, 10): "−50.0 %", Growth(17200, 100): "× 172", Growth(1e6, 1): "× 1 000 000",
	} {
		if plain := strings.ReplaceAll(got, "\u202f", " "); plain != want {
			t.Errorf("%q, want %q", plain, want)
		}
	}
}

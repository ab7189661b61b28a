package align

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestHistoryKeepsTheNewestWithinItsBudget(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		h := &History{MaxMessages: random.IntN(6) - 1, MaxBytes: random.IntN(40) - 1}
		messages, bytes := h.MaxMessages, h.MaxBytes
		if messages == 0 {
			messages = DefaultHistoryMessages
		}
		if bytes == 0 {
			bytes = DefaultHistoryBytes
		}
		var all []Line
		for range random.IntN(20) {
			var lines []Line
			for range random.IntN(4) {
				role := []Role{RoleUser, RoleAssistant}[random.IntN(2)]
				lines = append(lines, Line{role, strings.Repeat("x", random.IntN(12))})
			}
			h.Add(lines...)
			all = append(all, lines...)
		}
		kept := h.Lines()
		size := 0
		for _, l := range kept {
			size += len(l.Text)
		}
		switch at := len(all) - len(kept); {
		case at != h.Dropped() || !slices.Equal(kept, all[at:]):
			t.Fatalf("kept %v of %v, %d dropped", kept, all, h.Dropped())
		case messages >= 0 && len(kept) > messages, bytes >= 0 && size > bytes, size != h.bytes:
			t.Fatalf("%d messages, %d bytes (%d), of at most %d and %d", len(kept), size, h.bytes, messages, bytes)
		case at > 0 && len(kept) > 0 && kept[0].Role != RoleUser:
			t.Fatalf("begins with %v after %d dropped", kept[0], at)
		case messages < 0 && bytes < 0 && at > 0:
			t.Fatalf("dropped %d without a budget", at)
		}
	}
}

func TestHistoryHasADefaultBudget(t *testing.T) {
	var many, long History
	for i := range 2 * DefaultHistoryMessages {
		many.Add(Line{RoleUser, fmt.Sprint(i)})
		long.Add(Line{RoleUser, strings.Repeat("x", 2000)})
	}
	if n := len(many.Lines()); n != DefaultHistoryMessages || many.Lines()[n-1].Text != "199" || many.Dropped() != n {
		t.Errorf("%d messages, %d dropped", n, many.Dropped())
	}
	if n := len(long.Lines()); n != DefaultHistoryBytes/2000 {
		t.Errorf("%d long messages", n)
	}
}

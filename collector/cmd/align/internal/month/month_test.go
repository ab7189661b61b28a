package month

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

func TestDump(t *testing.T) {
	m := New(1, time.Date(2026, 11, 21, 13, 0, 0, 0, time.UTC), 3000)
	fmt.Printf("%+v\n", m.Tally())
	for _, c := range m.Conversations[:6] {
		for _, e := range c.Events {
			if e.Message != nil {
				fmt.Println(e.At.Format(time.DateTime), e.Message.Index, e.Message.Role, e.Message.Content)
			} else {
				b, _ := json.Marshal(e.Event)
				fmt.Println(e.At.Format(time.DateTime), string(b))
			}
		}
		fmt.Println()
	}
}

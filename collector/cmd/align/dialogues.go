package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/openalign/align"
)

// dialogue is one line of a file of conversations. Only id and turns are needed; files of real dialogues have no more.
type dialogue struct {
	ID      string             `json:"id"`
	User    string             `json:"user"`    // who speaks; made up when empty
	Name    string             `json:"name"`    // what the user is called
	Country string             `json:"country"` // ISO 3166-1 alpha-2
	Turns   []turn             `json:"turns"`
	Vote    align.FeedbackType `json:"vote"` // on the whole conversation
	Idle    bool               `json:"idle"` // the user walks away: nobody closes the session
}

// turn is one message. Its outcome becomes a thumb: success up, failure down.
type turn struct {
	Role    align.Role `json:"role"`
	Text    string     `json:"text"`
	Outcome string     `json:"outcome"`
	Comment string     `json:"comment"` // with the thumb
}

// vote is the thumb on a message, empty for none.
func (t turn) vote() align.FeedbackType {
	switch t.Outcome {
	case "success":
		return align.ThumbsUp
	case "failure":
		return align.ThumbsDown
	}
	return ""
}

//go:embed demo.jsonl
var demoScript []byte

// readDialogues reads the dialogues of a JSON-lines file, gzipped or not; of the demo's own script when file is empty.
func readDialogues(file string) ([]dialogue, error) {
	if file == "" {
		return parseDialogues(bytes.NewReader(demoScript))
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dialogues, err := parseDialogues(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return dialogues, nil
}

// parseDialogues fills in what a line may leave out: users and their countries in turn, and somebody who walks away.
func parseDialogues(r io.Reader) (dialogues []dialogue, err error) {
	buffered := bufio.NewReader(r)
	r = buffered
	if magic, _ := buffered.Peek(2); string(magic) == "\x1f\x8b" {
		if r, err = gzip.NewReader(buffered); err != nil {
			return nil, err
		}
	}
	countries := []string{"US", "KR", "DE", "BR", "IN", "FR", "JP", "NG", "MX", "GB", "ID", "CA"}
	ids := make(map[string]bool)
	anyIdle := false
	for lines := json.NewDecoder(r); ; {
		var d dialogue
		if err := lines.Decode(&d); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("dialogue %d: %w", len(dialogues)+1, err)
		}
		if d.ID == "" || ids[d.ID] || len(d.Turns) == 0 {
			return nil, fmt.Errorf("dialogue %d needs an id of its own and at least one turn", len(dialogues)+1)
		}
		switch d.Vote {
		case align.ThumbsUp, align.ThumbsDown, "":
		default:
			return nil, fmt.Errorf("dialogue %d (%s): vote is %q; it can be %s or %s", len(dialogues)+1, d.ID, d.Vote, align.ThumbsUp, align.ThumbsDown)
		}
		ids[d.ID] = true
		if d.User == "" {
			n := len(dialogues) % 300
			d.User = fmt.Sprintf("user-%03d", n)
			d.Name = fmt.Sprintf("Visitor %d", n)
			d.Country = countries[n%len(countries)]
		}
		anyIdle = anyIdle || d.Idle
		dialogues = append(dialogues, d)
	}
	if len(dialogues) == 0 {
		return nil, errors.New("no dialogues")
	}
	if !anyIdle {
		dialogues[len(dialogues)-1].Idle = true
	}
	return dialogues, nil
}

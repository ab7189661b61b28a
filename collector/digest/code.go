package digest

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/outcome"
)

// A digest is kept as an array of arrays in JSON: first the numbers in the order of columns, then each sample. SQLite reads
// it as well as we do, so that a view can name what is in it.

var errCode = errors.New("digest: not understood")

// AppendNumbers appends the numbers and samples of a digest to b, as they are kept.
func (d *Digest) AppendNumbers(b []byte) []byte {
	b = AppendList(append(b, '['), d.Numbers[:])
	for _, sample := range d.Samples {
		b = AppendList(append(b, ','), sample)
	}
	return append(b, ']')
}

// AppendList appends numbers to b as they are kept: a JSON array, with null for [Null].
func AppendList(b []byte, list []int64) []byte {
	b = append(b, '[')
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		if n == Null {
			b = append(b, "null"...)
		} else {
			b = strconv.AppendInt(b, n, 10)
		}
	}
	return append(b, ']')
}

// ParseNumbers reads what AppendNumbers wrote. It uses the memory of d's samples again.
func (d *Digest) ParseNumbers(b []byte) error {
	p := parser{b: b}
	p.want('[')
	numbers := p.list(d.Numbers[:0], Columns)
	if len(numbers) != Columns {
		return errCode
	}
	for i := range d.Samples {
		p.want(',')
		d.Samples[i] = p.list(d.Samples[i][:0], math.MaxInt)
	}
	p.want(']')
	if p.bad || p.at != len(b) {
		return errCode
	}
	return nil
}

// ParseList reads what AppendList wrote, and appends it to to.
func ParseList(to []int64, b []byte) ([]int64, error) {
	p := parser{b: b}
	to = p.list(to, math.MaxInt)
	if p.bad || p.at != len(b) {
		return to, errCode
	}
	return to, nil
}

// parser reads arrays of whole numbers, as AppendNumbers writes them and no other way.
type parser struct {
	b   []byte
	at  int
	bad bool
}

func (p *parser) peek() byte {
	if p.at < len(p.b) {
		return p.b[p.at]
	}
	return 0
}

func (p *parser) want(c byte) {
	if p.peek() != c {
		p.bad = true
		return
	}
	p.at++
}

// list reads an array of at most so many numbers.
func (p *parser) list(to []int64, most int) []int64 {
	p.want('[')
	if p.peek() == ']' {
		p.at++
		return to
	}
	for !p.bad {
		if len(to) == most {
			p.bad = true
			break
		}
		to = append(to, p.number())
		if p.peek() != ',' {
			break
		}
		p.at++
	}
	p.want(']')
	return to
}

func (p *parser) number() int64 {
	if p.peek() == 'n' {
		if len(p.b)-p.at >= 4 && string(p.b[p.at:p.at+4]) == "null" {
			p.at += 4
			return Null
		}
		p.bad = true
		return 0
	}
	negative := p.peek() == '-'
	if negative {
		p.at++
	}
	from, n := p.at, int64(0)
	for c := p.peek() - '0'; c <= 9; c = p.peek() - '0' {
		n = n*10 + int64(c)
		p.at++
	}
	if p.at == from || p.at-from > 19 {
		p.bad = true
	}
	if negative {
		return -n
	}
	return n
}

// Encode returns the groups as they are kept.
func (g *Groups) Encode() (string, error) {
	text, err := json.Marshal(g)
	return string(text), err
}

// Decode reads what Encode wrote.
func (g *Groups) Decode(text []byte) error {
	*g = Groups{}
	if len(text) == 0 || string(text) == "{}" {
		return nil
	}
	return json.Unmarshal(text, g)
}

// Encode returns signs as they are kept, empty for none: JSON, by key.
func (s Signs) Encode() (string, error) {
	if len(s) == 0 {
		return "", nil
	}
	text, err := json.Marshal(map[int64]outcome.Sign(s))
	return string(text), err
}

// DecodeSigns reads what Encode wrote.
func DecodeSigns(text string) (s Signs, err error) {
	if text != "" {
		err = json.Unmarshal([]byte(text), &s)
	}
	return s, err
}

// VersionOf returns the version of the assistant: custom property agent_version, or agentVersion in the conversation's data.
func VersionOf(c *collector.Conversation) string {
	if version := c.Properties["agent_version"]; version != "" {
		return version
	}
	if c.Data == "" {
		return ""
	}
	var data struct {
		AgentVersion any `json:"agentVersion"`
	}
	if json.Unmarshal([]byte(c.Data), &data) != nil {
		return ""
	}
	version, _ := data.AgentVersion.(string)
	return version
}

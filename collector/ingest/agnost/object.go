package agnost

import (
	"bytes"
	"encoding/json"
	"math"
	"strconv"
	"time"

	"github.com/openalign/align/collector/ingest/internal/scan"
)

// object is a JSON object whose members are decoded one by one, as they are asked for.
type object struct {
	members map[string][]byte
	asked   map[string]bool
	field   string // what the object is called in an error, with a dot
	err     error  // the first of the fields that are no good
}

// parse reads a body as far as to know where its members are.
func parse(body []byte) (*object, bool) {
	body = scan.TrimSpace(bytes.TrimPrefix(body, []byte("\uFEFF")))
	if !json.Valid(body) || body[0] != '{' {
		return nil, false
	}
	return members(scan.WholeText(body), ""), true // names and values may be kept as they stand
}

func members(value []byte, field string) *object {
	o := &object{members: map[string][]byte{}, asked: map[string]bool{}, field: field}
	err := scan.Object(value, func(name string, value []byte) error {
		if len(o.members) > MaxMembers {
			o.fail("", "must have at most "+strconv.Itoa(MaxMembers)+" members")
			return o.err
		}
		if string(value) != "null" { // as good as not there
			o.members[name] = value
		}
		return nil
	})
	if err != nil {
		o.fail("", "must be an object")
	}
	return o
}

// fail notes an error, unless there is one.
func (o *object) fail(name, rule string) {
	if o.err != nil {
		return
	}
	field := o.field + name
	switch {
	case field == "":
		field = "the body"
	case name == "":
		field = field[:len(field)-1]
	}
	o.err = &fieldError{field, rule}
}

// get returns the first of names that is there.
func (o *object) get(names ...string) (name string, value []byte) {
	for _, each := range names {
		o.asked[each] = true
		if found, ok := o.members[each]; ok && value == nil {
			name, value = each, found
		}
	}
	return name, value
}

// unknown counts the members that nobody asked for.
func (o *object) unknown() (count int) {
	for name := range o.members {
		if !o.asked[name] {
			count++
		}
	}
	return count
}

// text returns a member as text, empty where there is none. What is no text is given as JSON: clients are meant to encode it
// themselves, and do not always.
func (o *object) text(names ...string) string {
	_, value := o.get(names...)
	return textOf(value)
}

func textOf(value []byte) string {
	var text string
	if len(value) > 0 && value[0] == '"' && json.Unmarshal(value, &text) == nil {
		return text
	}
	var compact bytes.Buffer
	if len(value) == 0 || json.Compact(&compact, value) != nil {
		return ""
	}
	return compact.String()
}

// id is text for what must be a string.
func (o *object) id(names ...string) string {
	name, value := o.get(names...)
	if value != nil && value[0] != '"' {
		o.fail(name, "must be a string")
		return ""
	}
	return textOf(value)
}

// truth returns a boolean, or instead where there is none.
func (o *object) truth(instead bool, names ...string) bool {
	name, value := o.get(names...)
	switch string(value) {
	case "":
		return instead
	case "true", "false":
		return string(value) == "true"
	}
	o.fail(name, "must be a boolean")
	return instead
}

// maxMilliseconds is where whole numbers end in JavaScript.
const maxMilliseconds = 1 << 53

// milliseconds returns a number that is not negative; clocks of browsers give fractions.
func (o *object) milliseconds(names ...string) (ms int64, ok bool) {
	name, value := o.get(names...)
	if value == nil {
		return 0, false
	}
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil || n < 0 || n > maxMilliseconds {
		o.fail(name, "must be a number of milliseconds that is not negative")
		return 0, false
	}
	return int64(math.Round(n)), true
}

// moment returns a time, zero where there is none.
func (o *object) moment(names ...string) time.Time {
	ms, ok := o.milliseconds(names...)
	if !ok {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// object returns a member that is an object, an empty one where there is none.
func (o *object) object(name string) *object {
	_, value := o.get(name)
	switch {
	case value == nil:
		return members([]byte("{}"), name+".")
	case value[0] != '{':
		o.fail(name, "must be an object")
		return members([]byte("{}"), name+".")
	}
	inner := members(value, o.field+name+".")
	if o.err == nil {
		o.err = inner.err
	}
	return inner
}

// rest adds the members that nobody asked for to properties, as text.
func (o *object) rest(properties map[string]string) {
	for name, value := range o.members {
		if !o.asked[name] {
			properties[name] = textOf(value)
		}
	}
}

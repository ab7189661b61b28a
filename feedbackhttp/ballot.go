package feedbackhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/openalign/align"
)

// ballot is what a request says.
type ballot struct {
	Token   string
	Session string
	Index   int
	Vote    string
	Comment string
	Reasons []string

	vote align.FeedbackType // what Vote means
}

// votes are the words for thumbs, shorter than the wire's: they are typed into pages.
var votes = map[string]align.FeedbackType{"up": align.ThumbsUp, "down": align.ThumbsDown, "none": align.ThumbsNone}

// readBallot reads a request's body, in either of its two forms.
func readBallot(w http.ResponseWriter, r *http.Request) (*ballot, *Problem) {
	read := readJSON
	mediaType, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch charset := params["charset"]; {
	case err != nil, charset != "" && !strings.EqualFold(charset, "utf-8"), r.Header.Get("Content-Encoding") != "":
		mediaType = ""
	}
	switch mediaType {
	case "application/json":
	case "application/x-www-form-urlencoded":
		read = readForm
	default:
		w.Header().Set("Accept-Post", "application/json, application/x-www-form-urlencoded")
		return nil, &Problem{Code: "media_type", Message: "a vote is JSON or a form, in UTF-8 and not compressed", status: http.StatusUnsupportedMediaType}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, &Problem{Code: "too_large", Message: "a vote has at most 4096 bytes", status: http.StatusRequestEntityTooLarge}
	}
	if err != nil || !utf8.Valid(body) {
		return nil, malformed("the body is not all there, or not UTF-8", "")
	}
	b := &ballot{}
	if p := read(b, body); p != nil {
		return nil, p
	}
	thumb, ok := votes[b.Vote]
	if !ok {
		return nil, invalid("vote", "must be one of up, down, none")
	}
	b.vote = thumb
	return b, nil
}

// field returns where a field of the name goes, nil if there is none.
func (b *ballot) field(name string) any {
	switch name {
	case "token":
		return &b.Token
	case "session":
		return &b.Session
	case "index":
		return &b.Index
	case "vote":
		return &b.Vote
	case "comment":
		return &b.Comment
	case "reasons":
		return &b.Reasons
	}
	return nil
}

// readJSON reads an object field by field: encoding/json alone would take names in any case and repeated ones, and could
// not say which field is at fault.
func readJSON(b *ballot, body []byte) *Problem {
	broken := malformed("the body is not one JSON object", "")
	d := json.NewDecoder(bytes.NewReader(body))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return broken
	}
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		name, ok := key.(string)
		if err != nil || !ok {
			return broken
		}
		into := b.field(name)
		if p := single(seen, name, into); p != nil {
			return p
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return broken
		}
		if err := json.Unmarshal(value, into); err != nil {
			return malformed(name+" is of another type", name)
		}
	}
	if _, err := d.Token(); err != nil { // the closing brace
		return broken
	}
	if _, err := d.Token(); err != io.EOF {
		return broken
	}
	return checkIndex(b)
}

// readForm reads what a form sends.
func readForm(b *ballot, body []byte) *Problem {
	seen := map[string]bool{}
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		name, err := url.QueryUnescape(key)
		value, err2 := url.QueryUnescape(value)
		if err != nil || err2 != nil || !utf8.ValidString(value) {
			return malformed("the body is not a form in UTF-8", "")
		}
		into := b.field(name)
		if name != "reasons" || into == nil {
			if p := single(seen, name, into); p != nil {
				return p
			}
		}
		switch into := into.(type) {
		case *string:
			*into = value
		case *[]string:
			*into = append(*into, value)
		case *int:
			if value == "" { // a hidden field that nobody filled in
				continue
			}
			if *into, err = strconv.Atoi(value); err != nil {
				return malformed(name+" is no whole number", name)
			}
		}
	}
	return checkIndex(b)
}

// single lets every known field through once. Which one is unknown is not repeated: it may be anything.
func single(seen map[string]bool, name string, into any) *Problem {
	switch {
	case into == nil:
		return &Problem{Code: "unknown_field", Message: "a vote has the fields token, session, index, vote, comment and reasons", status: http.StatusBadRequest}
	case seen[name]:
		return &Problem{Code: "repeated_field", Message: name + " stands there twice", Field: name, status: http.StatusBadRequest}
	}
	seen[name] = true
	return nil
}

func checkIndex(b *ballot) *Problem {
	if b.Index < 0 || b.Index > math.MaxInt32 {
		return invalid("index", "must be from 1 to 2147483647, or 0 for the session as a whole")
	}
	return nil
}

func malformed(message, field string) *Problem {
	return &Problem{Code: "malformed", Message: message, Field: field, status: http.StatusBadRequest}
}

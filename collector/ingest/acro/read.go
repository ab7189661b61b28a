package acro

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/mail"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/openalign/align/collector/ingest"
	"github.com/openalign/align/collector/ingest/internal/scan"
)

// transcript is what a request says. Its JSON serves to tell whether two requests say the same.
type transcript struct {
	ConversationID      string     `json:"conversationId"`
	Start               time.Time  `json:"start"`
	End                 *time.Time `json:"end"`
	Duration            *int64     `json:"duration"` // seconds
	CustomerID          string     `json:"customerId"`
	CustomerEmail       string     `json:"customerEmail"`
	CustomerPhone       string     `json:"customerPhone"`
	AgentID             string     `json:"agentId"`
	AgentVersion        string     `json:"agentVersion"`
	Source              string     `json:"source"`
	ExternalCompanyID   string     `json:"externalCompanyId"`
	ExternalCompanyName string     `json:"externalCompanyName"`
	ExternalCompanyType string     `json:"externalCompanyType"`
	TextURL             string     `json:"textUrl"`
	AudioURL            string     `json:"audioUrl"`
	Transfer            *bool      `json:"transfer"`
	Completed           *bool      `json:"completed"`
	Lines               []line     `json:"-"`

	unknown int // members that are none of these, here and in lines
}

// line is one message. Its content is nil where the request says null.
type line struct {
	Role    string
	Content *string
	Time    *time.Time
}

// read reads a request. An error names the field and the rule, and quotes neither.
func read(body []byte) (*transcript, error) {
	body = scan.TrimSpace(bytes.TrimPrefix(body, []byte("\uFEFF")))
	if !json.Valid(body) || body[0] != '{' {
		return nil, errNotJSON
	}
	t := new(transcript)
	fields := map[string]func(field string, value []byte) error{
		"conversationId":      id(&t.ConversationID),
		"start":               moment(&t.Start),
		"end":                 momentOrNone(&t.End),
		"duration":            seconds(&t.Duration),
		"customerId":          text(&t.CustomerID, 64),
		"customerEmail":       email(&t.CustomerEmail, 320),
		"customerPhone":       text(&t.CustomerPhone, 128),
		"agentId":             text(&t.AgentID, 64),
		"agentVersion":        text(&t.AgentVersion, 128),
		"source":              text(&t.Source, 64),
		"externalCompanyId":   text(&t.ExternalCompanyID, 64),
		"externalCompanyName": text(&t.ExternalCompanyName, 256),
		"externalCompanyType": text(&t.ExternalCompanyType, 128),
		"textUrl":             link(&t.TextURL),
		"audioUrl":            link(&t.AudioURL),
		"transfer":            truth(&t.Transfer),
		"completed":           truth(&t.Completed),
		"lines":               t.lines,
	}
	seen, err := readObject(body, "", fields, &t.unknown)
	if err != nil {
		return nil, err
	}
	for _, field := range []string{"conversationId", "lines", "start"} {
		if !seen[field] {
			return nil, required(field)
		}
	}
	if t.End != nil && t.End.Before(t.Start) {
		return nil, &fieldError{"end", "must not be before start"}
	}
	return t, nil
}

// readObject reads the members of an object that fields has, counts the others, and reports which ones were there. A member
// that is null is not, unless its reader knows what to make of it: clients send null for what they do not have. Of several
// members of a name the last stands, as in JavaScript.
func readObject(object []byte, prefix string, fields map[string]func(string, []byte) error, unknown *int) (map[string]bool, error) {
	values := make(map[string][]byte, len(fields))
	err := scan.Object(object, func(name string, value []byte) error {
		if fields[name] == nil {
			*unknown++
			return nil
		}
		values[name] = value
		return nil
	})
	if err != nil {
		return nil, errNotJSON
	}
	seen := make(map[string]bool, len(values))
	for _, name := range fieldOrder {
		value, ok := values[name]
		if !ok || string(value) == "null" && name != "content" {
			continue
		}
		seen[name] = true
		if err := fields[name](prefix+name, value); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

// fieldOrder is the order in which fields are read, so that of several that are no good it is always the same one that is
// named.
var fieldOrder = []string{"conversationId", "start", "end", "duration", "customerId", "customerEmail", "customerPhone", "agentId",
	"agentVersion", "source", "externalCompanyId", "externalCompanyName", "externalCompanyType", "textUrl", "audioUrl", "transfer",
	"completed", "lines", "role", "content", "timestamp"}

func (t *transcript) lines(field string, value []byte) error {
	if value[0] != '[' {
		return &fieldError{field, "must be an array"}
	}
	t.Lines = []line{}
	return scan.List(value, func(value []byte) error {
		if len(t.Lines) == MaxLines {
			return &fieldError{field, fmt.Sprintf("must have at most %d elements", MaxLines)}
		}
		name := fmt.Sprintf("%s[%d]", field, len(t.Lines))
		if value[0] != '{' {
			return &fieldError{name, "must be an object"}
		}
		var l line
		seen, err := readObject(value, name+".", map[string]func(string, []byte) error{
			"role":      role(&l.Role),
			"content":   content(&l.Content),
			"timestamp": momentOrNone(&l.Time),
		}, &t.unknown)
		if err != nil {
			return err
		}
		for _, required := range []string{"role", "content"} {
			if !seen[required] {
				return &fieldError{name + "." + required, "is required"}
			}
		}
		t.Lines = append(t.Lines, l)
		return nil
	})
}

// Spellings of the dialect, exactly these.
const (
	roleAIAssistant = "AI_ASSISTANT"
	roleHUMAN       = "HUMAN"
)

func role(to *string) func(string, []byte) error {
	return func(field string, value []byte) error {
		if err := text(to, 0)(field, value); err != nil {
			return err
		}
		if _, known := roles[*to]; !known {
			return &fieldError{field, "must be one of AI_ASSISTANT, USER, HUMAN, TOOL, assistant, user, tool, system"}
		}
		return nil
	}
}

func content(to **string) func(string, []byte) error {
	return func(field string, value []byte) error {
		if string(value) == "null" {
			return nil
		}
		var said string
		if value[0] != '"' || json.Unmarshal(value, &said) != nil {
			return &fieldError{field, "must be a string or null"}
		}
		*to = &said
		return nil
	}
}

// text reads a string of at most limit code points; 0 means any number.
func text(to *string, limit int) func(string, []byte) error {
	return func(field string, value []byte) error {
		if value[0] != '"' || json.Unmarshal(value, to) != nil {
			return &fieldError{field, "must be a string"}
		}
		if limit > 0 && utf8.RuneCountInString(*to) > limit {
			return tooLong(field, limit)
		}
		return nil
	}
}

// canonicalUUID is the form of 36 characters, of any version and either case.
var canonicalUUID = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)

func id(to *string) func(string, []byte) error {
	return func(field string, value []byte) error {
		if err := text(to, 0)(field, value); err != nil {
			return err
		}
		if !canonicalUUID.MatchString(*to) {
			return &fieldError{field, "must be a UUID of 36 characters"}
		}
		*to = strings.ToLower(*to)
		return nil
	}
}

func email(to *string, limit int) func(string, []byte) error {
	return func(field string, value []byte) error {
		if err := text(to, limit)(field, value); err != nil || *to == "" {
			return err
		}
		if address, err := mail.ParseAddress(*to); err != nil || address.Address != *to {
			return &fieldError{field, "must be an email address"}
		}
		return nil
	}
}

func link(to *string) func(string, []byte) error {
	return func(field string, value []byte) error {
		if err := text(to, ingest.MaxValueLength)(field, value); err != nil || *to == "" {
			return err
		}
		if at, err := url.Parse(*to); err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" {
			return &fieldError{field, "must be an http or https URL"}
		}
		return nil
	}
}

func truth(to **bool) func(string, []byte) error {
	return func(field string, value []byte) error {
		switch string(value) {
		case "true", "false":
			*to = new(bool)
			**to = string(value) == "true"
			return nil
		}
		return &fieldError{field, "must be a boolean"}
	}
}

// maxSeconds bounds a duration: 31 years.
const maxSeconds = 1_000_000_000

func seconds(to **int64) func(string, []byte) error {
	return func(field string, value []byte) error {
		n, err := strconv.ParseFloat(string(value), 64)
		if err != nil || n < 0 || n != math.Trunc(n) || n > maxSeconds {
			return &fieldError{field, fmt.Sprintf("must be a whole number of seconds from 0 to %d", maxSeconds)}
		}
		whole := int64(n)
		*to = &whole
		return nil
	}
}

// layouts are the forms of a date that clients send. A fraction of a second may follow in each, and without a zone it is UTC:
// the dialect's own example is Python's datetime.isoformat, which has neither where there is none.
var layouts = []string{
	time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04Z07:00", "2006-01-02T15:04",
	"2006-01-02 15:04:05Z07:00", "2006-01-02 15:04:05", time.DateOnly,
}

func moment(to *time.Time) func(string, []byte) error {
	return func(field string, value []byte) error {
		if at, ok := parseMoment(value); ok {
			*to = at
			return nil
		}
		return &fieldError{field, "must be an ISO 8601 date, or milliseconds since 1970"}
	}
}

func momentOrNone(to **time.Time) func(string, []byte) error {
	return func(field string, value []byte) error {
		*to = new(time.Time)
		return moment(*to)(field, value)
	}
}

func parseMoment(value []byte) (at time.Time, ok bool) {
	if value[0] != '"' {
		ms, err := strconv.ParseInt(string(value), 10, 64)
		return time.UnixMilli(ms).UTC(), err == nil && ms > -1<<52 && ms < 1<<47 // until the year 6429
	}
	var text string
	if json.Unmarshal(value, &text) != nil {
		return at, false
	}
	for _, layout := range layouts {
		if at, err := time.Parse(layout, text); err == nil {
			at = at.UTC() // which may take it out of the years there are
			return at, at.Year() >= 1 && at.Year() <= 9999
		}
	}
	return at, false
}

package align

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-playground/validator/v10"
)

// Limits are the limits that differ from project to project. Zero means the default.
type Limits struct {
	// Properties is how many custom properties one call may carry. Default 10.
	Properties int
	// PropertyValue is how many Unicode code points the value of one may have. Default 256.
	PropertyValue int
}

// The default [Limits], and the pattern that custom-property keys match in every project.
const (
	DefaultLimitProperties    = 10
	DefaultLimitPropertyValue = 256
	PropertyKeyPattern        = `^[a-zA-Z][a-zA-Z0-9_]{0,63}$`
)

// rules checks what is recorded against the limits in its validate tags.
type rules struct {
	validate *validator.Validate
	limits   Limits
}

// newRules registers our own rules beside validator's.
func newRules(limits Limits) *rules {
	r := &rules{validate: validator.New(validator.WithRequiredStructEnabled()), limits: limits}
	for tag, rule := range map[string]func(reflect.Value) bool{
		"nonblank":  func(v reflect.Value) bool { return !isBlank(v.String()) },
		"text":      func(v reflect.Value) bool { return isText(v.String()) },
		"uuid36":    func(v reflect.Value) bool { return isUUID(v.String()) },
		"weburl":    func(v reflect.Value) bool { return isWebURL(v.String()) },
		"finite":    func(v reflect.Value) bool { return !math.IsNaN(v.Float()) && !math.IsInf(v.Float(), 0) },
		"data":      func(v reflect.Value) bool { _, ok := encodeData(v.Interface().(map[string]any)); return ok },
		"timestamp": func(v reflect.Value) bool { return isTimestamp(v.Interface().(time.Time)) },
		// One function for the whole map: validator's dive costs ten times as much.
		"properties": func(v reflect.Value) bool { _, ok := r.collect(nil, v.Interface().(Properties)); return ok },
	} {
		fn := func(fl validator.FieldLevel) bool { return rule(fl.Field()) }
		if err := r.validate.RegisterValidation(tag, fn); err != nil {
			panic(err) // a tag of ours is empty or reserved
		}
	}
	return r
}

// problems returns every problem of the struct that v points to as a *[FieldError].
func (r *rules) problems(v any) (problems []error) {
	var err error
	if m, ok := v.(*Message); ok && m.shortened && m.Content == "" {
		err = r.validate.StructExcept(v, "Content")
	} else {
		err = r.validate.Struct(v)
	}
	if err == nil {
		return nil
	}
	var broken validator.ValidationErrors
	if !errors.As(err, &broken) {
		return []error{err}
	}
	for _, b := range broken {
		if b.Tag() == "properties" {
			problems = append(problems, r.propertyProblems(b.StructNamespace(), b.Value().(Properties))...)
		} else {
			problems = append(problems, fieldError(b))
		}
	}
	return problems
}

// fieldError puts a broken rule of validator's into our words.
func fieldError(b validator.FieldError) *FieldError {
	e := &FieldError{Field: b.StructNamespace(), Rule: b.Tag(), Limit: b.Param()}
	switch b.Tag() {
	case "nonblank":
		e.Rule = "required"
	case "text":
		e.Rule = "utf8"
	case "timestamp":
		e.Rule = "time"
	case "uuid36":
		e.Rule, e.Limit = "uuid", "36 characters"
	case "weburl":
		e.Rule = "url"
	case "iso3166_1_alpha2":
		e.Rule = "country"
	case "bcp47_language_tag":
		e.Rule = "language"
	case "data":
		e.Rule, e.Limit = "json", "16384 bytes"
	case "oneof":
		e.Limit = strings.ReplaceAll(b.Param(), " ", ", ")
	case "gtfield", "gtefield", "ltefield":
		e.Rule = map[string]string{"gtfield": "above", "gtefield": "min", "ltefield": "max"}[b.Tag()]
	case "max":
		switch b.Kind() {
		case reflect.String:
			e.Limit += " code points"
		case reflect.Slice:
			e.Rule, e.Limit = "count", e.Limit+" elements"
		}
	}
	return e
}

// collect appends the properties to dst in the order of their keys, and reports whether every one keeps the limits.
func (r *rules) collect(dst []property, props Properties) ([]property, bool) {
	if len(props) > r.limits.Properties {
		return dst, false
	}
	for k, v := range props {
		if !isPropertyKey(k) || !isText(v) || !isAtMost(v, r.limits.PropertyValue) {
			return dst, false
		}
		dst = insert(dst, property{k, v})
	}
	return dst, true
}

// propertyProblems is the slow answer, once the fast one was no. A key that breaks the pattern is not named: it could
// be anything, content included.
func (r *rules) propertyProblems(path string, props Properties) (problems []error) {
	if len(props) > r.limits.Properties {
		problems = append(problems, &FieldError{path, "count", strconv.Itoa(r.limits.Properties) + " properties"})
	}
	badKey := false
	for k, v := range props {
		name := path + "." + k
		switch {
		case !isPropertyKey(k):
			badKey = true
		case !isText(v):
			problems = append(problems, &FieldError{name, "utf8", ""})
		case !isAtMost(v, r.limits.PropertyValue):
			problems = append(problems, &FieldError{name, "max", strconv.Itoa(r.limits.PropertyValue) + " code points"})
		}
	}
	if badKey {
		problems = append(problems, &FieldError{path, "key", PropertyKeyPattern})
	}
	return problems
}

// maxData bounds a map of the app's own, as JSON.
const maxData = 16 << 10

// encodeData returns data as a JSON object, empty for an empty one; not ok if that is impossible or too long.
func encodeData(data map[string]any) (object string, ok bool) {
	if len(data) == 0 {
		return "", true
	}
	encoded, err := json.Marshal(data)
	return string(encoded), err == nil && len(encoded) <= maxData
}

// cloneData returns a copy of data that shares no map or slice of JSON's kind with it.
func cloneData(data map[string]any) map[string]any {
	same := func(v any) any { return v }
	return mapData(data, func(s string) string { return s }, same)
}

// redactData returns data with every string masked, in maps and slices of its own. What is of no kind of JSON's own, such as
// a []string or a struct, may have strings in it, too: it becomes what it will be as JSON.
func redactData(data map[string]any, mask func(string) string) map[string]any {
	var other func(any) any
	other = func(v any) any {
		switch v.(type) {
		case nil, bool, json.Number, int, int8, int16, int32, int64, uint, uint8, uint16, uint32, uint64, float32, float64:
			return v
		}
		return mapStrings(asJSON(v), mask, other)
	}
	return mapData(data, mask, other)
}

// asJSON returns what a value is as JSON, in kinds of JSON's own; nil if it cannot be encoded this time.
func asJSON(value any) (plain any) {
	encoded, err := json.Marshal(value)
	if err != nil {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(encoded))
	d.UseNumber()
	if d.Decode(&plain) != nil {
		return nil
	}
	return plain
}

// mapData is mapStrings of an object. Nil stays nil.
func mapData(data map[string]any, f func(string) string, other func(any) any) map[string]any {
	if data == nil {
		return nil
	}
	return mapStrings(data, f, other).(map[string]any)
}

// mapStrings returns a copy of a JSON value with f applied to every string in it, but keys, and other to what is neither
// string, list nor object.
func mapStrings(value any, f func(string) string, other func(any) any) any {
	switch v := value.(type) {
	case string:
		return f(v)
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = mapStrings(v[i], f, other)
		}
		return list
	case map[string]any:
		object := make(map[string]any, len(v))
		for k := range v {
			object[k] = mapStrings(v[k], f, other)
		}
		return object
	}
	return other(value)
}

// isPropertyKey matches PropertyKeyPattern.
func isPropertyKey(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	if !isASCIILetter(s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if c := s[i]; !isAlnum(c) && c != '_' {
			return false
		}
	}
	return true
}

// isText reports whether s can travel as a protobuf string and be kept as text by any database.
func isText(s string) bool {
	return isPlain(s) || strings.IndexByte(s, 0) < 0 && utf8.ValidString(s)
}

// isPlain reports whether s is ASCII without NUL, looked at eight or sixteen bytes at a time.
func isPlain(s string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	if len(s) < 4 {
		for i := range len(s) {
			if s[i]-1 >= 0x7f {
				return false
			}
		}
		return true
	}
	if len(s) < 8 {
		w := halfWord(s) | halfWord(s[len(s)-4:])<<32
		return (w|(w-ones))&highs == 0
	}
	n := 0
	for ; n+16 <= len(s); n += 16 {
		v, w := word(s[n:n+8]), word(s[n+8:n+16])
		if (v|w|(v-ones)|(w-ones))&highs != 0 { // a byte from 0x80 up, or one that is 0 and borrows
			return false
		}
	}
	if n+8 <= len(s) {
		if w := word(s[n : n+8]); (w|(w-ones))&highs != 0 {
			return false
		}
	}
	w := word(s[len(s)-8:]) // the rest, and some before it once more
	return (w|(w-ones))&highs == 0
}

// word is the eight bytes of s, as one load.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// halfWord is the first four bytes of s.
func halfWord(s string) uint64 {
	_ = s[3]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24
}

// isBlank reports whether s is nothing but white space.
func isBlank(s string) bool {
	if s != "" && s[0] > ' ' && s[0] < utf8.RuneSelf {
		return false
	}
	return strings.TrimSpace(s) == ""
}

// isAtMost reports whether s has at most n code points.
func isAtMost(s string, n int) bool {
	return len(s) <= n || utf8.RuneCountInString(s) <= n
}

// isTimestamp reports whether t can be said in a google.protobuf.Timestamp. The zero time says nothing and can.
func isTimestamp(t time.Time) bool {
	if t.IsZero() {
		return true
	}
	year := t.UTC().Year()
	return year >= 1 && year <= 9999
}

// isID reports whether s is a usable id: not blank, text, at most 64 code points.
func isID(s string) bool {
	return !isBlank(s) && isText(s) && isAtMost(s, 64)
}

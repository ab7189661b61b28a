package align

import (
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

// newRules registers our own rules beside validator's: nonblank, text, timestamp, finite and properties.
func newRules(limits Limits) *rules {
	r := &rules{validate: validator.New(validator.WithRequiredStructEnabled()), limits: limits}
	for tag, rule := range map[string]func(reflect.Value) bool{
		"nonblank":  func(v reflect.Value) bool { return strings.TrimSpace(v.String()) != "" },
		"text":      func(v reflect.Value) bool { return isText(v.String()) },
		"timestamp": func(v reflect.Value) bool { return isTimestamp(v.Interface().(time.Time)) },
		"finite":    func(v reflect.Value) bool { return !math.IsNaN(v.Float()) && !math.IsInf(v.Float(), 0) },
		// One function for the whole map: validator's dive costs ten times as much.
		"properties": func(v reflect.Value) bool { return r.allows(v.Interface().(Properties)) },
	} {
		fn := func(fl validator.FieldLevel) bool { return rule(fl.Field()) }
		if err := r.validate.RegisterValidation(tag, fn); err != nil {
			panic(err) // a tag of ours is empty or reserved
		}
	}
	return r
}

// check returns nil, or every problem of p as *[FieldError], joined.
func (r *rules) check(p payload) error {
	if m, ok := p.(*Message); ok && m.keeps(r) {
		return nil
	}
	return r.problems(p)
}

// problems returns nil, or every problem of the struct that v points to as *[FieldError], joined.
func (r *rules) problems(v any) error {
	err := r.validate.Struct(v)
	if err == nil {
		return nil
	}
	var broken validator.ValidationErrors
	if !errors.As(err, &broken) {
		return err
	}
	var problems []error
	for _, b := range broken {
		if b.Tag() == "properties" {
			problems = append(problems, r.propertyProblems(b.StructNamespace(), b.Value().(Properties))...)
		} else {
			problems = append(problems, fieldError(b))
		}
	}
	return errors.Join(problems...)
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
	case "iso3166_1_alpha2":
		e.Rule = "country"
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

// allows is the fast answer: whether every property keeps the limits.
func (r *rules) allows(props Properties) bool {
	if len(props) > r.limits.Properties {
		return false
	}
	for k, v := range props {
		if !isPropertyKey(k) || !isText(v) || utf8.RuneCountInString(v) > r.limits.PropertyValue {
			return false
		}
	}
	return true
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
		case utf8.RuneCountInString(v) > r.limits.PropertyValue:
			problems = append(problems, &FieldError{name, "max", strconv.Itoa(r.limits.PropertyValue) + " code points"})
		}
	}
	if badKey {
		problems = append(problems, &FieldError{path, "key", PropertyKeyPattern})
	}
	return problems
}

// isPropertyKey matches PropertyKeyPattern.
func isPropertyKey(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case i > 0 && (c >= '0' && c <= '9' || c == '_'):
		default:
			return false
		}
	}
	return true
}

// isText reports whether s can travel as a protobuf string and be kept as text by any database.
func isText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
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
	return strings.TrimSpace(s) != "" && isText(s) && (len(s) <= 64 || utf8.RuneCountInString(s) <= 64)
}

package aligntest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// What goes over the wire, spelled out here and not taken from package align: whoever checks must not ask the one who is
// checked.
const (
	procedure   = "/ingestion.v1alpha.IngestionService/CollectEvents"
	contentType = "application/proto"

	typeUser         = "user_recognize"
	typeOpenSession  = "session_open"
	typeCloseSession = "session_close"
	typeMessage      = "message_create"
	typeFeedback     = "feedback_create"
)

// Limits are what the server allows beyond what the wire contract fixes. Zero fields mean their defaults.
type Limits struct {
	// BatchEvents is how many events one request may carry. Zero: any number.
	BatchEvents int
	// BatchBytes is how many bytes the body of one request may have, uncompressed. Zero: any number.
	BatchBytes int
	// Properties is how many custom properties one event may have. Zero: 10.
	Properties int
	// PropertyValue is how many Unicode code points the value of a custom property may have. Zero: 256.
	PropertyValue int
}

// Limits of the wire contract, in Unicode code points unless a comment says otherwise.
const (
	maxID            = 64
	maxDisplayName   = 64
	maxEmail         = 256
	maxTitle         = 256
	maxProperties    = 10 // per event
	maxPropertyValue = 256
	maxComment       = 2000
	maxReasons       = 10 // per feedback
	maxReason        = 64
)

var propertyKey = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,63}$`)

// violations collects what is wrong with a request. It names fields and sizes and never shows content or keys: test
// logs end up in many places.
type violations []string

func (v *violations) add(format string, args ...any) {
	*v = append(*v, fmt.Sprintf(format, args...))
}

// text checks the length of a field.
func (v *violations) text(field, value string, least, most int) {
	if n := utf8.RuneCountInString(value); n < least || n > most {
		v.add("%s has %d code points, want %d to %d", field, n, least, most)
	}
}

// checkHeaders checks what is known of a request before its body. Where a collector would refuse the request for it,
// refusal is the status.
func checkHeaders(r *http.Request) (v violations, refusal int) {
	refuse := func(status int, format string, args ...any) {
		v.add(format, args...)
		refusal = cmp.Or(refusal, status)
	}
	if r.URL.Path != procedure {
		refuse(http.StatusNotFound, "path is %q, want %q", r.URL.Path, procedure)
	}
	if r.Method != http.MethodPost {
		refuse(http.StatusMethodNotAllowed, "method is %s, want POST", r.Method)
	}
	if got := r.Header.Values("Content-Type"); !slices.Equal(got, []string{contentType}) {
		refuse(http.StatusUnsupportedMediaType, "Content-Type is %q, want %q", got, contentType)
	}
	encoding := r.Header.Get("Content-Encoding")
	if encoding != "" && encoding != "gzip" {
		refuse(http.StatusUnsupportedMediaType, "Content-Encoding is %q, want gzip or none", encoding)
	}
	if key, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); !ok || strings.TrimSpace(key) == "" {
		refuse(http.StatusUnauthorized, "Authorization holds no bearer key")
	}
	if encoding == "" && r.ContentLength < 0 {
		v.add("body is chunked, want a Content-Length")
	}
	if version := r.Header.Get("Connect-Protocol-Version"); version != "" && version != "1" {
		v.add("Connect-Protocol-Version is %q, want 1 or none", version)
	}
	return v, refusal
}

// decompress undoes the Content-Encoding.
func decompress(body []byte, encoding string) ([]byte, error) {
	if encoding != "gzip" {
		return body, nil
	}
	r, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// checkBatch checks a request's message of size bytes.
func checkBatch(batch *ingestionv1alpha.CollectEventsRequest, size int, limits Limits) violations {
	var v violations
	if !isHexID(batch.GetRequestId()) {
		v.add("request_id is not 32 lower-case hex digits")
	}
	if len(batch.ProtoReflect().GetUnknown()) > 0 {
		v.add("request has fields that the schema does not know")
	}
	n := len(batch.GetEvents()) // none is fine: clients send such requests, ours to see whether the collector takes any
	if limits.BatchEvents > 0 && n > limits.BatchEvents {
		v.add("request carries %d events, want at most %d", n, limits.BatchEvents)
	}
	if limits.BatchBytes > 0 && size > limits.BatchBytes {
		v.add("request has %d bytes, want at most %d", size, limits.BatchBytes)
	}
	seen := make(map[string]bool, n)
	for i, e := range batch.GetEvents() {
		found := checkEvent(e, limits)
		if seen[e.GetId()] {
			found.add("id stands twice in one request")
		}
		seen[e.GetId()] = true
		if e.GetProjectId() != batch.GetEvents()[0].GetProjectId() {
			found.add("project_id differs from that of the first event")
		}
		for _, problem := range found {
			v.add("event %d (%s): %s", i+1, cmp.Or(e.GetType(), "no type"), problem)
		}
	}
	return v
}

// checkEvent checks one event by itself.
func checkEvent(e *ingestionv1alpha.Event, limits Limits) violations {
	var v violations
	if id := e.GetId(); !isHexID(id) || id[12] != '7' || !strings.ContainsRune("89ab", rune(id[16])) {
		v.add("id is not a UUIDv7 in 32 lower-case hex digits")
	}
	if e.GetProjectId() == "" {
		v.add("project_id is missing")
	}
	p := e.GetProperties()
	switch e.GetType() {
	case typeOpenSession:
		v.openSession(p.GetSessionProperties())
	case typeCloseSession:
		v.closeSession(p.GetSessionProperties())
	case typeUser:
		v.user(p.GetUserProperties())
	case typeMessage:
		v.message(p.GetMessageProperties())
	case typeFeedback:
		v.feedback(p.GetFeedbackProperties())
	default:
		v.add("type is not one of the schema's")
	}
	v.properties(p.GetCustomProperties(), limits)
	v.schema("", e.ProtoReflect())
	return v
}

func (v *violations) openSession(s *ingestionv1alpha.EventProperties_SessionProperties) {
	if s == nil {
		v.add("session_properties are missing")
		return
	}
	v.text("session_id", s.GetSessionId(), 1, maxID)
	v.text("user_id", s.GetUserId(), 1, maxID)
	v.text("assistant_id", s.GetAssistantId(), 0, maxID)
	v.text("session_title", s.GetSessionTitle(), 0, maxTitle)
	if s.GetCloseReason() != 0 || s.GetSessionEndTime() != nil {
		v.add("an opening says how the session ended")
	}
}

func (v *violations) closeSession(s *ingestionv1alpha.EventProperties_SessionProperties) {
	if s == nil {
		v.add("session_properties are missing")
		return
	}
	v.text("session_id", s.GetSessionId(), 1, maxID)
	v.text("user_id", s.GetUserId(), 0, maxID)
}

func (v *violations) user(u *ingestionv1alpha.EventProperties_UserProperties) {
	if u == nil {
		v.add("user_properties are missing")
		return
	}
	v.text("user_id", u.GetUserId(), 1, maxID)
	v.text("user_display_name", u.GetUserDisplayName(), 0, maxDisplayName)
	v.text("user_email", u.GetUserEmail(), 0, maxEmail)
	if ip := u.GetUserIp(); ip != "" {
		if addr, err := netip.ParseAddr(ip); err != nil || !addr.Is4() {
			v.add("user_ip is not an IPv4 address")
		}
		if u.GetUserLocation() != nil {
			v.add("user_ip stands beside user_location, which overrides it")
		}
	}
	if u.GetUserLocation() != nil && !isCountryCode(u.GetUserLocation().GetCountryCode()) {
		v.add("country_code is not two upper-case letters")
	}
}

func (v *violations) message(m *ingestionv1alpha.EventProperties_MessageProperties) {
	if m == nil {
		v.add("message_properties are missing")
		return
	}
	v.text("session_id", m.GetSessionId(), 1, maxID)
	if m.GetMessageIndexHint() < 1 {
		v.add("message_index_hint is %d, want at least 1", m.GetMessageIndexHint())
	}
	if m.GetMessageRole() == 0 {
		v.add("message_role is missing")
	}
	if m.GetExtendedRole() != 0 && m.GetMessageRole() != ingestionv1alpha.EventProperties_MessageProperties_ROLE_ASSISTANT {
		v.add("extended_role without message_role ROLE_ASSISTANT")
	}
	// A client in its no-content mode says how long the content was instead of what it was.
	if m.GetMessageContent() == "" && m.ContentLength == nil {
		v.add("message_content is empty")
	}
	if m.GetContentLength() < 0 {
		v.add("content_length is negative")
	}
}

func (v *violations) feedback(f *ingestionv1alpha.EventProperties_FeedbackProperties) {
	if f == nil {
		v.add("feedback_properties are missing")
		return
	}
	v.text("session_id", f.GetSessionId(), 1, maxID)
	index := f.GetMessageIndexHint()
	switch f.GetFeedbackTarget() {
	case ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_MESSAGE:
		if index < 1 {
			v.add("message_index_hint is %d, want at least 1", index)
		}
	case ingestionv1alpha.EventProperties_FeedbackProperties_TARGET_SESSION:
		if index != 0 {
			v.add("message_index_hint is %d on a whole session, want none", index)
		}
	default:
		v.add("feedback_target is missing")
	}
	switch f.GetType() {
	case "thumbs_up", "thumbs_down", "": // the empty one takes the vote back
	default:
		v.add("feedback type is neither thumbs_up nor thumbs_down")
	}
	v.text("feedback user_id", f.GetUserId(), 0, maxID)
	v.text("comment", f.GetComment(), 0, maxComment)
	if n := len(f.GetReasons()); n > maxReasons {
		v.add("feedback has %d reasons, want at most %d", n, maxReasons)
	}
	for i, reason := range f.GetReasons() {
		v.text(fmt.Sprintf("reason %d", i+1), reason, 1, maxReason)
	}
	// Written so that a NaN fails, too.
	if within := f.GetScoreMin() <= f.GetScore() && f.GetScore() <= f.GetScoreMax(); f.Score != nil && !within {
		v.add("score is not within score_min and score_max")
	}
}

func (v *violations) properties(properties map[string]*ingestionv1alpha.EventProperties_CustomPropertyValue, limits Limits) {
	if n, most := len(properties), cmp.Or(limits.Properties, maxProperties); n > most {
		v.add("event has %d custom properties, want at most %d", n, most)
	}
	var badKeys, longValues int // counted, so that nothing depends on the order of a map
	for key, value := range properties {
		if !propertyKey.MatchString(key) {
			badKeys++
		}
		if utf8.RuneCountInString(value.GetStringValue()) > cmp.Or(limits.PropertyValue, maxPropertyValue) {
			longValues++
		}
	}
	if badKeys > 0 {
		v.add("%d custom property keys do not match %s", badKeys, propertyKey)
	}
	if longValues > 0 {
		v.add("%d custom property values have more than %d code points", longValues, cmp.Or(limits.PropertyValue, maxPropertyValue))
	}
}

// schema checks what holds for every field alike, in m and all within it: the schema knows it, a text has no NUL (some
// databases cannot keep one), a time is one and a duration is not negative.
func (v *violations) schema(path string, m protoreflect.Message) {
	if len(m.GetUnknown()) > 0 {
		v.add("%shas fields that the schema does not know", prefix(path))
	}
	switch m := m.Interface().(type) {
	case *timestamppb.Timestamp:
		if m.CheckValid() != nil {
			v.add("%sis not a time of the years 1 to 9999", prefix(path))
		}
		return
	case *durationpb.Duration:
		if m.CheckValid() != nil || m.AsDuration() < 0 {
			v.add("%sis not a duration from zero up", prefix(path))
		}
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() { // not m.Range, whose order is undefined
		if field := fields.Get(i); m.Has(field) {
			v.field(path, field, m.Get(field))
		}
	}
}

func (v *violations) field(path string, field protoreflect.FieldDescriptor, value protoreflect.Value) {
	if path != "" {
		path += "."
	}
	path += string(field.Name())
	switch {
	case field.IsMap():
		value.Map().Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
			v.value(path, field.MapKey(), key.Value())
			v.value(path, field.MapValue(), value)
			return true
		})
	case field.IsList():
		for i := range value.List().Len() {
			v.value(path, field, value.List().Get(i))
		}
	default:
		v.value(path, field, value)
	}
}

func (v *violations) value(path string, field protoreflect.FieldDescriptor, value protoreflect.Value) {
	switch field.Kind() {
	case protoreflect.MessageKind:
		v.schema(path, value.Message())
	case protoreflect.StringKind:
		if strings.ContainsRune(value.String(), 0) {
			v.add("%s contains NUL", path)
		}
	case protoreflect.EnumKind:
		if field.Enum().Values().ByNumber(value.Enum()) == nil {
			v.add("%s has a value that the schema does not know", path)
		}
	}
}

func prefix(path string) string {
	if path == "" {
		return ""
	}
	return path + " "
}

func isHexID(id string) bool {
	return len(id) == 32 && strings.Trim(id, "0123456789abcdef") == ""
}

func isCountryCode(code string) bool {
	return len(code) == 2 && strings.Trim(code, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == ""
}

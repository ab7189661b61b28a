package otlp

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/openalign/align/collector/ingest"
)

var (
	errUnreadable = errors.New("the body is not an OTLP export request")
	errTooMany    = fmt.Errorf("more than %d spans, records, attributes and values in a request", MaxValues)
)

// readTraces reads an ExportTraceServiceRequest, which has the fields of TracesData.
func readTraces(body []byte, isJSON bool, in *intake) error {
	data := new(tracev1.TracesData)
	if err := unmarshal(body, isJSON, data); err != nil {
		return err
	}
	for _, resource := range data.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				in.span(span, textID(isJSON))
			}
		}
	}
	return nil
}

// readLogs reads an ExportLogsServiceRequest, which has the fields of LogsData.
func readLogs(body []byte, isJSON bool, in *intake) error {
	data := new(logsv1.LogsData)
	if err := unmarshal(body, isJSON, data); err != nil {
		return err
	}
	for _, resource := range data.GetResourceLogs() {
		for _, scope := range resource.GetScopeLogs() {
			for _, record := range scope.GetLogRecords() {
				in.record(record, textID(isJSON))
			}
		}
	}
	in.tellGroups()
	return nil
}

// count returns how many items there are to decode in a body, and refuses one with too many.
func (s signal) count(body []byte, isJSON bool) (items int, err error) {
	items = ingest.Items(body) // also of the JSON in texts
	if isJSON {
		// Every message is an object, so no more are made than there are braces.
		if bytes.Count(body, []byte("{")) > MaxValues {
			return 0, errTooMany
		}
		return items, nil
	}
	n := 0
	if !values(body, s.schema, 0, &n) {
		if n > MaxValues {
			return 0, errTooMany
		}
		return 0, errUnreadable
	}
	return items + n, nil
}

func unmarshal(body []byte, isJSON bool, message proto.Message) error {
	if isJSON {
		body = bytes.TrimPrefix(body, []byte("\uFEFF"))
		if (protojson.UnmarshalOptions{DiscardUnknown: true, RecursionLimit: maxDepth}).Unmarshal(body, message) != nil {
			return errUnreadable // what protojson says may quote content
		}
		return nil
	}
	if (proto.UnmarshalOptions{RecursionLimit: maxDepth}).Unmarshal(body, message) != nil {
		return errUnreadable
	}
	return nil
}

// maxDepth bounds how deeply values may be nested.
const maxDepth = 100

// values counts the messages in a message, and reports whether it can be read that far and has no more than MaxValues. It is
// asked before anything is decoded, because a value of two bytes takes some hundred once it is.
func values(message []byte, schema protoreflect.MessageDescriptor, depth int, n *int) bool {
	if *n++; *n > MaxValues || depth > maxDepth {
		return false
	}
	for len(message) > 0 {
		number, wireType, size := protowire.ConsumeTag(message)
		if size < 0 {
			return false
		}
		message = message[size:]
		if size = protowire.ConsumeFieldValue(number, wireType, message); size < 0 {
			return false
		}
		if field := schema.Fields().ByNumber(number); wireType == protowire.BytesType && field != nil && field.Kind() == protoreflect.MessageKind {
			inner, _ := protowire.ConsumeBytes(message)
			if !values(inner, field.Message(), depth+1, n) {
				return false
			}
		}
		message = message[size:]
	}
	return true
}

// textID returns how the ids of traces and spans become text. In OTLP's JSON they are hex, which the schema's own JSON would
// take for base64: writing it as base64 again gives back what was sent.
func textID(isJSON bool) func([]byte) string {
	if isJSON {
		return func(id []byte) string { return strings.ToLower(base64.StdEncoding.EncodeToString(id)) }
	}
	return hex.EncodeToString
}

// attributes are those of a span, event or record that anyone here asks for, and the others.
type attributes map[string]*commonv1.AnyValue

func attributesOf(lists ...[]*commonv1.KeyValue) attributes {
	all := make(attributes)
	for _, list := range lists {
		for _, each := range list {
			all[each.GetKey()] = each.GetValue()
		}
	}
	return all
}

// text returns the first of names that has a text.
func (a attributes) text(names ...string) string {
	for _, name := range names {
		if text := a[name].GetStringValue(); text != "" {
			return text
		}
	}
	return ""
}

// count returns the first of names that is a whole number from 0.
func (a attributes) count(names ...string) *int64 {
	for _, name := range names {
		if value, ok := a[name].GetValue().(*commonv1.AnyValue_IntValue); ok && value.IntValue >= 0 {
			return &value.IntValue
		}
	}
	return nil
}

func (a attributes) number(name string) (float64, bool) {
	switch value := a[name].GetValue().(type) {
	case *commonv1.AnyValue_IntValue:
		return float64(value.IntValue), true
	case *commonv1.AnyValue_DoubleValue:
		return value.DoubleValue, true
	}
	return 0, false
}

// plain is a value as encoding/json would have decoded it.
func plain(value *commonv1.AnyValue) any {
	switch value := value.GetValue().(type) {
	case *commonv1.AnyValue_StringValue:
		return value.StringValue
	case *commonv1.AnyValue_BoolValue:
		return value.BoolValue
	case *commonv1.AnyValue_IntValue:
		return value.IntValue
	case *commonv1.AnyValue_DoubleValue:
		return value.DoubleValue
	case *commonv1.AnyValue_BytesValue:
		return base64.StdEncoding.EncodeToString(value.BytesValue)
	case *commonv1.AnyValue_ArrayValue:
		list := make([]any, 0, len(value.ArrayValue.GetValues()))
		for _, each := range value.ArrayValue.GetValues() {
			list = append(list, plain(each))
		}
		return list
	case *commonv1.AnyValue_KvlistValue:
		object := make(map[string]any, len(value.KvlistValue.GetValues()))
		for _, each := range value.KvlistValue.GetValues() {
			object[each.GetKey()] = plain(each.GetValue())
		}
		return object
	}
	return nil
}

// moment is a time in nanoseconds since 1970; zero where none was given.
func moment(ns uint64) time.Time {
	if ns == 0 || ns > 1<<63-1 {
		return time.Time{}
	}
	return time.Unix(0, int64(ns)).UTC()
}

package ingest

import (
	"bytes"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// mend takes out of an event what no store can keep, where that leaves an event that means the same:
//
//   - NUL in text becomes U+FFFD, in ids as elsewhere: databases end text there or refuse it, and an event lost for a NUL
//     is worse. All events that name the same id are mended alike, so they still find each other.
//   - A time that is none goes: outside the years 1 to 9999, negative nanoseconds, the zero of Unix time and before. One
//     that cannot be right, but is a time, stays in the event and is not ordered by; see [collector.Plausible].
//
// raw is the event as it came. It only serves to see cheaply that there is no NUL, which is nearly always.
func mend(event *ingestionv1alpha.Event, raw []byte) {
	if bytes.IndexByte(raw, 0) >= 0 || bytes.Contains(raw, []byte(`\u0000`)) {
		mendText(event.ProtoReflect())
	}
	mendTimes(event)
}

func mendTimes(event *ingestionv1alpha.Event) {
	mendTime(&event.CreateTime)
	properties := event.GetProperties()
	if session := properties.GetSessionProperties(); session != nil {
		mendTime(&session.SessionStartTime)
		mendTime(&session.SessionEndTime)
	}
	if message := properties.GetMessageProperties(); message != nil {
		mendTime(&message.MessageCreateTime)
		if place := message.GetPlace(); place != nil {
			mendTime(&place.Time)
		}
	}
	if user := properties.GetUserProperties(); user != nil {
		mendTime(&user.UserCreateTime)
	}
}

func mendTime(at **timestamppb.Timestamp) {
	if *at == nil {
		return
	}
	if !(*at).IsValid() || (*at).GetSeconds() <= 0 {
		*at = nil
	}
}

// timeOf is when a mended event happened: its own time, the time its message names when that is all there is, or now. Times
// that are not plausible are passed over.
func timeOf(event *ingestionv1alpha.Event, now time.Time) time.Time {
	for _, at := range []*timestamppb.Timestamp{event.GetCreateTime(), event.GetProperties().GetMessageProperties().GetMessageCreateTime()} {
		if at != nil && collector.Plausible(at.AsTime(), now) {
			return at.AsTime()
		}
	}
	return now
}

// keepable is text that any database keeps as it is.
func keepable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}

// mendText makes every text of a message keepable, however deep.
func mendText(message protoreflect.Message) {
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsMap():
			mendMap(field, value.Map())
		case field.IsList():
			list := value.List()
			for i := range list.Len() {
				if text, ok := mended(field, list.Get(i)); ok {
					list.Set(i, text)
				}
			}
		default:
			if text, ok := mended(field, value); ok {
				message.Set(field, text)
			}
		}
		return true
	})
}

func mendMap(field protoreflect.FieldDescriptor, entries protoreflect.Map) {
	type entry struct {
		key   protoreflect.MapKey
		value protoreflect.Value
	}
	var all []entry
	entries.Range(func(key protoreflect.MapKey, value protoreflect.Value) bool {
		all = append(all, entry{key, value})
		return true
	})
	for _, e := range all {
		key, value := e.key, e.value
		if text, ok := mended(field.MapKey(), key.Value()); ok {
			entries.Clear(key)
			key = text.MapKey()
		}
		if text, ok := mended(field.MapValue(), value); ok {
			value = text
		}
		entries.Set(key, value)
	}
}

// mended returns the keepable form of a text that needs one. A message is mended in place.
func mended(field protoreflect.FieldDescriptor, value protoreflect.Value) (protoreflect.Value, bool) {
	switch field.Kind() {
	case protoreflect.StringKind:
		if text := value.String(); strings.IndexByte(text, 0) >= 0 {
			return protoreflect.ValueOfString(keepable(text)), true
		}
	case protoreflect.MessageKind:
		mendText(value.Message())
	}
	return value, false
}

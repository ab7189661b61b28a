package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"iter"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// splitJSON walks the events of a JSON request. Only the envelope is looked at, so that whatever stands in an event spoils
// that event alone. Other members are skipped, known or not.
func splitJSON(request []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		// All of it is read before any of it is used, as a request that ends in the middle was not sent in full.
		if !json.Valid(request) {
			yield(nil, errNotARequest)
			return
		}
		decoder := json.NewDecoder(bytes.NewReader(request))
		if err := walkEnvelope(decoder, func(event []byte) bool { return yield(event, nil) }); err != nil {
			yield(nil, errNotARequest)
		}
	}
}

// walkEnvelope calls event for each element of the request's events until it returns false. It goes from token to token
// because a slice of all events would let a small body of very small ones take a lot of memory.
func walkEnvelope(decoder *json.Decoder, event func([]byte) bool) error {
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return errNotARequest
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		if name != "events" {
			var skipped json.RawMessage
			if err := decoder.Decode(&skipped); err != nil {
				return err
			}
			continue
		}
		switch list, err := decoder.Token(); {
		case err != nil:
			return err
		case list == nil: // null: no events
			continue
		case list != json.Delim('['):
			return errNotARequest
		}
		for decoder.More() {
			var raw json.RawMessage
			if err := decoder.Decode(&raw); err != nil {
				return err
			}
			if !event(raw) {
				return nil
			}
		}
		if _, err := decoder.Token(); err != nil { // the closing bracket
			return err
		}
	}
	return nil
}

// decodeJSON reads one event in the JSON form of the schema. Unknown members are ignored, as are names of enum values it
// does not know. What JavaScript writes and the schema cannot read is mended by [asWritable].
// When an event cannot be read, decodeJSON returns what can be had beside the error: the id.
func decodeJSON(raw []byte) (*ingestionv1alpha.Event, error) {
	options := protojson.UnmarshalOptions{DiscardUnknown: true}
	event := new(ingestionv1alpha.Event)
	if options.Unmarshal(raw, event) == nil {
		return event, nil
	}
	members, err := object(raw)
	if err != nil {
		return nil, err
	}
	id, _ := members["id"].(string)
	mended, err := json.Marshal(asWritable(members))
	if err != nil {
		return &ingestionv1alpha.Event{Id: id}, err
	}
	event = new(ingestionv1alpha.Event)
	if err := options.Unmarshal(mended, event); err != nil {
		return &ingestionv1alpha.Event{Id: id}, err
	}
	return event, nil
}

// object reads any JSON object as JavaScript would: half a surrogate pair becomes U+FFFD (cutting a text by length leaves
// one behind, and the binary form of the same clients writes U+FFFD), the last of several members of a name stands.
func object(raw []byte) (map[string]any, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var members map[string]any
	if err := decoder.Decode(&members); err != nil {
		return nil, err
	}
	if members == nil {
		return nil, errors.New("null is no event")
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	return members, nil
}

// timeMembers are the members of an event's properties that hold times, by the member they stand in.
var timeMembers = map[string][]string{
	"sessionProperties":  {"sessionStartTime", "session_start_time", "sessionEndTime", "session_end_time"},
	"session_properties": {"sessionStartTime", "session_start_time", "sessionEndTime", "session_end_time"},
	"messageProperties":  {"messageCreateTime", "message_create_time"},
	"message_properties": {"messageCreateTime", "message_create_time"},
	"userProperties":     {"userCreateTime", "user_create_time"},
	"user_properties":    {"userCreateTime", "user_create_time"},
}

// asWritable takes out of an event the times that the schema cannot hold. JavaScript writes the years 0, -1 and 10000 as
// 0000-…, -000001-… and +010000-…; the binary form lets them pass, and [mend] takes them out there.
func asWritable(event map[string]any) map[string]any {
	dropUnreadableTimes(event, "createTime", "create_time")
	if properties, ok := event["properties"].(map[string]any); ok {
		for name, times := range timeMembers {
			if members, ok := properties[name].(map[string]any); ok {
				dropUnreadableTimes(members, times...)
			}
		}
	}
	return event
}

func dropUnreadableTimes(members map[string]any, names ...string) {
	for _, name := range names {
		value, ok := members[name]
		if !ok {
			continue
		}
		if text, err := json.Marshal(value); err != nil || protojson.Unmarshal(text, new(timestamppb.Timestamp)) != nil {
			delete(members, name)
		}
	}
}

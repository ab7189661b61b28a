package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"iter"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector/ingest/internal/scan"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// splitJSON walks the events of a JSON request. Only the envelope is looked at, so that whatever stands in an event spoils
// that event alone. Other members are skipped, known or not, and so is a byte order mark, which some platforms write.
func splitJSON(request []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		request = scan.TrimSpace(bytes.TrimPrefix(request, []byte("\uFEFF")))
		stopped := false
		err := scan.Object(request, func(name string, value []byte) error {
			if name != "events" || string(value) == "null" {
				return nil
			}
			return scan.List(value, func(event []byte) error {
				if stopped = !yield(event, nil); stopped {
					return errNotARequest // anything that ends the walk
				}
				return nil
			})
		})
		if err != nil && !stopped {
			yield(nil, errNotARequest)
		}
	}
}

// decodeJSON reads one event in the JSON form of the schema. Unknown members are ignored, as are names of enum values it
// does not know. What JavaScript writes and the schema cannot read is mended by [readable].
// When an event cannot be read, decodeJSON returns what can be had beside the error: the id.
func decodeJSON(raw []byte) (*ingestionv1alpha.Event, error) {
	if tooManyMembers(raw) {
		return &ingestionv1alpha.Event{Id: salvageJSONID(raw)}, errTooManyProperties
	}
	options := protojson.UnmarshalOptions{DiscardUnknown: true}
	event := new(ingestionv1alpha.Event)
	if options.Unmarshal(raw, event) == nil {
		return event, nil
	}
	mended, err := readable(scan.WholeText(raw), event.ProtoReflect().Descriptor())
	if err == nil {
		event = new(ingestionv1alpha.Event)
		err = options.Unmarshal(mended, event)
	}
	if err != nil {
		return &ingestionv1alpha.Event{Id: salvageJSONID(raw)}, err
	}
	return event, nil
}

// tooManyMembers reports whether an event has more custom properties than it may. It is asked before the event is decoded,
// because a property of ten bytes takes some two hundred once it is.
func tooManyMembers(raw []byte) bool {
	if len(raw) < MaxProperties*len(`"":{},`) {
		return false
	}
	count := 0
	// What cannot be walked is for the decoder to refuse.
	_ = scan.Object(raw, func(name string, value []byte) error {
		if name != "properties" {
			return nil
		}
		return scan.Object(value, func(name string, value []byte) error {
			if name != "customProperties" && name != "custom_properties" {
				return nil
			}
			return scan.Object(value, func(string, []byte) error {
				if count++; count > MaxProperties {
					return errTooManyProperties
				}
				return nil
			})
		})
	})
	return count > MaxProperties
}

// salvageJSONID finds the id of an event that cannot be read as a whole.
func salvageJSONID(raw []byte) (id string) {
	_ = scan.Object(raw, func(name string, value []byte) error { // as far as it goes
		if name == "id" {
			id = "" // in case it is no text
			_ = json.Unmarshal(value, &id)
		}
		return nil
	})
	return id
}

// readable writes an object of the schema again such that the schema can read it, as JavaScript would: of several members
// of a name the last stands, and times that the schema cannot hold are left out. JavaScript writes the years 0, -1 and 10000
// as 0000-…, -000001-… and +010000-…; the binary form lets them pass, and [mend] takes them out there.
//
// It goes along the members that the schema has, and leaves out all others without looking into them: to decode whatever
// strangers send into maps can take forty times its size.
func readable(object []byte, schema protoreflect.MessageDescriptor) ([]byte, error) {
	fields := schema.Fields()
	values := make([][]byte, fields.Len())
	err := scan.Object(object, func(name string, value []byte) error {
		field := fields.ByJSONName(name)
		if field == nil {
			field = fields.ByTextName(name)
		}
		if field != nil {
			values[field.Index()] = value
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var members []member
	for i, value := range values {
		field := fields.Get(i)
		if value == nil || isTime(field) && protojson.Unmarshal(value, new(timestamppb.Timestamp)) != nil {
			continue
		}
		if value, err = readableValue(value, field); err != nil {
			return nil, err
		}
		members = append(members, member{field.JSONName(), value})
	}
	return writeObject(members)
}

func isTime(field protoreflect.FieldDescriptor) bool {
	return field.Message() != nil && field.Message().FullName() == "google.protobuf.Timestamp"
}

// readableValue is readable for the value of a field.
func readableValue(value []byte, field protoreflect.FieldDescriptor) ([]byte, error) {
	switch {
	case value[0] != '{':
		return value, nil
	case field.IsMap():
		return readableMap(value, field.MapValue())
	case field.Kind() == protoreflect.MessageKind && !field.IsList():
		return readable(value, field.Message())
	}
	return value, nil
}

// readableMap is readable for custom properties, of which there are MaxProperties at most.
func readableMap(object []byte, field protoreflect.FieldDescriptor) ([]byte, error) {
	var members []member
	at := make(map[string]int)
	err := scan.Object(object, func(name string, value []byte) (err error) {
		if value, err = readableValue(value, field); err != nil {
			return err
		}
		if i, ok := at[name]; ok {
			members[i].value = value
			return nil
		}
		at[name] = len(members)
		members = append(members, member{name, value})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return writeObject(members)
}

type member struct {
	name  string
	value []byte
}

func writeObject(members []member) ([]byte, error) {
	object := []byte{'{'}
	for i, m := range members {
		if i > 0 {
			object = append(object, ',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		object = append(append(append(object, name...), ':'), m.value...)
	}
	return append(object, '}'), nil
}

// errTooManyProperties says that an event was not decoded for its custom properties.
var errTooManyProperties = errors.New("too many custom properties")

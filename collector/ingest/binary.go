package ingest

import (
	"iter"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// Field numbers of the schema.
const (
	requestEventsField = 2  // CollectEventsRequest.events
	eventIDField       = 1  // Event.id
	propertiesField    = 4  // Event.properties
	customField        = 10 // EventProperties.custom_properties
)

// splitBinary walks the events of a binary request. Other fields are skipped, known or not: request_id says nothing that
// the events' own ids do not say better.
func splitBinary(request []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		// All of it is read before any of it is used, as a request that ends in the middle was not sent in full.
		if !wellFormed(request) {
			yield(nil, errNotARequest)
			return
		}
		for len(request) > 0 {
			number, wireType, n := protowire.ConsumeTag(request)
			request = request[n:]
			if number == requestEventsField && wireType == protowire.BytesType {
				event, n := protowire.ConsumeBytes(request)
				if !yield(event, nil) {
					return
				}
				request = request[n:]
				continue
			}
			request = request[protowire.ConsumeFieldValue(number, wireType, request):]
		}
	}
}

// wellFormed reports whether message is a run of whole fields.
func wellFormed(message []byte) bool {
	for len(message) > 0 {
		_, _, n := protowire.ConsumeField(message)
		if n < 0 {
			return false
		}
		message = message[n:]
	}
	return true
}

// decodeBinary reads one event. When it cannot, it returns what can be had beside the error: the id.
func decodeBinary(raw []byte) (*ingestionv1alpha.Event, error) {
	if tooManyEntries(raw) {
		return &ingestionv1alpha.Event{Id: salvageID(raw)}, errTooManyProperties
	}
	event := new(ingestionv1alpha.Event)
	if err := proto.Unmarshal(raw, event); err != nil {
		return &ingestionv1alpha.Event{Id: salvageID(raw)}, err
	}
	return event, nil
}

// tooManyEntries is [tooManyMembers] for the binary form.
func tooManyEntries(raw []byte) bool {
	count := 0
	for properties := range fieldsOf(raw, propertiesField) {
		for range fieldsOf(properties, customField) {
			if count++; count > MaxProperties {
				return true
			}
		}
	}
	return false
}

// fieldsOf walks the values of one field, which holds bytes, as far as the message can be read.
func fieldsOf(message []byte, field protowire.Number) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(message) > 0 {
			number, wireType, n := protowire.ConsumeTag(message)
			if n < 0 {
				return
			}
			message = message[n:]
			if n = protowire.ConsumeFieldValue(number, wireType, message); n < 0 {
				return
			}
			if number == field && wireType == protowire.BytesType {
				if value, _ := protowire.ConsumeBytes(message); !yield(value) {
					return
				}
			}
			message = message[n:]
		}
	}
}

// salvageID finds the id of an event that cannot be read as a whole. Clients write it first.
func salvageID(raw []byte) string {
	for len(raw) > 0 {
		number, wireType, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return ""
		}
		raw = raw[n:]
		if number == eventIDField && wireType == protowire.BytesType {
			id, _ := protowire.ConsumeString(raw)
			return id
		}
		if n = protowire.ConsumeFieldValue(number, wireType, raw); n < 0 {
			return ""
		}
		raw = raw[n:]
	}
	return ""
}

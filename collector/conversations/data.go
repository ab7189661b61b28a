package conversations

import (
	"bytes"
	"encoding/json"
	"math"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"
)

// Data of a conversation: a JSON object of the app's own, kept as its text.

// Limits of data. Depth is bounded because every reader of a binary answer has a limit of its own.
const (
	maxDataBytes = 16 << 10
	maxDataDepth = 100
)

// dataText returns an object's text, or why it cannot be kept.
func dataText(data *structpb.Struct) (string, error) {
	if !shallow(structpb.NewStructValue(data), maxDataDepth) {
		return "", invalid("data is nested more than %d deep, or holds something that JSON has no word for", maxDataDepth)
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(data.AsMap()); err != nil {
		return "", invalid("data cannot be written as JSON")
	}
	if n := text.Len() - 1; n > maxDataBytes { // there is a line feed
		return "", invalid("data has %d bytes as JSON; it can have %d", n, maxDataBytes)
	}
	return string(bytes.TrimSuffix(text.Bytes(), []byte("\n"))), nil
}

// shallow reports whether a value is one of JSON's, nested at most so deep.
func shallow(v *structpb.Value, depth int) bool {
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StructValue:
		for _, field := range kind.StructValue.GetFields() {
			if depth == 0 || !shallow(field, depth-1) {
				return false
			}
		}
	case *structpb.Value_ListValue:
		for _, element := range kind.ListValue.GetValues() {
			if depth == 0 || !shallow(element, depth-1) {
				return false
			}
		}
	case *structpb.Value_NumberValue:
		return !math.IsNaN(kind.NumberValue) && !math.IsInf(kind.NumberValue, 0)
	case nil:
		return false
	}
	return true
}

// object returns the object that a text is, or the text itself where it is none that can be shown as one: clients of the
// ingestion protocol may send anything.
func object(text string) (*structpb.Struct, string) {
	if text == "" {
		return nil, ""
	}
	var data structpb.Struct
	if err := protojson.Unmarshal([]byte(text), &data); err != nil || !shallow(structpb.NewStructValue(&data), maxDataDepth) {
		return nil, text
	}
	return &data, ""
}

package rpc

import (
	"errors"
	"fmt"
	"regexp"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// StrictJSON reads JSON as the schema has it and nothing else, where Connect's own codec passes over what it does not know:
// a filter that is misspelt would find everything, and what was to be kept under a wrong name would be lost. Errors say where
// and, if it can be told, which field, and repeat nothing of a request: it may be what somebody said.
func StrictJSON() connect.Option { return connect.WithCodec(strictJSON{}) }

type strictJSON struct{}

// Name implements [connect.Codec].
func (strictJSON) Name() string { return "json" }

// Marshal implements [connect.Codec].
func (strictJSON) Marshal(message any) ([]byte, error) {
	m, ok := message.(proto.Message)
	if !ok {
		return nil, errNotProto
	}
	return protojson.Marshal(m)
}

// Unmarshal implements [connect.Codec].
func (strictJSON) Unmarshal(text []byte, message any) error {
	m, ok := message.(proto.Message)
	if !ok {
		return errNotProto
	}
	if len(text) == 0 {
		return errors.New("there is nothing; an empty request is {}")
	}
	if err := protojson.Unmarshal(text, m); err != nil {
		return errors.New(wordless(err.Error()))
	}
	return nil
}

var errNotProto = errors.New("rpc: this is no message of a schema")

// All begin where the message does: what it quotes may look like anything.
var (
	place   = regexp.MustCompile(`^proto:.(?:syntax error )?\(line (\d+):(\d+)\): `)
	unknown = regexp.MustCompile(`^proto:.\(line \d+:\d+\): unknown field "`)
	field   = regexp.MustCompile(`^proto:.\(line \d+:\d+\): invalid value for \w+ field (\w+): `)
)

// wordless is what protojson says of a request without what stands there. Names of fields that the schema has are its own.
func wordless(told string) string {
	at, what := "", "this is not what the schema says"
	if found := place.FindStringSubmatch(told); found != nil {
		at = fmt.Sprintf("line %s, column %s: ", found[1], found[2])
	}
	switch found := field.FindStringSubmatch(told); {
	case unknown.MatchString(told):
		what = "the schema has no such field"
	case found != nil:
		what = found[1] + " has a value that it cannot have"
	}
	return at + what
}

package main

import (
	"fmt"

	"github.com/valyala/fastjson"
	"google.golang.org/protobuf/encoding/protowire"
)

// The server decodes everything by walking it in place: two cores are shared with it, and what it spends a client cannot.

// fields calls do for every field of a protobuf message, with the number or the bytes it holds.
func fields(b []byte, do func(n protowire.Number, number uint64, bytes []byte) error) error {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		var number uint64
		var bytes []byte
		switch kind {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			bytes, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(n, kind, b)
		}
		if size < 0 {
			return protowire.ParseError(size)
		}
		b = b[size:]
		if err := do(n, number, bytes); err != nil {
			return err
		}
	}
	return nil
}

var parsers fastjson.ParserPool

// parseJSON calls do with the document; what do sees is valid only until it returns.
func parseJSON(b []byte, do func(*fastjson.Value)) error {
	p := parsers.Get()
	defer parsers.Put(p)
	v, err := p.ParseBytes(b)
	if err != nil {
		return fmt.Errorf("not JSON: %w", err)
	}
	do(v)
	return nil
}

// parseBatch reads {"batch":[{SESSION:…,"properties":{…}},…]}, where session is the member that names the session.
func parseBatch(body []byte, session string, emit func(*event)) error {
	return parseJSON(body, func(v *fastjson.Value) {
		for _, item := range v.GetArray("batch") {
			e := eventOf(item.Get("properties"))
			e.session = item.GetStringBytes(session)
			emit(&e)
		}
	})
}

// eventOf reads the properties of an event in the formats that have no place of their own for them.
func eventOf(properties *fastjson.Value) event {
	return event{
		index:   properties.GetInt("index"),
		role:    properties.GetStringBytes("role"),
		content: properties.GetStringBytes("content"),
		model:   properties.GetStringBytes("model"),
		channel: properties.GetStringBytes("channel"),
		variant: properties.GetStringBytes("variant"),
	}
}

// set puts a value where its name says.
func (e *event) set(name string, value []byte) {
	switch name {
	case "session":
		e.session = value
	case "role":
		e.role = value
	case "model":
		e.model = value
	case "channel":
		e.channel = value
	case "variant":
		e.variant = value
	}
}

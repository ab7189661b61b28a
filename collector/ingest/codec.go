package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// codec is how Connect reads a request into an [intake]: first split into events, then each decoded on its own.
// The generated message would do both at once, and fail as a whole.
type codec struct {
	name string
	// split walks the events of a request, as bytes that are valid until the next. An error ends the walk: the request
	// cannot be read.
	split func(request []byte) iter.Seq2[[]byte, error]
	// decode reads one event.
	decode func(event []byte) (*ingestionv1alpha.Event, error)
}

// Name implements connect.Codec.
func (c codec) Name() string { return c.name }

// Unmarshal implements connect.Codec. It keeps nothing of request, which Connect uses again.
func (c codec) Unmarshal(request []byte, message any) error {
	in, ok := message.(*intake)
	if !ok {
		return fmt.Errorf("ingest: codec cannot read a %T", message)
	}
	in.now = time.Now()
	taken := 0
	for raw, err := range c.split(request) {
		if err != nil {
			return err
		}
		if taken++; taken > MaxEvents {
			return fmt.Errorf("more than %d events in a request", MaxEvents)
		}
		in.take(raw, c.decode)
	}
	return nil
}

// Marshal implements connect.Codec, for the answer.
func (c codec) Marshal(message any) ([]byte, error) {
	answer, ok := message.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("ingest: codec cannot write a %T", message)
	}
	if c.name == "json" {
		return protojson.Marshal(answer)
	}
	return proto.Marshal(answer)
}

// intake is what became of one request's events.
type intake struct {
	now   time.Time
	batch collector.Batch
}

// take makes a fact of one event, or sets it aside.
func (in *intake) take(raw []byte, decode func([]byte) (*ingestionv1alpha.Event, error)) {
	event, err := decode(raw)
	var reason Reason
	switch {
	case err == nil:
		mend(event, raw)
		reason = check(event)
	case errors.Is(err, errTooManyProperties):
		reason = PropertiesTooMany
	default:
		reason = Unreadable
	}
	if reason != "" {
		in.batch.SetAside = append(in.batch.SetAside, collector.SetAside{
			EventID:     keepable(event.GetId()),
			Reason:      string(reason),
			Raw:         bytes.Clone(raw),
			ReceiveTime: in.now,
		})
		return
	}
	in.batch.Facts = append(in.batch.Facts, collector.Fact{
		ID:          canonicalID(event.GetId()),
		Event:       event,
		Time:        timeOf(event, in.now),
		ReceiveTime: in.now,
	})
}

// reasons counts what was set aside by reason; nil when nothing was.
func (in *intake) reasons() map[Reason]int {
	if len(in.batch.SetAside) == 0 {
		return nil
	}
	reasons := make(map[Reason]int)
	for _, aside := range in.batch.SetAside {
		reasons[Reason(aside.Reason)]++
	}
	return reasons
}

// foreign counts the facts that name another project than their key's.
func (in *intake) foreign(project string) int {
	count := 0
	for _, fact := range in.batch.Facts {
		if named := fact.Event.GetProjectId(); named != "" && named != project {
			count++
		}
	}
	return count
}

// errNotARequest says that a body is not a CollectEventsRequest at all.
var errNotARequest = errors.New("body is not a CollectEventsRequest")

package ingest

import (
	"time"

	"github.com/openalign/align/collector"
)

// ReadJSON makes a fact of one event in JSON as a request at now would, or says why it would be set aside.
func ReadJSON(raw []byte, now time.Time) (fact collector.Fact, reason Reason) {
	in := intake{now: now}
	in.take(raw, decodeJSON)
	if len(in.batch.SetAside) > 0 {
		return fact, Reason(in.batch.SetAside[0].Reason)
	}
	return in.batch.Facts[0], ""
}

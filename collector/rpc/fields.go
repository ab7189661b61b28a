package rpc

import (
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
)

// Page reads the page that a request asks for: 1 to most entries, or 0 for standard. Its error, one for the client, names field.
func Page(field string, size int32, token string, standard, most int) (collector.Page, error) {
	if size < 0 || int(size) > most {
		return collector.Page{}, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%s is %d; it can be 1 to %d, or 0 for %d", field, size, most, standard))
	}
	if size == 0 {
		return collector.Page{Size: standard, Token: token}, nil
	}
	return collector.Page{Size: int(size), Token: token}, nil
}

// Timestamp leaves out a time that is not known.
func Timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

// Package ingest takes events in: the dialects clients speak, turned into [collector.Fact]s.
//
// This package has Align's own: a Connect unary call, binary or JSON, plain or gzip; and what all dialects share. The others
// have packages below it: acro, agnost and otlp. Align's clients live by a few rules that shape this package.
//
//   - A refused request is lost for good, so a request is refused only when it cannot be read or is not allowed. An event
//     that is no good is set aside with a [Reason], and the others are stored: events are decoded one by one.
//   - The answer comes after the store has made the batch durable, all of it or nothing.
//   - Clients send the same bytes again when an answer got lost. Events have ids; storing one twice changes nothing.
//   - The project is the key's. What the event says about it is only counted.
//
// What cannot be kept as sent, and can be mended without guessing, is mended rather than set aside: see [mend].
package ingest

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"mime"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/gen/ingestion/v1alpha/ingestionv1alphaconnect"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/reply"
)

// Path is where the Align dialect is served.
const Path = ingestionv1alphaconnect.IngestionServiceCollectEventsProcedure

// Appender keeps batches; a [collector.Store] does.
type Appender interface {
	// Append stores all of a batch and returns when it is durable, or stores nothing and returns an error:
	// [collector.ErrBusy] when it is worth trying again in a moment.
	Append(ctx context.Context, project string, batch collector.Batch) (collector.Appended, error)
}

// Handler serves the Align dialect. It must stand behind [keys.Require].
type Handler struct {
	store    Appender
	log      *slog.Logger
	room     room
	counters counters
	connect  *connect.Handler
}

// New returns a handler that stores into store. It logs what it sets aside: counts and reasons, never content.
func New(store Appender, log *slog.Logger) *Handler {
	h := &Handler{store: store, log: log, room: newRoom()}
	h.connect = connect.NewUnaryHandler(Path, h.collect,
		connect.WithCodec(codec{name: "proto", split: splitBinary, decode: decodeBinary}),
		connect.WithCodec(codec{name: "json", split: splitJSON, decode: decodeJSON}),
		// An answer is empty. Some clients accept gzip, and 23 bytes of gzip are not an empty body.
		connect.WithCompressMinBytes(math.MaxInt),
	)
	return h
}

// Counts returns what has been taken in since the handler was made.
func (h *Handler) Counts() Counts { return h.counters.read() }

// ServeHTTP checks what Connect would answer in a way that clients misread (a body that is too large would be 429, and be
// sent again for ever; other media types would get no Connect error at all), then leaves the protocol to Connect.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		reply.Error(w, http.StatusMethodNotAllowed, connect.CodeUnimplemented, "use POST")
		return
	}
	// Parameters such as charset are dropped: the answer repeats the media type, and clients compare it bare.
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/proto" && mediaType != "application/json" {
		w.Header().Set("Accept-Post", "application/proto, application/json")
		reply.Error(w, http.StatusUnsupportedMediaType, connect.CodeUnimplemented,
			"send application/proto or application/json")
		return
	}
	body, done, err := h.room.readBody(r, Limits{Wire: MaxWireBytes, Body: MaxBodyBytes})
	if err != nil {
		refuse(w, err)
		return
	}
	defer done()
	h.connect.ServeHTTP(w, withBody(r, mediaType, body))
}

// storeTimeout is how long a request that was read in full may wait, for room and for the store. Clients give up after 10 s.
const storeTimeout = 9 * time.Second

// patience is a context for what has to be done with a request that was read in full, whether or not its client stays.
func patience(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
}

// collect stores what the codec made of a request.
func (h *Handler) collect(ctx context.Context, req *connect.Request[intake]) (*connect.Response[emptypb.Empty], error) {
	key, ok := keys.FromContext(ctx)
	if !ok {
		return nil, connect.NewError(connect.CodeUnauthenticated, errors.New("an API key is needed"))
	}
	in := req.Msg
	inOrder(in.batch.Facts)

	var appended collector.Appended
	if len(in.batch.Facts)+len(in.batch.SetAside) > 0 {
		// The batch is here in full. A client that hangs up now need not send it again, and some never would.
		storing, cancel := patience(ctx)
		defer cancel()
		var err error
		if appended, err = h.store.Append(storing, key.Project, in.batch); err != nil {
			return nil, h.notStored(ctx, key.Project, err)
		}
	}
	h.account(ctx, key.Project, in, appended)
	return connect.NewResponse(&emptypb.Empty{}), nil
}

// notStored turns an error of the store into one that makes the client come again.
func (h *Handler) notStored(ctx context.Context, project string, err error) error {
	if errors.Is(err, collector.ErrBusy) {
		busy := connect.NewError(connect.CodeResourceExhausted, errors.New("too much is waiting to be stored; try again"))
		busy.Meta().Set("Retry-After", "1")
		return busy
	}
	h.log.ErrorContext(ctx, "storing events failed", "project", project, "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("events cannot be stored right now; try again"))
}

// account counts and logs what became of a request.
func (h *Handler) account(ctx context.Context, project string, in *intake, appended collector.Appended) {
	reasons := in.reasons()
	foreign := in.foreign(project)
	h.counters.add(appended, reasons, foreign)

	h.log.DebugContext(ctx, "events taken in",
		"project", project, "stored", appended.Stored, "duplicate", appended.Duplicate, "set_aside", len(in.batch.SetAside))
	if len(reasons) > 0 {
		h.log.WarnContext(ctx, "events set aside",
			"project", project, "count", len(in.batch.SetAside), "reasons", reasons)
	}
	if foreign > 0 {
		h.log.WarnContext(ctx, "events name another project than their key; the key's was taken",
			"project", project, "count", foreign)
	}
}

package export

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/rpc"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// Page sizes, as align/v1/export.proto promises them.
const defaultPage, maxPage = 100, 1000

// service is the ExportService of align/v1.
type service struct {
	*Exporter
	log *slog.Logger
}

var _ alignv1connect.ExportServiceHandler = service{}

// NewService returns the ExportService's path prefix and its handler, which must stand behind [keys.Require].
func NewService(e *Exporter, log *slog.Logger) (string, http.Handler) {
	path, handler := alignv1connect.NewExportServiceHandler(service{e, log}, rpc.StrictJSON(), connect.WithReadMaxBytes(rpc.MaxRequestBytes))
	return path, rpc.Answerable(map[string]rpc.Form{
		alignv1connect.ExportServiceListExportsProcedure:  rpc.GetOrPost,
		alignv1connect.ExportServiceGetExportProcedure:    rpc.GetOrPost,
		alignv1connect.ExportServiceVerifyExportProcedure: rpc.GetOrPost,
	}, handler)
}

// failed turns an error into one for the client. What the store says is for the log.
func (s service) failed(ctx context.Context, err error) error {
	early, ok := errors.AsType[*NotFinalError](err)
	switch {
	case ok:
		return connect.NewError(connect.CodeFailedPrecondition, early)
	case errors.Is(err, ErrNoFiles):
		return connect.NewError(connect.CodeNotFound, err)
	case errors.Is(err, ErrVariant):
		return connect.NewError(connect.CodeInvalidArgument, errors.New("there is no such file: format is json, ndjson, csv or parquet; compression gzip, zstd or nothing; late and starts_on do not go together"))
	case errors.Is(err, collector.ErrOvertaken):
		return connect.NewError(connect.CodeUnavailable, errors.New("the files of that day are being made; try again"))
	case ctx.Err() != nil:
		return ctx.Err()
	}
	s.log.ErrorContext(ctx, "export failed", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("files cannot be made or read right now; try again"))
}

func dayOf(field, text string) (collector.Day, error) {
	day, err := collector.ParseDay(text)
	if err != nil {
		return 0, connect.NewError(connect.CodeInvalidArgument, fmt.Errorf("%s: %w", field, err))
	}
	return day, nil
}

// ListExports lists days that are final.
func (s service) ListExports(ctx context.Context, req *connect.Request[alignv1.ListExportsRequest]) (*connect.Response[alignv1.ListExportsResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	page, err := rpc.Page("page_size", req.Msg.GetPageSize(), "", defaultPage, maxPage)
	if err != nil {
		return nil, err
	}
	from, to := collector.Day(math.MinInt32), collector.Day(math.MaxInt32)
	for _, bound := range []struct {
		field, text string
		day         *collector.Day
	}{{"from", req.Msg.GetFrom(), &from}, {"to", req.Msg.GetTo(), &to}, {"page_token", req.Msg.GetPageToken(), &from}} {
		if bound.text == "" {
			continue
		}
		var err error
		if *bound.day, err = dayOf(bound.field, bound.text); err != nil {
			return nil, err
		}
	}
	list, err := s.Days(ctx, key.Project, from, to, page.Size+1)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	answer := &alignv1.ListExportsResponse{}
	if len(list) > page.Size {
		answer.NextPageToken = list[page.Size].Day
		list = list[:page.Size]
	}
	for _, m := range list {
		answer.Exports = append(answer.Exports, m.message())
	}
	return connect.NewResponse(answer), nil
}

// message is the manifest in the words of the schema.
func (m *Manifest) message() *alignv1.ExportManifest {
	answer := &alignv1.ExportManifest{Day: m.Day, SchemaVersion: int32(m.SchemaVersion), GeneratedAt: m.GeneratedAt, IdleTimeoutSeconds: m.IdleTimeout,
		Rows: m.Rows, LateRows: m.LateRows, EarliestStart: m.EarliestStart, LongestSeconds: m.Longest}
	for _, f := range m.Files {
		answer.Files = append(answer.Files, &alignv1.ExportFile{Name: f.Name, Rows: f.Rows, Bytes: f.Bytes, Sha256: f.SHA256})
	}
	return answer
}

// GetExport returns a manifest and a link.
func (s service) GetExport(ctx context.Context, req *connect.Request[alignv1.GetExportRequest]) (*connect.Response[alignv1.GetExportResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	day, err := dayOf("day", req.Msg.GetDay())
	if err != nil {
		return nil, err
	}
	v := Variant{Day: day, Late: req.Msg.GetLate(), StartsOn: req.Msg.GetStartsOn(), Format: Format(req.Msg.GetFormat()),
		Compression: Compression(req.Msg.GetCompression()), Open: req.Msg.GetOpen()}
	switch req.Msg.GetCompat() {
	case "":
	case "ultimate":
		v.Ultimate = true
	default:
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("compat is ultimate or nothing"))
	}
	path, expires, err := s.Link(ctx, &key, v, MaxLinkAge)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	m, err := s.Manifest(ctx, key.Project, day)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	answer := &alignv1.GetExportResponse{Manifest: m.message(), Path: path, ExpiresAt: expires.UTC().Format(time.RFC3339), Complete: true}
	if v.StartsOn {
		span, err := s.StartsOn(ctx, key.Project, day)
		if err != nil {
			return nil, s.failed(ctx, err)
		}
		answer.DaysAfter, answer.Complete = int32(span.After), span.Complete
	}
	return connect.NewResponse(answer), nil
}

// VerifyExport compares files with their manifest.
func (s service) VerifyExport(ctx context.Context, req *connect.Request[alignv1.VerifyExportRequest]) (*connect.Response[alignv1.VerifyExportResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	day, err := dayOf("day", req.Msg.GetDay())
	if err != nil {
		return nil, err
	}
	_, differ, err := s.Verify(ctx, key.Project, day)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return connect.NewResponse(&alignv1.VerifyExportResponse{Ok: len(differ) == 0, Differ: differ}), nil
}

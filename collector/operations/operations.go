// Package operations says what is wrong with the data, and takes out of it what must go: the services of
// align/v1/operations.proto.
package operations

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"connectrpc.com/connect"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/rpc"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// Page sizes, as the schema promises them.
const defaultPage, maxPage = 100, 1000

// Store is what is looked at and erased from; a [collector.Store] does.
type Store interface {
	Quality(ctx context.Context, project string) (collector.Quality, error)
	Findings(ctx context.Context, project string, kind collector.FindingKind, page collector.Page) ([]collector.Finding, string, error)
	SetAsideEvents(ctx context.Context, project, reason string, content bool, page collector.Page) ([]collector.SetAsideEvent, string, error)
	Erase(ctx context.Context, project, user, actor string) (collector.Erased, error)
	Audit(ctx context.Context, project string) ([]collector.AuditLine, error)
}

// service is what both services need.
type service struct {
	store Store
	log   *slog.Logger
}

// NewQuality returns the QualityService's path prefix and its handler, which must stand behind [keys.Require].
func NewQuality(store Store, log *slog.Logger) (string, http.Handler) {
	path, handler := alignv1connect.NewQualityServiceHandler(quality{service{store, log}}, rpc.StrictJSON(), connect.WithReadMaxBytes(rpc.MaxRequestBytes))
	return path, rpc.Answerable(map[string]rpc.Form{
		alignv1connect.QualityServiceGetQualityProcedure:   rpc.GetOrPost,
		alignv1connect.QualityServiceListFindingsProcedure: rpc.GetOrPost,
		alignv1connect.QualityServiceListSetAsideProcedure: rpc.GetOrPost,
	}, handler)
}

// NewAdmin returns the AdminService's path prefix and its handler, which must stand behind [keys.Require].
func NewAdmin(store Store, log *slog.Logger) (string, http.Handler) {
	path, handler := alignv1connect.NewAdminServiceHandler(admin{service{store, log}}, rpc.StrictJSON(), connect.WithReadMaxBytes(rpc.MaxRequestBytes))
	return path, rpc.Answerable(map[string]rpc.Form{
		alignv1connect.AdminServiceEraseUserProcedure: rpc.PostOnly,
		alignv1connect.AdminServiceListAuditProcedure: rpc.GetOrPost,
	}, handler)
}

// failed turns an error of the store into one for the client. What the store says is for the log.
func (s service) failed(ctx context.Context, what string, err error) error {
	switch {
	case errors.Is(err, collector.ErrPageToken):
		return connect.NewError(connect.CodeInvalidArgument, errors.New("page_token was not made by this call"))
	case ctx.Err() != nil:
		return ctx.Err()
	}
	s.log.ErrorContext(ctx, what+" failed", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New(what+" failed; try again"))
}

// quality is the QualityService.
type quality struct{ service }

var _ alignv1connect.QualityServiceHandler = quality{}

func (s quality) GetQuality(ctx context.Context, _ *connect.Request[alignv1.GetQualityRequest]) (*connect.Response[alignv1.GetQualityResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	q, err := s.store.Quality(ctx, key.Project)
	if err != nil {
		return nil, s.failed(ctx, "looking at data quality", err)
	}
	answer := &alignv1.GetQualityResponse{
		IndexGaps:        int64(q.Findings[collector.FindingIndexGap]),
		NeverOpened:      int64(q.Findings[collector.FindingNeverOpened]),
		DuplicateIndexes: int64(q.Findings[collector.FindingDuplicateIndex]),
		ConflictingUsers: int64(q.Findings[collector.FindingConflictingUsers]),
		ClockAhead:       int64(q.Findings[collector.FindingClockAhead]),
		ClockRefused:     int64(q.Findings[collector.FindingClockRefused]),
	}
	for _, r := range q.SetAside {
		answer.SetAside = append(answer.SetAside, &alignv1.SetAsideCount{Reason: r.Reason, Count: int64(r.Count), Bytes: r.Bytes})
	}
	return connect.NewResponse(answer), nil
}

var kinds = map[alignv1.Finding_Kind]collector.FindingKind{
	alignv1.Finding_KIND_INDEX_GAP:         collector.FindingIndexGap,
	alignv1.Finding_KIND_NEVER_OPENED:      collector.FindingNeverOpened,
	alignv1.Finding_KIND_DUPLICATE_INDEX:   collector.FindingDuplicateIndex,
	alignv1.Finding_KIND_CONFLICTING_USERS: collector.FindingConflictingUsers,
	alignv1.Finding_KIND_CLOCK_AHEAD:       collector.FindingClockAhead,
	alignv1.Finding_KIND_CLOCK_REFUSED:     collector.FindingClockRefused,
}

func (s quality) ListFindings(ctx context.Context, req *connect.Request[alignv1.ListFindingsRequest]) (*connect.Response[alignv1.ListFindingsResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	kind, ok := kinds[req.Msg.GetKind()]
	if !ok {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("kind is missing or unknown"))
	}
	page, err := rpc.Page("page_size", req.Msg.GetPageSize(), req.Msg.GetPageToken(), defaultPage, maxPage)
	if err != nil {
		return nil, err
	}
	list, next, err := s.store.Findings(ctx, key.Project, kind, page)
	if err != nil {
		return nil, s.failed(ctx, "looking at data quality", err)
	}
	answer := &alignv1.ListFindingsResponse{NextPageToken: next}
	for _, f := range list {
		answer.Findings = append(answer.Findings, &alignv1.Finding{
			ConversationId: f.Conversation, Index: f.Index, Count: int32(f.Count),
			EventId: f.EventID, ReceiveTime: rpc.Timestamp(f.ReceiveTime), EventTime: rpc.Timestamp(f.EventTime),
		})
	}
	return connect.NewResponse(answer), nil
}

func (s quality) ListSetAside(ctx context.Context, req *connect.Request[alignv1.ListSetAsideRequest]) (*connect.Response[alignv1.ListSetAsideResponse], error) {
	scope := collector.ScopeRead
	if req.Msg.GetContent() {
		scope = collector.ScopeAdmin
	}
	key, err := keys.Allowed(ctx, scope)
	if err != nil {
		return nil, err
	}
	page, err := rpc.Page("page_size", req.Msg.GetPageSize(), req.Msg.GetPageToken(), defaultPage, maxPage)
	if err != nil {
		return nil, err
	}
	list, next, err := s.store.SetAsideEvents(ctx, key.Project, req.Msg.GetReason(), req.Msg.GetContent(), page)
	if err != nil {
		return nil, s.failed(ctx, "looking at what was set aside", err)
	}
	answer := &alignv1.ListSetAsideResponse{NextPageToken: next}
	for _, e := range list {
		answer.Events = append(answer.Events, &alignv1.SetAsideEvent{
			Reason: e.Reason, Size: e.Size, ReceiveTime: rpc.Timestamp(e.ReceiveTime), EventId: e.EventID, Content: e.Raw,
		})
	}
	return connect.NewResponse(answer), nil
}

// admin is the AdminService.
type admin struct{ service }

var _ alignv1connect.AdminServiceHandler = admin{}

func (s admin) EraseUser(ctx context.Context, req *connect.Request[alignv1.EraseUserRequest]) (*connect.Response[alignv1.EraseUserResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeAdmin)
	if err != nil {
		return nil, err
	}
	if req.Msg.GetUserId() == "" {
		return nil, connect.NewError(connect.CodeInvalidArgument, errors.New("user_id is missing"))
	}
	// Once begun it is brought to its end, whether or not the client waits.
	got, err := s.store.Erase(context.WithoutCancel(ctx), key.Project, req.Msg.GetUserId(), "key "+key.ID())
	if err != nil {
		return nil, s.failed(ctx, "erasing", err)
	}
	s.log.InfoContext(ctx, "user erased", "project", key.Project, "key", key.ID(), "sessions", got.Sessions, "messages", got.Messages, "facts", got.Facts)
	return connect.NewResponse(&alignv1.EraseUserResponse{
		Sessions: int64(got.Sessions), Messages: int64(got.Messages), Votes: int64(got.Votes), Facts: int64(got.Facts), SetAside: int64(got.SetAside),
	}), nil
}

func (s admin) ListAudit(ctx context.Context, _ *connect.Request[alignv1.ListAuditRequest]) (*connect.Response[alignv1.ListAuditResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeAdmin)
	if err != nil {
		return nil, err
	}
	lines, err := s.store.Audit(ctx, key.Project)
	if err != nil {
		return nil, s.failed(ctx, "reading the audit", err)
	}
	answer := &alignv1.ListAuditResponse{}
	for _, l := range lines {
		answer.Lines = append(answer.Lines, &alignv1.AuditLine{Time: rpc.Timestamp(l.Time), Action: l.Action, Actor: l.Actor, Detail: l.Detail})
	}
	return connect.NewResponse(answer), nil
}

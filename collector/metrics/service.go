package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	"github.com/openalign/align/collector/keys"
	"github.com/openalign/align/collector/rpc"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// Service is the MetricsService of align/v1.
type Service struct {
	engine *Engine
	log    *slog.Logger
}

var _ alignv1connect.MetricsServiceHandler = (*Service)(nil)

// NewService returns the service's path prefix and its handler, which must stand behind [keys.Require].
func NewService(engine *Engine, log *slog.Logger) (string, http.Handler) {
	path, handler := alignv1connect.NewMetricsServiceHandler(&Service{engine, log}, rpc.StrictJSON(), connect.WithReadMaxBytes(rpc.MaxRequestBytes))
	return path, rpc.Answerable(map[string]rpc.Form{
		alignv1connect.MetricsServiceGetMetricsProcedure:    rpc.GetOrPost,
		alignv1connect.MetricsServiceListMetricsProcedure:   rpc.GetOrPost,
		alignv1connect.MetricsServiceExplainMetricProcedure: rpc.GetOrPost,
	}, handler)
}

// failed turns an error into one for the client. What the store says is for the log.
func (s *Service) failed(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrInvalid):
		return connect.NewError(connect.CodeInvalidArgument, err)
	case ctx.Err() != nil:
		return ctx.Err()
	}
	s.log.ErrorContext(ctx, "computing metrics failed", "error", err)
	return connect.NewError(connect.CodeUnavailable, errors.New("metrics cannot be computed right now; try again"))
}

// maxFilters bounds the filters of a request.
const maxFilters = 20

func scopeOf(m *alignv1.MetricsScope) (s Scope, err error) {
	for field, t := range map[string]*timestamppb.Timestamp{"from": m.GetFrom(), "to": m.GetTo()} {
		if t != nil && !t.IsValid() {
			return s, fmt.Errorf("%w: scope.%s is no time", ErrInvalid, field)
		}
	}
	if m.GetFrom() != nil {
		s.From = m.GetFrom().AsTime()
	}
	if m.GetTo() != nil {
		s.To = m.GetTo().AsTime()
	}
	switch m.GetCohort() {
	case alignv1.MetricsScope_COHORT_UNSPECIFIED, alignv1.MetricsScope_COHORT_STARTED_AT:
	case alignv1.MetricsScope_COHORT_ENDED_AT:
		s.ByEnd = true
	default:
		return s, fmt.Errorf("%w: scope.cohort is unknown", ErrInvalid)
	}
	if len(m.GetFilters()) > maxFilters {
		return s, fmt.Errorf("%w: scope.filters can be %d", ErrInvalid, maxFilters)
	}
	for _, f := range m.GetFilters() {
		s.Filters = append(s.Filters, Filter{f.GetDimension(), f.GetValue()})
	}
	s.IncludeTest, s.MinutesSaved = m.GetIncludeTestMode(), int(m.GetMinutesSaved())
	return s, nil
}

// GetMetrics computes metrics of the key's project.
func (s *Service) GetMetrics(ctx context.Context, req *connect.Request[alignv1.GetMetricsRequest]) (*connect.Response[alignv1.GetMetricsResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	scope, err := scopeOf(req.Msg.GetScope())
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	answer, err := s.engine.Get(ctx, key.Project, Query{Scope: scope, Names: req.Msg.GetNames(), GroupBy: req.Msg.GetGroupBy(),
		MaxGroups: int(req.Msg.GetMaxGroups()), Compare: req.Msg.GetCompare()})
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	detector, err := s.engine.Store.Detector(ctx)
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	out := answer.Proto()
	out.Due, out.IdleTimeout, out.Detector = int64(s.engine.Store.Stats().DigestsDue), durationpb.New(s.engine.idle()), detector
	return connect.NewResponse(out), nil
}

// idle is the idle timeout as it is told.
func (e *Engine) idle() time.Duration {
	if e.Idle == 0 {
		return collector.DefaultIdleTimeout
	}
	return e.Idle
}

func valuesOf(list []Value) (out []*alignv1.MetricValue) {
	for i := range list {
		out = append(out, protoValue(&list[i]))
	}
	return out
}

func protoValue(v *Value) *alignv1.MetricValue {
	m := &alignv1.MetricValue{Name: v.Name, Numerator: v.Numerator, Denominator: v.Denominator, Value: v.Value, Before: v.Before, Change: v.Change}
	if v.Interval != nil {
		m.Interval = &alignv1.MetricValue_Interval{Low: v.Interval[0], High: v.Interval[1]}
	}
	if s := v.Distribution; s != nil {
		m.Distribution = &alignv1.MetricValue_Distribution{N: int64(s.N), Mean: s.Mean, P50: s.P50, P90: s.P90, P95: s.P95, P99: s.P99}
	}
	return m
}

// ListMetrics lists the definitions.
func (s *Service) ListMetrics(ctx context.Context, _ *connect.Request[alignv1.ListMetricsRequest]) (*connect.Response[alignv1.ListMetricsResponse], error) {
	if _, err := keys.Allowed(ctx, collector.ScopeRead); err != nil {
		return nil, err
	}
	out := &alignv1.ListMetricsResponse{}
	for i := range Definitions {
		out.Metrics = append(out.Metrics, protoDefinition(&Definitions[i]))
	}
	return connect.NewResponse(out), nil
}

func protoDefinition(d *Definition) *alignv1.MetricDefinition {
	return &alignv1.MetricDefinition{Name: d.Name, Title: d.Title, Formula: d.Formula, Unit: d.Unit, Kind: string(d.Kind), SqlNumerator: d.Numerator,
		SqlDenominator: d.Denominator, SqlWhere: d.Where, Excludes: d.Excludes, Source: d.Source, Version: int32(d.Version)}
}

// ExplainMetric says how a number came about.
func (s *Service) ExplainMetric(ctx context.Context, req *connect.Request[alignv1.ExplainMetricRequest]) (*connect.Response[alignv1.ExplainMetricResponse], error) {
	key, err := keys.Allowed(ctx, collector.ScopeRead)
	if err != nil {
		return nil, err
	}
	scope, err := scopeOf(req.Msg.GetScope())
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	x, err := s.engine.Explain(ctx, key.Project, req.Msg.GetName(), scope, int(req.Msg.GetPageSize()), int(req.Msg.GetOffset()))
	if err != nil {
		return nil, s.failed(ctx, err)
	}
	return connect.NewResponse(x.Proto()), nil
}

// Proto returns an explanation as the API gives it.
func (x *Explanation) Proto() *alignv1.ExplainMetricResponse {
	out := &alignv1.ExplainMetricResponse{Definition: protoDefinition(x.Definition), Value: protoValue(&x.Value), BySql: protoValue(&x.BySQL), Sql: x.SQL,
		Parameters: map[string]string{}, NumeratorIds: x.Numerator, DenominatorIds: x.Denominator,
		NumeratorConversations: int64(x.NumeratorCount), DenominatorConversations: int64(x.DenominatorCount)}
	for name, value := range x.Parameters {
		out.Parameters[name] = fmt.Sprint(value)
	}
	for _, l := range x.LeftOut {
		out.LeftOut = append(out.LeftOut, &alignv1.ExplainMetricResponse_LeftOut{Reason: l.Reason, Conversations: int64(l.Conversations)})
	}
	if p := x.Export; p != nil { // of an explanation that was made
		out.Export = &alignv1.ExplainMetricResponse_Proof{Rows: int64(p.Rows), Equal: p.Equal, Missing: p.Missing}
		if p.Missing == "" {
			out.Export.Value = protoValue(&p.Value)
		}
	}
	return out
}

// Proto returns an answer as the API gives it.
func (a *Answer) Proto() *alignv1.GetMetricsResponse {
	out := &alignv1.GetMetricsResponse{From: timestamppb.New(a.From), To: timestamppb.New(a.To), Values: valuesOf(a.Values), OtherGroups: int64(a.OtherGroups)}
	for _, g := range a.Groups {
		out.Groups = append(out.Groups, &alignv1.MetricGroup{Value: g.Value, Other: g.Other, Values: valuesOf(g.Values)})
	}
	return out
}

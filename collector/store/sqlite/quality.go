package sqlite

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// numbered is true for messages of project ?1 that are shown and have an index of their client's. It asks for hidden ones by
// row, of which there are few, so that the index on messages is all that is read of the others.
var numbered = `idx < ` + strconv.FormatInt(collector.FirstPlace, 10) + ` AND seq NOT IN (SELECT seq FROM messages WHERE project = ?1 AND hidden = 1)`

// Quality counts what is odd about a project's data.
func (s *Store) Quality(ctx context.Context, project string) (q collector.Quality, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	defer func() {
		if err != nil {
			err = fmt.Errorf("sqlite: quality: %w", err)
		}
	}()
	rows, err := s.read.db.QueryContext(ctx, `SELECT reason, count(*), sum(size) FROM set_aside WHERE project = ? GROUP BY reason ORDER BY reason`, project)
	if err != nil {
		return q, err
	}
	defer rows.Close()
	for rows.Next() {
		var r collector.ReasonCount
		if err := rows.Scan(&r.Reason, &r.Count, &r.Bytes); err != nil {
			return q, err
		}
		q.SetAside = append(q.SetAside, r)
	}
	if err := closeRows(rows); err != nil {
		return q, err
	}
	q.Findings = make(map[collector.FindingKind]int)
	for kind, query := range map[collector.FindingKind]string{
		collector.FindingIndexGap:         `SELECT count(*) FROM (SELECT 1 FROM messages WHERE project = ?1 AND ` + numbered + ` GROUP BY session_id HAVING max(idx) > count(*))`,
		collector.FindingNeverOpened:      `SELECT count(*) FROM sessions WHERE project = ? AND odd <> 0 AND odd & 1`,
		collector.FindingConflictingUsers: `SELECT count(*) FROM sessions WHERE project = ? AND odd <> 0 AND odd & 2`,
		collector.FindingDuplicateIndex:   `SELECT count(*) FROM messages WHERE project = ?1 AND versions > 1 AND ` + numbered,
		collector.FindingClockAhead:       `SELECT count(*) FROM facts WHERE project = ? AND clock <> 0 AND clock = 1`,
		collector.FindingClockRefused:     `SELECT count(*) FROM facts WHERE project = ? AND clock <> 0 AND clock = 2`,
	} {
		var n int
		if err := s.read.db.QueryRowContext(ctx, query, project).Scan(&n); err != nil {
			return q, err
		}
		q.Findings[kind] = n
	}
	return q, nil
}

// place is where a page of findings ended. Tokens hold it in JSON, for there are two forms of it.
type place struct {
	Kind    collector.FindingKind `json:"k"`
	Session string                `json:"s,omitempty"`
	Index   int32                 `json:"i,omitempty"`
	Row     int64                 `json:"r,omitempty"`
}

func (p place) token() string {
	text, err := json.Marshal(p)
	if err != nil { // numbers and a string always marshal
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

func parsePlace(token string, kind collector.FindingKind) (p place, err error) {
	if token == "" {
		return place{Kind: kind}, nil
	}
	text, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || json.Unmarshal(text, &p) != nil || p.Kind != kind {
		return p, collector.ErrPageToken
	}
	return p, nil
}

// oddity is a finding and its place.
type oddity struct {
	collector.Finding
	place
}

// Findings lists what one of the counts of [Store.Quality] counts, and the token of the next page.
func (s *Store) Findings(ctx context.Context, project string, kind collector.FindingKind, page collector.Page) ([]collector.Finding, string, error) {
	after, err := parsePlace(page.Token, kind)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	size := pageSize(page)
	var list []oddity
	switch kind {
	case collector.FindingIndexGap:
		list, err = s.findings(ctx, kind, `SELECT session_id, 0, max(idx) - count(*), 0 FROM messages WHERE project = ?1 AND session_id > ?2 AND `+numbered+`
			GROUP BY session_id HAVING max(idx) > count(*) ORDER BY session_id LIMIT ?3`, project, after.Session, size+1)
	case collector.FindingNeverOpened:
		list, err = s.findings(ctx, kind, `SELECT id, 0, 0, 0 FROM sessions WHERE project = ?1 AND id > ?2 AND odd <> 0 AND odd & 1 ORDER BY id LIMIT ?3`,
			project, after.Session, size+1)
	case collector.FindingConflictingUsers:
		list, err = s.findings(ctx, kind, `SELECT id, 0, 0, 0 FROM sessions WHERE project = ?1 AND id > ?2 AND odd <> 0 AND odd & 2 ORDER BY id LIMIT ?3`,
			project, after.Session, size+1)
	case collector.FindingDuplicateIndex:
		list, err = s.findings(ctx, kind, `SELECT session_id, idx, versions, 0 FROM messages WHERE project = ?1 AND versions > 1 AND `+numbered+`
			AND (session_id, idx) > (?2, ?4) ORDER BY session_id, idx LIMIT ?3`, project, after.Session, size+1, after.Index)
	case collector.FindingClockAhead, collector.FindingClockRefused:
		list, err = s.clocks(ctx, kind, project, after.Row, size+1)
	default:
		return nil, "", fmt.Errorf("sqlite: findings: %w", collector.ErrNotFound)
	}
	if err != nil {
		return nil, "", fmt.Errorf("sqlite: findings: %w", err)
	}
	token := ""
	if len(list) > size {
		list = list[:size]
		token = list[size-1].place.token()
	}
	findings := make([]collector.Finding, len(list))
	for i := range list {
		findings[i] = list[i].Finding
	}
	return findings, token, nil
}

// findings are those that are about conversations.
func (s *Store) findings(ctx context.Context, kind collector.FindingKind, query string, args ...any) (list []oddity, err error) {
	rows, err := s.read.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		f := oddity{place: place{Kind: kind}}
		if err := rows.Scan(&f.Conversation, &f.Finding.Index, &f.Count, &f.Row); err != nil {
			return nil, err
		}
		f.Session, f.place.Index = f.Conversation, f.Finding.Index
		list = append(list, f)
	}
	return list, rows.Err()
}

// clocks are those that are about events, in the order they came.
func (s *Store) clocks(ctx context.Context, kind collector.FindingKind, project string, after int64, limit int) (list []oddity, err error) {
	clock := collector.ClockAhead
	if kind == collector.FindingClockRefused {
		clock = collector.ClockRefused
	}
	rows, err := s.read.db.QueryContext(ctx, `SELECT seq, id, receive_time, event FROM facts
		WHERE project = ? AND clock <> 0 AND clock = ? AND seq > ? ORDER BY seq LIMIT ?`, project, int(clock), after, limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			f        = oddity{place: place{Kind: kind}}
			received int64
			raw      sql.RawBytes
			event    ingestionv1alpha.Event
		)
		if err := rows.Scan(&f.Row, &f.EventID, &received, &raw); err != nil {
			return nil, err
		}
		if err := proto.Unmarshal(raw, &event); err != nil {
			return nil, errors.New("an event cannot be read") // the error itself may quote it
		}
		f.ReceiveTime = fromNanos(received)
		if event.GetCreateTime() != nil {
			f.EventTime = event.GetCreateTime().AsTime()
		}
		session, message, feedback := event.GetProperties().GetSessionProperties(), event.GetProperties().GetMessageProperties(), event.GetProperties().GetFeedbackProperties()
		f.Conversation = session.GetSessionId() + message.GetSessionId() + feedback.GetSessionId() // one of them
		list = append(list, f)
	}
	return list, rows.Err()
}

// SetAsideEvents lists what was set aside, newest first, for one reason or any, and the token of the next page. Content is
// left out unless it is asked for.
func (s *Store) SetAsideEvents(ctx context.Context, project, reason string, content bool, page collector.Page) ([]collector.SetAsideEvent, string, error) {
	before, err := rowBefore(page)
	if err != nil {
		return nil, "", err
	}
	type numbered struct {
		collector.SetAsideEvent
		row int64
	}
	size := pageSize(page)
	list, more, err := queryPage(ctx, s.read.setAside, func(rows *sql.Rows) (one numbered, bytes int, err error) {
		var received int64
		err = rows.Scan(&one.row, &one.Reason, &one.Size, &received, &one.EventID, &one.Raw)
		one.ReceiveTime = fromNanos(received)
		return one, len(one.Raw), err
	}, size, project, before, reason, content, size+1)
	if err != nil {
		return nil, "", fmt.Errorf("sqlite: set aside: %w", err)
	}
	events := make([]collector.SetAsideEvent, len(list))
	for i := range list {
		events[i] = list[i].SetAsideEvent
	}
	if !more {
		return events, "", nil
	}
	return events, strconv.FormatInt(list[len(list)-1].row, 36), nil
}

package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

var _ collector.Looker = (*Store)(nil)

// maxVersions is how many versions of a message are listed.
const maxVersions = 100

// Users lists users whose id, name or email contains a text, those first that came last, and the token of the next page. With
// a text it looks at every user until the page is full.
func (s *Store) Users(ctx context.Context, project, text string, page collector.Page) ([]collector.UserRow, string, error) {
	before, err := rowBefore(page)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	size := pageSize(page)
	like := "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text) + "%"
	rows, err := s.read.db.QueryContext(ctx, `SELECT u.seq, u.id, u.state,
			(SELECT count(*) FROM sessions s WHERE s.project = ?1 AND s.user_id = u.id),
			coalesce((SELECT max(last_activity) FROM sessions s WHERE s.project = ?1 AND s.user_id = u.id), 0)
		FROM users u WHERE u.project = ?1 AND u.seq < ?2 AND (?3 = '%%' OR u.id LIKE ?3 ESCAPE '\'
			OR u.state ->> '$.last.display_name.v' LIKE ?3 ESCAPE '\' OR u.state ->> '$.last.email.v' LIKE ?3 ESCAPE '\')
		ORDER BY u.seq DESC LIMIT ?4`, project, before, like, size+1)
	if err != nil {
		return nil, "", fmt.Errorf("sqlite: users: %w", err)
	}
	defer rows.Close()
	var list []collector.UserRow
	var last int64
	for rows.Next() {
		if len(list) == size {
			return list, strconv.FormatInt(last, 36), nil
		}
		var (
			row    collector.UserRow
			id     string
			state  []byte
			active int64
			known  user
		)
		if err := rows.Scan(&last, &id, &state, &row.Conversations, &active); err != nil {
			return nil, "", fmt.Errorf("sqlite: users: %w", err)
		}
		if err := json.Unmarshal(state, &known); err != nil {
			return nil, "", fmt.Errorf("sqlite: users: %w", err)
		}
		row.User, row.LastActivity = showUser(id, &known), fromNanosOrNever(active)
		list = append(list, row)
	}
	if err := rows.Err(); err != nil {
		return nil, "", fmt.Errorf("sqlite: users: %w", err)
	}
	return list, "", nil
}

// Versions lists what there was at an index of a conversation, by the time of the last event that says so.
func (s *Store) Versions(ctx context.Context, project, conversation string, index int32) ([]collector.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	kept, err := s.keptIndex(ctx, project, conversation, index)
	if err != nil {
		return nil, err
	}
	// One that only one event speaks for has no row in versions.
	rows, err := s.read.db.QueryContext(ctx, `WITH said (id, time) AS (
			SELECT state ->> '$.e', state ->> '$.time' FROM versions WHERE project = ?1 AND session_id = ?2 AND idx = ?3
			UNION SELECT event_id, time FROM messages WHERE project = ?1 AND session_id = ?2 AND idx = ?3)
		SELECT said.id, said.time, f.gone, f.event, said.id = (SELECT event_id FROM messages WHERE project = ?1 AND session_id = ?2 AND idx = ?3)
		FROM said JOIN facts f ON f.project = ?1 AND f.id = said.id ORDER BY f.time, f.id LIMIT ?4`, project, conversation, kept, maxVersions)
	if err != nil {
		return nil, fmt.Errorf("sqlite: versions: %w", err)
	}
	defer rows.Close()
	var list []collector.Version
	for rows.Next() {
		var (
			v     collector.Version
			at    int64
			gone  int
			raw   sql.RawBytes
			event ingestionv1alpha.Event
		)
		if err := rows.Scan(&v.EventID, &at, &gone, &raw, &v.Current); err != nil {
			return nil, fmt.Errorf("sqlite: versions: %w", err)
		}
		if err := proto.Unmarshal(raw, &event); err != nil {
			return nil, errors.New("sqlite: versions: an event cannot be read") // the error itself may quote it
		}
		v.Time, v.Gone = fromNanos(at), gone != 0
		if m := event.GetProperties().GetMessageProperties(); m != nil { // nil once all of the event is gone
			v.Role, v.Content = collector.Role(m), m.GetMessageContent()
		}
		list = append(list, v)
	}
	return list, rows.Err()
}

// MessageAt returns the current message at an index, or [collector.ErrNotFound].
func (s *Store) MessageAt(ctx context.Context, project, conversation string, index int32) (collector.Message, error) {
	kept, err := s.keptIndex(ctx, project, conversation, index)
	if err != nil {
		return collector.Message{}, err
	}
	list, _, err := queryPage(ctx, s.read.messages, func(rows *sql.Rows) (collector.Message, int, error) {
		m, _, _, bytes, err := scanMessage(rows)
		m.Index = index
		return m, bytes, err
	}, 1, project, conversation, kept-1, 1, int64(collector.FirstPlace))
	switch {
	case err != nil:
		return collector.Message{}, fmt.Errorf("sqlite: message: %w", err)
	case len(list) == 0:
		return collector.Message{}, collector.ErrNotFound
	}
	return list[0], nil
}

// keptIndex returns the index under which a message that is shown is kept: its own, or its place; see [collector.Message].
func (s *Store) keptIndex(ctx context.Context, project, conversation string, index int32) (kept int64, err error) {
	err = s.read.db.QueryRowContext(ctx, `SELECT idx FROM messages WHERE project = ?1 AND session_id = ?2 AND idx = ?3 AND hidden = 0`,
		project, conversation, index).Scan(&kept)
	if errors.Is(err, sql.ErrNoRows) {
		err = s.read.db.QueryRowContext(ctx, `WITH numbered (last) AS
				(SELECT coalesce(max(idx), 0) FROM messages WHERE project = ?1 AND session_id = ?2 AND idx < ?4 AND hidden = 0)
			SELECT idx FROM messages WHERE project = ?1 AND session_id = ?2 AND idx >= ?4 AND hidden = 0 AND ?3 > (SELECT last FROM numbered)
			ORDER BY idx LIMIT 1 OFFSET max(0, ?3 - 1 - (SELECT last FROM numbered))`,
			project, conversation, index, int64(collector.FirstPlace)).Scan(&kept)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return 0, collector.ErrNotFound
	}
	if err != nil {
		return 0, fmt.Errorf("sqlite: message: %w", err)
	}
	return kept, nil
}

// Events lists the events that what is shown of a conversation rests on, by time: those whose ids the views hold. What others
// overrode cannot be found without reading every fact.
func (s *Store) Events(ctx context.Context, project, conversation string, limit int) ([]collector.EventRow, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.read.db.QueryContext(ctx, `WITH ids (id) AS (
			SELECT event_id FROM messages WHERE project = ?1 AND session_id = ?2
			UNION SELECT state ->> '$.e' FROM versions WHERE project = ?1 AND session_id = ?2
			UNION SELECT event_id FROM votes WHERE project = ?1 AND session_id = ?2
			UNION SELECT event_id FROM tags WHERE project = ?1 AND session_id = ?2
			UNION SELECT j.value FROM sessions s, json_tree(s.state) j WHERE s.project = ?1 AND s.id = ?2 AND j.key = 'e' AND j.type = 'text'
			UNION SELECT j.value FROM session_properties p, json_tree(p.state) j WHERE p.project = ?1 AND p.session_id = ?2 AND j.key = 'e' AND j.type = 'text'
			UNION SELECT j.value FROM session_properties p, json_tree(p.texts) j WHERE p.project = ?1 AND p.session_id = ?2 AND j.key = 'e' AND j.type = 'text')
		SELECT `+eventColumns+` FROM ids CROSS JOIN facts f ON f.project = ?1 AND f.id = ids.id ORDER BY f.time, f.id LIMIT ?3`, project, conversation, limit)
	if err != nil {
		return nil, fmt.Errorf("sqlite: events: %w", err)
	}
	defer rows.Close()
	var list []collector.EventRow
	for rows.Next() {
		var row collector.EventRow
		if err := scanEvent(rows, &row); err != nil {
			return nil, fmt.Errorf("sqlite: events: %w", err)
		}
		list = append(list, row)
	}
	return list, rows.Err()
}

// eventColumns in the order in which scanEvent takes them.
const eventColumns = "f.id, f.type, f.time, f.receive_time, length(f.event), f.gone <> 0"

func scanEvent(rows interface{ Scan(...any) error }, row *collector.EventRow, more ...any) error {
	var at, received int64
	err := rows.Scan(append([]any{&row.ID, &row.Type, &at, &received, &row.Size, &row.Gone}, more...)...)
	row.Time, row.ReceiveTime = fromNanos(at), fromNanos(received)
	return err
}

// Event returns one event, or [collector.ErrNotFound].
func (s *Store) Event(ctx context.Context, project, id string) (row collector.EventRow, event *ingestionv1alpha.Event, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var raw []byte
	err = scanEvent(s.read.db.QueryRowContext(ctx, `SELECT `+eventColumns+`, f.event FROM facts f WHERE f.project = ? AND f.id = ?`, project, id), &row, &raw)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return row, nil, collector.ErrNotFound
	case err != nil:
		return row, nil, fmt.Errorf("sqlite: event: %w", err)
	}
	event = new(ingestionv1alpha.Event)
	if err := proto.Unmarshal(raw, event); err != nil {
		return row, nil, errors.New("sqlite: event: it cannot be read") // the error itself may quote it
	}
	return row, event, nil
}

package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/openalign/align/collector"
)

// reader is the pool of connections that only read, with its prepared statements. Each query is one statement, and so
// sees the file at one moment.
type reader struct {
	db *sql.DB

	conversations, conversation, messages, message, number, runs, runTags, exists, totals, user, keyByHash, hasProject, keys, setAside *sql.Stmt

	own                                             *digestReader
	due, dueCount                                   *sql.Stmt
	digestsByStart, digestsByEnd, digestsByActivity [2]*sql.Stmt // without and with groups
	userActivity, firstSeen, userPlaces, cameBack   *sql.Stmt
}

// Columns of the latest vote v that stands, in the order in which shownVote takes them, and of conversations in that in which
// scanConversation takes them.
const (
	voteColumns         = "coalesce(v.vote, 0), coalesce(v.comment, ''), coalesce(v.reasons, ''), v.score, v.score_min, v.score_max"
	conversationColumns = "s.id, s.start_time, s.last_activity, s.message_count, s.state, coalesce(p.state, '{}'), coalesce(p.texts, '{}'), " +
		`(SELECT json_group_array(tag ORDER BY tag) FROM tags t
			WHERE t.project = s.project AND t.session_id = s.id AND t.run_id = '' AND t.present = 1), ` + voteColumns
	conversationTables = `sessions s
		LEFT JOIN session_properties p ON p.project = s.project AND p.session_id = s.id
		LEFT JOIN votes v ON v.project = s.project AND v.session_id = s.id AND v.idx = 0
			AND v.voter = (SELECT voter FROM votes w
				WHERE w.project = s.project AND w.session_id = s.id AND w.idx = 0 AND w.vote <> 0
				ORDER BY w.event_time DESC, w.event_id DESC LIMIT 1)`
)

// shownVote is a vote as a query returns it.
type shownVote struct {
	vote             collector.Vote
	comment, reasons string
	score, low, high sql.NullFloat64
}

// into returns where the columns of a vote go.
func (v *shownVote) into() []any {
	return []any{&v.vote, &v.comment, &v.reasons, &v.score, &v.low, &v.high}
}

func (v *shownVote) details() (reasons []string, score *collector.Score, err error) {
	if v.score.Valid {
		score = &collector.Score{Value: v.score.Float64, Min: v.low.Float64, Max: v.high.Float64}
	}
	if v.reasons != "" {
		err = json.Unmarshal([]byte(v.reasons), &reasons)
	}
	return reasons, score, err
}

// keyColumns in the order in which scanKey takes them.
const keyColumns = "hash, hint, project, scope, create_time, expire_time, last_used"

func newReader(ctx context.Context, file string) (*reader, error) {
	db, err := openReaders(file)
	if err != nil {
		return nil, err
	}
	r := &reader{db: db}
	for _, s := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&r.conversations, `SELECT ` + conversationColumns + ` FROM ` + conversationTables + `
			WHERE s.project = ? AND (s.start_time, s.id) < (?, ?)
			ORDER BY s.start_time DESC, s.id DESC LIMIT ?`},
		{&r.conversation, `SELECT ` + conversationColumns + ` FROM ` + conversationTables + ` WHERE s.project = ? AND s.id = ?`},
		{&r.runs, `SELECT time, detail FROM messages WHERE project = ? AND session_id = ? AND hidden = 0
			AND detail <> '' AND coalesce(detail ->> '$.run_id', '') <> '' ORDER BY idx`},
		{&r.runTags, `SELECT tag FROM tags WHERE project = ? AND session_id = ? AND run_id = ? AND present = 1 ORDER BY tag`},
		// Votes on a turn are kept under its number. Messages in places have no index of their own: they are counted on from
		// the last one that has, which is asked for once, and only where there are such.
		{&r.messages, `SELECT m.idx, role, content, m.time, properties, detail, versions, ` + voteColumns + `,
				CASE WHEN m.idx < ?5 THEN 0 ELSE
					(SELECT coalesce(max(idx), 0) FROM messages WHERE project = ?1 AND session_id = ?2 AND idx < ?5 AND hidden = 0) +
					(SELECT count(*) FROM messages WHERE project = ?1 AND session_id = ?2 AND idx >= ?5 AND idx <= ?3)
				END
			FROM messages m LEFT JOIN votes v
				ON v.project = m.project AND v.session_id = m.session_id AND v.idx = iif(m.turn = 0, m.idx, -m.turn)
				AND v.voter = (SELECT voter FROM votes w
					WHERE w.project = m.project AND w.session_id = m.session_id AND w.idx = iif(m.turn = 0, m.idx, -m.turn) AND w.vote <> 0
					ORDER BY w.event_time DESC, w.event_id DESC LIMIT 1)
			WHERE m.project = ?1 AND m.session_id = ?2 AND m.idx > ?3 AND m.hidden = 0
			ORDER BY m.idx LIMIT ?4`},
		{&r.message, `SELECT idx, role, content FROM messages WHERE seq = ? AND project = ? AND session_id = ? AND hidden = 0`},
		{&r.number, `SELECT
			(SELECT coalesce(max(idx), 0) FROM messages WHERE project = ?1 AND session_id = ?2 AND idx < ?4 AND hidden = 0) +
			(SELECT count(*) FROM messages WHERE project = ?1 AND session_id = ?2 AND idx BETWEEN ?4 AND ?3)`},
		{&r.exists, `SELECT 1 FROM sessions WHERE project = ? AND id = ?`},
		{&r.totals, `SELECT
				(SELECT count(*) FROM facts WHERE project = ?1),
				(SELECT count(*) FROM set_aside WHERE project = ?1),
				(SELECT count(*) FROM users WHERE project = ?1),
				(SELECT count(*) FROM sessions WHERE project = ?1),
				(SELECT count(*) FROM messages WHERE project = ?1) - (SELECT count(*) FROM messages WHERE project = ?1 AND hidden = 1),
				(SELECT count(*) FROM votes WHERE project = ?1 AND vote <> 0)`},
		{&r.user, `SELECT state FROM users WHERE project = ? AND id = ?`},
		{&r.hasProject, `SELECT 1 FROM keys WHERE project = ? LIMIT 1`},
		{&r.keyByHash, `SELECT ` + keyColumns + ` FROM keys WHERE hash = ?`},
		{&r.setAside, `SELECT seq, reason, size, receive_time, iif(?4, event_id, ''), iif(?4, raw, x'') FROM set_aside
			WHERE project = ?1 AND seq < ?2 AND ?3 IN ('', reason) ORDER BY seq DESC LIMIT ?5`},
		{&r.due, `SELECT seq, project, id, changed FROM sessions INDEXED BY sessions_changed WHERE changed <> digested AND seq > ? ORDER BY seq LIMIT ?`},
		{&r.dueCount, `SELECT count(*) FROM (SELECT 1 FROM sessions INDEXED BY sessions_changed WHERE changed <> digested LIMIT ?)`},
		{&r.userActivity, `SELECT user_id, start_time, days FROM session_digests INDEXED BY session_digests_active
			WHERE project = ? AND last_activity >= ? AND last_activity < ? AND start_time < ? AND user_id <> '' AND test = 0`},
		{&r.firstSeen, `SELECT user_id, min(start_time), min(first_day) FROM session_digests INDEXED BY session_digests_user
			WHERE project = ? AND user_id <> '' AND test = 0 GROUP BY user_id`},
		{&r.userPlaces, `SELECT id, coalesce(state ->> '$.last.country_code.v', ''), coalesce(state ->> '$.last.company_id.v', state ->> '$.last.company_name.v', '')
			FROM users WHERE project = ? AND (state ->> '$.last.country_code.v' IS NOT NULL OR state ->> '$.last.company_id.v' IS NOT NULL OR state ->> '$.last.company_name.v' IS NOT NULL)`},
		{&r.cameBack, `SELECT EXISTS (SELECT 1 FROM session_digests INDEXED BY session_digests_user
			WHERE project = ? AND user_id = ? AND start_time > ? AND start_time < ? AND user_id <> '' AND test = 0)`},
		{&r.keys, `SELECT ` + keyColumns + ` FROM keys WHERE ?1 IN ('', project) ORDER BY project, create_time, hash`},
	} {
		if *s.stmt, err = db.PrepareContext(ctx, s.query); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	for groups, columns := range []string{"start_time, last_activity, user_id, numbers", "session_id, start_time, last_activity, user_id, numbers, texts"} {
		for _, s := range []struct {
			stmt  **sql.Stmt
			where string
		}{
			{&r.digestsByStart[groups], `session_digests WHERE project = ? AND start_time >= ? AND start_time < ?`},
			{&r.digestsByEnd[groups], `session_digests WHERE project = ? AND last_activity >= ? AND last_activity < ?`},
			{&r.digestsByActivity[groups], `session_digests INDEXED BY session_digests_end WHERE project = ? AND last_activity >= ? AND start_time < ?`},
		} {
			if *s.stmt, err = db.PrepareContext(ctx, "SELECT "+columns+" FROM "+s.where); err != nil {
				return nil, errors.Join(err, db.Close())
			}
		}
	}
	r.own = new(digestReader)
	if err := prepareDigests(ctx, r.own, db.PrepareContext); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return r, nil
}

func (r *reader) close() error { return r.db.Close() }

// Conversations lists a project's conversations by start time, newest first, ties by id descending, and the token of the
// next page. A page holds 100 where page.Size is below 1, at most 1000, and at most [collector.MaxPageBytes]. A conversation
// whose start moves while the list is read, because an older event came late, may be missed or met twice.
func (s *Store) Conversations(ctx context.Context, project string, page collector.Page) ([]collector.Conversation, string, error) {
	start, id, err := parseConversationToken(page.Token)
	if err != nil {
		return nil, "", err
	}
	size := pageSize(page)
	list, more, err := queryPage(ctx, s.read.conversations, scanConversation, size, project, start, id, size+1)
	if err != nil {
		return nil, "", fmt.Errorf("sqlite: conversations: %w", err)
	}
	if !more {
		return list, "", nil
	}
	last := list[len(list)-1]
	return list, conversationToken(unixNano(last.StartTime), last.ID), nil
}

func scanConversation(rows *sql.Rows) (c collector.Conversation, bytes int, err error) {
	var (
		start, last              int64
		text, props, texts, tags []byte
		known                    session
		vote                     shownVote
	)
	if err := rows.Scan(append([]any{&c.ID, &start, &last, &c.MessageCount, &text, &props, &texts, &tags}, vote.into()...)...); err != nil {
		return c, 0, err
	}
	if err := errors.Join(json.Unmarshal(text, &known), json.Unmarshal(props, &known.Properties), json.Unmarshal(texts, &known.Texts)); err != nil {
		return c, 0, err
	}
	if err := known.show(&c); err != nil {
		return c, 0, err
	}
	if string(tags) != "[]" {
		if err := json.Unmarshal(tags, &c.Tags); err != nil {
			return c, 0, err
		}
	}
	c.Vote, c.Comment = vote.vote, vote.comment
	if c.Reasons, c.Score, err = vote.details(); err != nil {
		return c, 0, err
	}
	c.StartTime, c.LastActivity = fromNanos(start), fromNanos(last)
	if known.Close != nil {
		c.CloseTime, c.CloseReason = fromNanos(known.Close.Time), known.Close.Reason
	}
	return c, len(c.ID) + len(text) + len(props) + len(texts) + len(tags) + len(c.Comment), nil
}

// show fills in what the state says but for times.
func (s *session) show(c *collector.Conversation) error {
	c.UserID = s.First[regUserID].Value
	c.AssistantID = s.Last[regAssistantID].Value
	c.Title = s.Last[regTitle].Value
	c.Source = s.Last[regSource].Value
	c.Channel = s.Last[regChannel].Value
	c.Language = s.Last[regLanguage].Value
	c.Status = s.Last[regStatus].Value
	c.Resolution = s.Last[regResolution].Value
	c.Transfer = s.Last.boolean(regTransfer)
	c.Completed = s.Last.boolean(regCompleted)
	c.TestMode = s.Last[regTestMode].Value != ""
	c.Data = s.Texts[regData].Value
	c.Properties = s.Properties.values()
	if labels := s.Texts[regLabels].Value; labels != "" {
		return json.Unmarshal([]byte(labels), &c.Labels)
	}
	return nil
}

// Messages lists the current messages of a conversation by index, and the token of the next page. A page holds 100 where
// page.Size is below 1, at most 1000, and at most [collector.MaxPageBytes].
func (s *Store) Messages(ctx context.Context, project, conversation string, page collector.Page) ([]collector.Message, string, error) {
	after, err := parseMessageToken(page.Token)
	if err != nil {
		return nil, "", err
	}
	size := pageSize(page)
	var indexes []int64 // as kept, of the rows read
	placed := int64(0)
	scan := func(rows *sql.Rows) (m collector.Message, bytes int, err error) {
		m, index, before, bytes, err := scanMessage(rows)
		if index >= collector.FirstPlace {
			placed++
			m.Index, m.Placed = int32(min(before+placed, math.MaxInt32)), true
		}
		indexes = append(indexes, index)
		return m, bytes, err
	}
	list, more, err := queryPage(ctx, s.read.messages, scan, size, project, conversation, after, size+1, int64(collector.FirstPlace))
	if err != nil {
		return nil, "", fmt.Errorf("sqlite: messages: %w", err)
	}
	if len(list) == 0 {
		found, err := query(ctx, s.read.exists, func(*sql.Rows) (struct{}, error) { return struct{}{}, nil }, project, conversation)
		if err != nil {
			return nil, "", fmt.Errorf("sqlite: messages: %w", err)
		}
		if len(found) == 0 {
			return nil, "", collector.ErrNotFound
		}
	}
	if !more {
		return list, "", nil
	}
	return list, messageToken(indexes[len(list)-1]), nil
}

// scanMessage reads a message, its index as kept, and how many messages come before the first one in a place on this page.
func scanMessage(rows *sql.Rows) (m collector.Message, index, before int64, bytes int, err error) {
	var (
		created       int64
		props, detail string
		vote          shownVote
	)
	columns := append([]any{&index, &m.Role, &m.Content, &created, &props, &detail, &m.Versions}, vote.into()...)
	if err := rows.Scan(append(columns, &before)...); err != nil {
		return m, 0, 0, 0, err
	}
	m.Vote, m.Comment = vote.vote, vote.comment
	if m.Reasons, m.Score, err = vote.details(); err != nil {
		return m, 0, 0, 0, err
	}
	if detail != "" {
		if err := json.Unmarshal([]byte(detail), &m.Detail); err != nil {
			return m, 0, 0, 0, err
		}
	}
	m.Index = int32(min(index, math.MaxInt32))
	m.Time = fromNanos(created)
	m.Properties, err = decodeProperties(props)
	return m, index, before, len(m.Content) + len(m.Comment) + len(props) + len(detail), err
}

// Totals counts what a project holds. Votes that wait for their message or session count too.
func (s *Store) Totals(ctx context.Context, project string) (collector.Totals, error) {
	found, err := query(ctx, s.read.totals, func(rows *sql.Rows) (t collector.Totals, err error) {
		return t, rows.Scan(&t.Facts, &t.SetAside, &t.Users, &t.Conversations, &t.Messages, &t.Votes)
	}, project)
	if err != nil {
		return collector.Totals{}, fmt.Errorf("sqlite: totals: %w", err)
	}
	return found[0], nil
}

// User returns what is known of a user, or [collector.ErrNotFound].
func (s *Store) User(ctx context.Context, project, id string) (collector.User, error) {
	found, err := query(ctx, s.read.user, func(rows *sql.Rows) (u user, err error) {
		var text []byte
		if err := rows.Scan(&text); err != nil {
			return u, err
		}
		return u, json.Unmarshal(text, &u)
	}, project, id)
	if err != nil {
		return collector.User{}, fmt.Errorf("sqlite: user: %w", err)
	}
	if len(found) == 0 {
		return collector.User{}, collector.ErrNotFound
	}
	return showUser(id, &found[0]), nil
}

func showUser(id string, known *user) collector.User {
	u := collector.User{
		ID:          id,
		DisplayName: known.Last[regDisplayName].Value,
		Email:       known.Last[regEmail].Value,
		CountryCode: known.Last[regCountry].Value,
		Region:      known.Last[regRegion].Value,
		City:        known.Last[regCity].Value,
		CompanyID:   known.Last[regCompanyID].Value,
		CompanyName: known.Last[regCompanyName].Value,
		CompanyType: known.Last[regCompanyType].Value,
		Properties:  known.Properties.values(),
	}
	if u.CountryCode == "" {
		u.IP = known.Last[regIP].Value
	}
	if created, ok := known.First[regCreateTime]; ok {
		u.CreateTime, _ = time.Parse(time.RFC3339Nano, created.Value) // absent, rather than no user at all
	}
	return u
}

// query runs a prepared query within queryTimeout, and returns its rows.
func query[T any](ctx context.Context, stmt *sql.Stmt, scan func(*sql.Rows) (T, error), args ...any) (list []T, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}

// queryPage is query for a page of at most size rows and [collector.MaxPageBytes], but for a first row that is larger. It
// reports whether there are more; to know, the query itself must ask for one more than size.
func queryPage[T any](ctx context.Context, stmt *sql.Stmt, scan func(*sql.Rows) (one T, bytes int, err error), size int, args ...any) (list []T, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return nil, false, err
	}
	return pageOf(rows, scan, size)
}

// rowBefore reads a token that is a row, of a list with the newest first: what comes is before it.
func rowBefore(page collector.Page) (int64, error) {
	if page.Token == "" {
		return math.MaxInt64, nil
	}
	row, err := strconv.ParseInt(page.Token, 36, 64)
	if err != nil {
		return 0, collector.ErrPageToken
	}
	return row, nil
}

// pageOf reads a page's rows and closes them.
func pageOf[T any](rows *sql.Rows, scan func(*sql.Rows) (one T, bytes int, err error), size int) (list []T, more bool, err error) {
	defer rows.Close()
	for sum := 0; rows.Next(); {
		if len(list) == size {
			return list, true, nil
		}
		one, bytes, err := scan(rows)
		if err != nil {
			return nil, false, err
		}
		if sum += bytes; sum > collector.MaxPageBytes && len(list) > 0 {
			return list, true, nil
		}
		list = append(list, one)
	}
	return list, false, rows.Err()
}

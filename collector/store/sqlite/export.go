package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	digests "github.com/openalign/align/collector/digest"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// What the daily export has to look at: the conversations that facts spoke of since a file last told of them.

var _ collector.ExportStore = (*Store)(nil)

const (
	// scanChunk is how many facts are looked at in one transaction.
	scanChunk = 5000
	// candidateChunk is how many conversations are in memory at a time, without their messages. A page with fewer is the last.
	candidateChunk = 200
	// exportCache is what a connection that reads for the export keeps of the file, in KiB. It reads nearly everything once.
	exportCache = 2048
)

// exportReader returns a connection for the export alone: it reads for long, and the pool's are few.
func (s *Store) exportReader(ctx context.Context) (*sql.Conn, func() error, error) {
	db, err := sql.Open("sqlite", dsn(s.file, "query_only(1)", fmt.Sprintf("cache_size(-%d)", exportCache)))
	if err != nil {
		return nil, nil, err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return conn, func() error { return errors.Join(conn.Close(), db.Close()) }, nil
}

// NoteNews notes the conversations that facts spoke of since it was last called, a few thousand facts at a time.
func (s *Store) NoteNews(ctx context.Context) error {
	for {
		more, err := s.noteNews(ctx)
		if err != nil {
			return fmt.Errorf("sqlite: export: %w", err)
		}
		if !more {
			return nil
		}
	}
}

func (s *Store) noteNews(ctx context.Context) (more bool, err error) {
	var after int64
	if err := s.read.db.QueryRowContext(ctx, `SELECT seq FROM export_scan`).Scan(&after); err != nil {
		return false, err
	}
	rows, err := s.read.db.QueryContext(ctx, `SELECT seq, project, receive_time, event FROM facts WHERE seq > ? ORDER BY seq LIMIT ?`, after, scanChunk)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	news, last, n := map[entity]newsOf{}, after, 0
	var e ingestionv1alpha.Event
	for rows.Next() {
		var (
			project  string
			received int64
			event    sql.RawBytes
		)
		if err := rows.Scan(&last, &project, &received, &event); err != nil {
			return false, err
		}
		n++
		// One that cannot be read says nothing; one that was emptied was noted then.
		if err := proto.Unmarshal(event, &e); err != nil {
			continue
		}
		p := e.GetProperties()
		for _, id := range []string{p.GetSessionProperties().GetSessionId(), p.GetMessageProperties().GetSessionId(), p.GetFeedbackProperties().GetSessionId()} {
			if id != "" {
				key := entity{project, id}
				news[key] = newsOf{last, max(received, news[key].received)}
			}
		}
	}
	if err := closeRows(rows); err != nil || n == 0 {
		return false, err
	}
	err = s.do(ctx, &job{apply: func(t *transaction) error {
		for key, one := range news {
			if err := t.noteNews(key, one); err != nil {
				return err
			}
		}
		// Another process may have come further.
		_, err := t.conn.ExecContext(context.Background(), `UPDATE export_scan SET seq = max(seq, ?)`, last)
		return err
	}})
	return n == scanChunk, err
}

// newsOf is the last fact that speaks of a conversation, and when it came.
type newsOf struct{ seq, received int64 }

func (t *transaction) noteNews(key entity, last newsOf) error {
	_, err := exec(t.noteOneNews, key.project, key.id, last.seq, last.received)
	return err
}

// ExportProjects lists the projects that have conversations with news, or days that are final.
func (s *Store) ExportProjects(ctx context.Context) (list []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	// Each project is found by a step in the index, however many conversations it has.
	rows, err := s.read.db.QueryContext(ctx, `WITH RECURSIVE
		news(p) AS (SELECT min(project) FROM export_news UNION ALL
			SELECT (SELECT min(project) FROM export_news WHERE project > p) FROM news WHERE p IS NOT NULL),
		days(p) AS (SELECT min(project) FROM export_days UNION ALL
			SELECT (SELECT min(project) FROM export_days WHERE project > p) FROM days WHERE p IS NOT NULL)
		SELECT p FROM news WHERE p IS NOT NULL UNION SELECT p FROM days WHERE p IS NOT NULL ORDER BY p`)
	if err != nil {
		return nil, fmt.Errorf("sqlite: export: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var project string
		if err := rows.Scan(&project); err != nil {
			return nil, fmt.Errorf("sqlite: export: %w", err)
		}
		list = append(list, project)
	}
	return list, rows.Err()
}

// OldestNews returns the last activity of the conversation with news that ended first.
func (s *Store) OldestNews(ctx context.Context, project string) (time.Time, error) {
	var oldest sql.NullInt64
	err := s.read.db.QueryRowContext(ctx, `SELECT min(ends) FROM export_news WHERE project = ?`, project).Scan(&oldest)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("sqlite: export: %w", err)
	case !oldest.Valid:
		return time.Time{}, collector.ErrNotFound
	}
	return fromNanos(oldest.Int64), nil
}

// The two lists of candidates: conversations that ended before a moment, and those that go on and were told of already. They
// are pages of an index each.
const (
	endedNews   = `n.project = ?1 AND (n.ends, n.session_id) > (?2, ?3) AND n.ends < ?4`
	ongoingNews = `n.project = ?1 AND (n.ends, n.session_id) > (max(?2, ?4 - 1), iif(?2 < ?4, char(0x10FFFF), ?3)) AND n.told = 1`
)

// Candidates calls yield for each conversation of a project with news that ended before a moment, or of which files tell
// already, by end and id. What yield is given of one conversation is of one moment.
func (s *Store) Candidates(ctx context.Context, project string, before time.Time, yield func(*collector.Candidate, func() (*collector.ExportMessage, bool, error)) error) (err error) {
	conn, done, err := s.exportReader(ctx)
	if err != nil {
		return fmt.Errorf("sqlite: export: %w", err)
	}
	defer func() { err = errors.Join(err, done()) }()
	c := candidates{conn: conn, project: project, before: unixNano(before)}
	for _, s := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&c.conversations, `SELECT ` + conversationColumns + ` FROM ` + conversationTables + ` WHERE s.project = ? AND s.id = ?`},
		{&c.episodes, `SELECT e.episode, e.day, e.upto, e.end_time, e.status, e.resolution, e.digest
			FROM export_episodes e CROSS JOIN export_days d
			WHERE e.project = ?1 AND e.session_id = ?2 AND d.project = ?1 AND d.day = e.day AND d.final ORDER BY e.episode, e.day`},
		{&c.keys, `SELECT labels, content FROM export_keys WHERE project = ? AND session_id = ?`},
		{&c.messages, `SELECT m.idx, m.role, m.content, m.time, m.properties, m.detail, m.version IS NOT NULL, ` + voteColumns + `
			FROM messages m LEFT JOIN votes v
				ON v.project = m.project AND v.session_id = m.session_id AND v.idx = iif(m.turn = 0, m.idx, -m.turn)
				AND v.voter = (SELECT voter FROM votes w
					WHERE w.project = m.project AND w.session_id = m.session_id AND w.idx = iif(m.turn = 0, m.idx, -m.turn) AND w.vote <> 0
					ORDER BY w.event_time DESC, w.event_id DESC LIMIT 1)
			WHERE m.project = ? AND m.session_id = ? AND m.hidden = 0 ORDER BY m.idx`},
	} {
		if *s.stmt, err = conn.PrepareContext(ctx, s.query); err != nil {
			return fmt.Errorf("sqlite: export: %w", err)
		}
		defer (*s.stmt).Close()
	}
	err = prepareDigests(ctx, &c.digests, func(ctx context.Context, query string) (*sql.Stmt, error) { return conn.PrepareContext(ctx, query) })
	if err != nil {
		return fmt.Errorf("sqlite: export: %w", err)
	}
	defer c.digests.close()
	detector, err := c.digests.detector(ctx)
	if err != nil {
		return fmt.Errorf("sqlite: export: %w", err)
	}
	c.noDetector = !detector
	for _, which := range []string{endedNews, ongoingNews} {
		for ends, id := int64(math.MinInt64), ""; ; {
			more, err := c.page(ctx, which, &ends, &id, yield)
			if err != nil {
				return err
			}
			if !more {
				break
			}
		}
	}
	return nil
}

// candidates reads conversations, a page in one read transaction.
type candidates struct {
	conn                                    *sql.Conn
	conversations, episodes, keys, messages *sql.Stmt
	digests                                 digestReader
	noDetector                              bool
	project                                 string
	before                                  int64
}

// page yields the conversations of a list after one, and moves on to the last of them. It reports whether there may be more.
func (c *candidates) page(ctx context.Context, which string, ends *int64, id *string, yield func(*collector.Candidate, func() (*collector.ExportMessage, bool, error)) error) (more bool, err error) {
	if _, err := c.conn.ExecContext(ctx, "BEGIN"); err != nil {
		return false, fmt.Errorf("sqlite: export: %w", err)
	}
	defer func() {
		_, ended := c.conn.ExecContext(context.WithoutCancel(ctx), "COMMIT")
		err = errors.Join(err, ended)
	}()
	list, err := c.read(ctx, which, ends, id)
	if err != nil {
		return false, fmt.Errorf("sqlite: export: %w", err)
	}
	for i := range list {
		if err := c.yield(ctx, &list[i], yield); err != nil {
			return false, err
		}
	}
	return len(list) == candidateChunk, nil
}

// yield yields one conversation with its messages.
func (c *candidates) yield(ctx context.Context, one *collector.Candidate, yield func(*collector.Candidate, func() (*collector.ExportMessage, bool, error)) error) error {
	rows, err := c.messages.QueryContext(ctx, c.project, one.ID)
	if err != nil {
		return fmt.Errorf("sqlite: export: %w", err)
	}
	defer rows.Close()
	var signs digests.Signs // read once one is needed
	n := int32(0)
	return yield(one, func() (*collector.ExportMessage, bool, error) {
		if !rows.Next() {
			return nil, false, rows.Err()
		}
		m, key, err := scanExported(rows)
		if err == nil && m.Taken {
			if signs == nil {
				signs, err = c.digests.knownSigns(ctx, entity{c.project, one.ID})
			}
			if signs == nil {
				signs = digests.Signs{}
			}
			m.Sign = uint16(signs[key])
		}
		n++
		m.Index = n
		return m, err == nil, err
	})
}

// scanExported reads a message as far as files tell of it, and what its signs are kept under.
func scanExported(rows *sql.Rows) (_ *collector.ExportMessage, key int64, _ error) {
	var (
		m             collector.ExportMessage
		created       int64
		props, detail string
		vote          shownVote
		err           error
	)
	if err := rows.Scan(append([]any{&key, &m.Role, &m.Content, &created, &props, &detail, &m.Taken}, vote.into()...)...); err != nil {
		return &m, key, err
	}
	if m.Properties, err = decodeProperties(props); err != nil {
		return &m, key, err
	}
	m.Time, m.Vote, m.Comment = fromNanos(created), vote.vote, vote.comment
	if m.Reasons, m.Score, err = vote.details(); err != nil {
		return &m, key, err
	}
	if detail != "" {
		err = json.Unmarshal([]byte(detail), &m.Detail)
	}
	return &m, key, err
}

// read returns conversations without their messages.
func (c *candidates) read(ctx context.Context, which string, ends *int64, id *string) (list []collector.Candidate, err error) {
	rows, err := c.conn.QueryContext(ctx, `SELECT n.ends, n.session_id, n.received FROM export_news n WHERE `+which+`
		ORDER BY n.ends, n.session_id LIMIT ?5`, c.project, *ends, *id, c.before, candidateChunk)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var received int64
		if err := rows.Scan(ends, id, &received); err != nil {
			return nil, err
		}
		list = append(list, collector.Candidate{Conversation: collector.Conversation{ID: *id}, NewsTime: fromNanos(received), NoDetector: c.noDetector})
	}
	if err := closeRows(rows); err != nil {
		return nil, err
	}
	for i := range list {
		if err := c.conversation(ctx, &list[i].Conversation); err != nil {
			return nil, err
		}
		if err := c.addTold(ctx, &list[i]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// conversation reads one of which the id is known.
func (c *candidates) conversation(ctx context.Context, one *collector.Conversation) error {
	rows, err := c.conversations.QueryContext(ctx, c.project, one.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		return errors.Join(rows.Err(), collector.ErrNotFound)
	}
	if *one, _, err = scanConversation(rows); err != nil {
		return err
	}
	return closeRows(rows)
}

// addTold adds what final files tell of a conversation, and its keys.
func (c *candidates) addTold(ctx context.Context, one *collector.Candidate) error {
	rows, err := c.episodes.QueryContext(ctx, c.project, one.ID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			e   collector.Episode
			end int64
		)
		if err := rows.Scan(&e.Number, &e.Day, &e.Upto, &end, &e.Status, &e.Resolution, &e.Digest); err != nil {
			return err
		}
		e.End = fromNanos(end)
		if n := len(one.Episodes); n > 0 && one.Episodes[n-1].Number == e.Number {
			one.Episodes = one.Episodes[:n-1] // a later file told of it again
		}
		one.Episodes = append(one.Episodes, e)
	}
	if err := closeRows(rows); err != nil {
		return err
	}
	err = c.keys.QueryRowContext(ctx, c.project, one.ID).Scan(&one.Keys.Labels, &one.Keys.Content)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// close closes the statements.
func (r *digestReader) close() {
	for _, stmt := range []*sql.Stmt{r.session, r.messages, r.votes, r.signs, r.rules} {
		_ = stmt.Close() // the connection goes too
	}
}

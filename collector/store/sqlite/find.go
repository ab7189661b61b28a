package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/openalign/align/collector"
)

// Finding conversations by what is known of them. Everything here reads the views, and so is never behind; words.go and
// text.go find them by what their messages say.

// countLimit is where Count stops.
const countLimit = 10_000

// Conversation returns one conversation, or [collector.ErrNotFound].
func (s *Store) Conversation(ctx context.Context, project, id string) (collector.Conversation, error) {
	found, err := query(ctx, s.read.conversation, func(rows *sql.Rows) (collector.Conversation, error) {
		c, _, err := scanConversation(rows)
		return c, err
	}, project, id)
	if err != nil {
		return collector.Conversation{}, fmt.Errorf("sqlite: conversation: %w", err)
	}
	if len(found) == 0 {
		return collector.Conversation{}, collector.ErrNotFound
	}
	return found[0], nil
}

// Search lists the conversations a query wants, newest first by start time, ties by id descending, or in the order the query
// names, after the first offset of them, and the token of the next page. A page holds 100 where page.Size is below 1, at
// most 1000, and at most [collector.MaxPageBytes]. With a token the offset counts from where the page before ended.
// An offset beyond [collector.MaxOffset] or below 0, and Ranked without a text or with Reversed, are a [collector.ErrQuery].
//
// Without Text the answer is always up to date; see text.go for what it costs and means with one.
func (s *Store) Search(ctx context.Context, project string, q collector.Query, page collector.Page, offset int) ([]collector.Hit, string, error) {
	if offset < 0 || offset > collector.MaxOffset {
		return nil, "", fmt.Errorf("%w: offset must be from 0 to %d", collector.ErrQuery, collector.MaxOffset)
	}
	if q.Ranked && (q.Text == "" || q.Reversed) {
		return nil, "", fmt.Errorf("%w: only what is found by text can be ranked, the best first", collector.ErrQuery)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if q.Text != "" {
		hits, next, err := s.searchText(ctx, project, &q, page, offset)
		return hits, next, wrapSearch("search", err)
	}
	after, err := parsePosition(page.Token, q.Reversed)
	if err != nil {
		return nil, "", err
	}
	found, more, err := s.find(ctx, project, &q, after, offset, pageSize(page))
	if err != nil {
		return nil, "", fmt.Errorf("sqlite: search: %w", err)
	}
	hits := make([]collector.Hit, len(found))
	for i := range found {
		hits[i].Conversation = found[i]
	}
	if !more {
		return hits, "", nil
	}
	last := &hits[len(hits)-1]
	return hits, position{unixNano(last.StartTime), last.ID}.token(q.Reversed), nil
}

// Count counts the conversations a query wants. It stops at 10,000; exact says whether it did not have to.
func (s *Store) Count(ctx context.Context, project string, q collector.Query) (n int, exact bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if q.Text != "" {
		n, exact, err = s.countText(ctx, project, &q)
		return n, exact, wrapSearch("count", err)
	}
	w := wanted(project, &q)
	err = s.read.db.QueryRowContext(ctx, `SELECT count(*) FROM (SELECT 1 FROM sessions s WHERE `+w.where.String()+` LIMIT ?)`,
		append(w.args, countLimit+1)...).Scan(&n)
	if err != nil {
		return 0, false, fmt.Errorf("sqlite: count: %w", err)
	}
	return min(n, countLimit), n <= countLimit, nil
}

// wrapSearch says where an error is from, unless it is about what was asked.
func wrapSearch(what string, err error) error {
	if err == nil || errors.Is(err, collector.ErrQuery) || errors.Is(err, collector.ErrPageToken) {
		return err
	}
	return fmt.Errorf("sqlite: %s: %w", what, err)
}

// find lists conversations by what is known of them.
func (s *Store) find(ctx context.Context, project string, q *collector.Query, after position, offset, size int) (list []collector.Conversation, more bool, err error) {
	w := wanted(project, q)
	order := "s.start_time DESC, s.id DESC"
	if q.Reversed {
		order = "s.start_time, s.id"
		w.and("(s.start_time, s.id) > (?, ?)", after.start, after.id)
	} else {
		w.and("(s.start_time, s.id) < (?, ?)", after.start, after.id)
	}
	rows, err := s.read.db.QueryContext(ctx, `SELECT `+conversationColumns+` FROM `+conversationTables+`
		WHERE `+w.where.String()+` ORDER BY `+order+` LIMIT ? OFFSET ?`, append(w.args, size+1, offset)...)
	if err != nil {
		return nil, false, err
	}
	return pageOf(rows, scanConversation, size)
}

// condition is what a query wants, in SQL on sessions s.
type condition struct {
	where strings.Builder
	args  []any
}

func (c *condition) and(text string, args ...any) {
	if c.where.Len() > 0 {
		c.where.WriteString(" AND ")
	}
	c.where.WriteString(text)
	c.args = append(c.args, args...)
}

// wanted says what a query wants of a conversation, but for its text. What costs most is asked last.
func wanted(project string, q *collector.Query) *condition {
	c := &condition{}
	c.and("s.project = ?", project)
	if q.UserID != "" {
		c.and("s.user_id = ?", q.UserID)
	}
	if !q.From.IsZero() {
		c.and("s.start_time >= ?", unixNano(q.From))
	}
	if !q.To.IsZero() {
		c.and("s.start_time < ?", unixNano(q.To))
	}
	if q.Tag != "" {
		c.and(`EXISTS (SELECT 1 FROM tags t WHERE t.project = s.project AND t.session_id = s.id AND t.run_id = '' AND t.tag = ? AND t.present = 1)`, q.Tag)
	}
	for register, value := range map[string]string{regAssistantID: q.AssistantID, regSource: q.Source, regChannel: q.Channel,
		regLanguage: q.Language, regStatus: q.Status} {
		if value != "" {
			c.and("s.state ->> '$.last."+register+".v' = ?", value)
		}
	}
	if q.State != nil {
		c.andState(*q.State, q.At, q.Idle)
	}
	if q.Vote != collector.VoteNone {
		c.andVote(q.Vote)
	}
	if q.Label != "" {
		// What is kept is a JSON array in a string, and all of it was written by this program.
		c.and(`EXISTS (SELECT 1 FROM session_properties p, json_each(nullif(p.texts ->> '$.labels.v', '')) e
			WHERE p.project = s.project AND p.session_id = s.id AND e.value = ?)`, q.Label)
	}
	for name, value := range q.Metadata {
		// Data came from a client, who may call anything an object.
		c.and(`EXISTS (SELECT 1 FROM session_properties p WHERE p.project = s.project AND p.session_id = s.id AND
			(EXISTS (SELECT 1 FROM json_each(p.state) e WHERE e.key = ? AND e.value ->> '$.v' = ?) OR EXISTS (SELECT 1 FROM
			json_each(CASE WHEN json_valid(p.texts ->> '$.data.v') THEN p.texts ->> '$.data.v' END) e
			WHERE e.key = ? AND e.type NOT IN ('object', 'array', 'null') AND iif(e.type IN ('true', 'false'), e.type, CAST(e.value AS TEXT)) = ?)))`, name, value, name, value)
	}
	return c
}

// andState is [collector.Conversation.State].
func (c *condition) andState(state collector.State, now time.Time, idle time.Duration) {
	closed, args := "coalesce((s.state ->> '$.close.time') >= s.last_activity, 0)", []any(nil)
	if idle > 0 {
		since := unixNano(now)
		if since < math.MinInt64+int64(idle) {
			since = math.MinInt64
		} else {
			since -= int64(idle)
		}
		closed, args = "("+closed+" OR s.last_activity <= ?)", []any{since}
	}
	if state == collector.StateOpen {
		closed = "NOT " + closed
	}
	c.and(closed, args...)
}

// andVote wants a vote that is shown: the latest that stands, on the conversation or on a message of it that is shown.
func (c *condition) andVote(vote collector.Vote) {
	c.and(`EXISTS (SELECT 1 FROM votes w WHERE w.project = s.project AND w.session_id = s.id AND w.vote = ?
		AND NOT EXISTS (SELECT 1 FROM votes l WHERE l.project = w.project AND l.session_id = w.session_id AND l.idx = w.idx
			AND l.vote <> 0 AND (l.event_time, l.event_id) > (w.event_time, w.event_id))
		AND (w.idx = 0 OR EXISTS (SELECT 1 FROM messages m WHERE m.project = w.project AND m.session_id = w.session_id
			AND m.hidden = 0 AND w.idx = iif(m.turn = 0, m.idx, -m.turn))))`, int(vote))
}

// position is where a page of a search ended.
type position struct {
	start int64
	id    string
}

// A token of a search says in which direction it goes on.
const (
	tokenNewest = 'n'
	tokenOldest = 'o'
)

func (p position) token(reversed bool) string {
	kind := byte(tokenNewest)
	if reversed {
		kind = tokenOldest
	}
	b := binary.BigEndian.AppendUint64([]byte{kind}, uint64(p.start))
	return base64.RawURLEncoding.EncodeToString(append(b, p.id...))
}

// parsePosition returns the position to go on after; without a token that is before the first.
func parsePosition(token string, reversed bool) (position, error) {
	kind, first := byte(tokenNewest), position{math.MaxInt64, "\xff"}
	if reversed {
		kind, first = tokenOldest, position{math.MinInt64, ""}
	}
	if token == "" {
		return first, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 9 || b[0] != kind {
		return position{}, collector.ErrPageToken
	}
	return position{int64(binary.BigEndian.Uint64(b[1:])), string(b[9:])}, nil
}

func comparePositions(a, b position) int {
	return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.id, b.id))
}

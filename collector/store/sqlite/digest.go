package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/openalign/align/collector"
	digests "github.com/openalign/align/collector/digest"
)

const (
	// digestDelay is how long a change waits for others of its session before a digest is made.
	digestDelay = 250 * time.Millisecond
	// digestChunk is how many digests are written in one transaction: few, as appends wait for it.
	digestChunk = 64
	// digestYield is how long a chunk waits at most for a moment without appends.
	digestYield = time.Second
	// digestTell bounds how many that wait are counted for Stats.
	digestTell = 10_000
	// knownGroups is how many descriptions of sessions are remembered while digests are read.
	knownGroups = 4096
	// renewChunk is how many digests are made due at a time when the rules have changed.
	renewChunk = 1000
)

// digester makes digests of sessions that changed, behind ingest. It reads as any reader does, and writes through the
// writer's queue.
type digester struct {
	wake chan struct{} // capacity 1: something changed
	ctx  context.Context
	stop context.CancelFunc
	done chan struct{}

	one sync.Mutex // held while digests are made: one at a time

	mu     sync.Mutex
	since  time.Time // of the oldest change that may wait; zero for none
	failed uint64    // digests that could not be made
}

func newDigester() *digester {
	ctx, stop := context.WithCancel(context.Background())
	d := &digester{wake: make(chan struct{}, 1), ctx: ctx, stop: stop, done: make(chan struct{}), since: time.Now()}
	d.wake <- struct{}{} // a process that died may have left some
	return d
}

// makeDigests is the digester's goroutine.
func (s *Store) makeDigests() {
	d := s.digests
	defer close(d.done)
	for pause(d.ctx, d.wake, 0) && pause(d.ctx, nil, digestDelay) {
		// What fails is counted, and comes again with the next change.
		_ = s.digestAll(d.ctx, func() { s.yield(d.ctx) })
	}
}

func (d *digester) end() {
	d.stop()
	<-d.done
}

// changed says that sessions changed.
func (d *digester) changed() {
	d.mu.Lock()
	if d.since.IsZero() {
		d.since = time.Now()
	}
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// pause waits for c, or for a time where that is nil. It returns false once ctx has ended.
func pause(ctx context.Context, c <-chan struct{}, limit time.Duration) bool {
	var timer <-chan time.Time
	if c == nil {
		t := time.NewTimer(limit)
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-c:
	case <-timer:
	}
	return ctx.Err() == nil
}

// yield waits for a moment without appends, but not for ever.
func (s *Store) yield(ctx context.Context) {
	const look = 5 * time.Millisecond
	for range digestYield / look {
		if held, lined := s.queue.holds(); held.events+lined.events == 0 || !pause(ctx, nil, look) {
			return
		}
	}
}

// DigestAll makes the digest of every session that changed until now, and returns when they are there.
func (s *Store) DigestAll(ctx context.Context) error {
	if err := s.digestAll(ctx, func() {}); err != nil {
		return fmt.Errorf("sqlite: digests: %w", err)
	}
	return nil
}

// due is a session whose digest is to be made.
type due struct {
	seq     int64
	key     entity
	changed int64
}

func (s *Store) digestAll(ctx context.Context, before func()) error {
	s.digests.one.Lock()
	defer s.digests.one.Unlock()
	begun := time.Now()
	var errs error
	for after := int64(math.MinInt64); ; {
		before()
		list, err := query(ctx, s.read.due, func(rows *sql.Rows) (d due, err error) {
			return d, rows.Scan(&d.seq, &d.key.project, &d.key.id, &d.changed)
		}, after, digestChunk)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			renewed, err := ask(ctx, s, new(job), (*transaction).renewDigests)
			if err != nil {
				return errors.Join(errs, err)
			}
			if renewed == 0 || errs != nil {
				break
			}
			after = math.MinInt64
			continue
		}
		after = list[len(list)-1].seq
		if err := s.digestSome(ctx, list); err != nil {
			if ctx.Err() != nil {
				return err
			}
			errs = errors.Join(errs, err)
		}
	}
	d := s.digests
	d.mu.Lock()
	defer d.mu.Unlock()
	d.since = time.Time{}
	if errs == nil && len(d.wake) > 0 {
		d.since = begun // there were changes meanwhile
	}
	return errs
}

// digestSome makes digests, and keeps those of sessions that did not change meanwhile: the others are due still.
func (s *Store) digestSome(ctx context.Context, list []due) error {
	made := make([]*digestRow, 0, len(list))
	var errs error
	for _, one := range list {
		row, err := s.read.own.digestOf(ctx, one.key)
		if err != nil {
			s.digests.mu.Lock()
			s.digests.failed++
			s.digests.mu.Unlock()
			errs = errors.Join(errs, err)
			continue
		}
		row.changed = one.changed
		made = append(made, row)
	}
	err := s.do(ctx, &job{apply: func(t *transaction) error {
		for _, row := range made {
			if err := t.keepDigest(row); err != nil {
				return err
			}
		}
		return nil
	}})
	return errors.Join(errs, err)
}

// digestRow is a digest as it is kept.
type digestRow struct {
	key                   entity
	changed               int64 // of the session when it was read
	start, last           int64
	user                  string
	test, firstDay        any
	days                  string
	numbers, texts, signs string
	rules                 int64
}

// rulesOf numbers the rules that a digest is made by. The detector can be switched off for a whole file.
func rulesOf(detector bool) int64 {
	if detector {
		return 2 * digests.Version
	}
	return 2*digests.Version + 1
}

// renewDigests makes some digests due that were made by other rules, and returns how many.
func (t *transaction) renewDigests() (n int64, err error) {
	detector, err := t.own.detector(context.Background())
	if err != nil {
		return 0, err
	}
	return exec(t.renewOld, rand.Int64(), rulesOf(detector), renewChunk)
}

// SetDetector switches the detector of misunderstandings on or off, for good and for all that is in the file. Digests are
// made again behind ingest; see [outcome.Options].
func (s *Store) SetDetector(ctx context.Context, on bool) error {
	err := s.do(ctx, &job{apply: func(t *transaction) error {
		_, err := exec(t.setDetector, on)
		return err
	}})
	if err != nil {
		return fmt.Errorf("sqlite: detector: %w", err)
	}
	s.digests.changed()
	return nil
}

// Detector reports whether the detector is on.
func (s *Store) Detector(ctx context.Context) (on bool, err error) {
	if on, err = s.read.own.detector(ctx); err != nil {
		return false, fmt.Errorf("sqlite: detector: %w", err)
	}
	return on, nil
}

func (r *digestReader) detector(ctx context.Context) (on bool, err error) {
	found, err := query(ctx, r.rules, func(rows *sql.Rows) (on bool, err error) { return on, rows.Scan(&on) })
	if err != nil {
		return false, err
	}
	return found[0], nil
}

// keepDigest writes a digest unless its session changed since it was read.
func (t *transaction) keepDigest(row *digestRow) error {
	n, err := exec(t.setDigested, row.changed, row.key.project, row.key.id)
	if err != nil || n == 0 {
		return err
	}
	_, err = exec(t.upsertDigest, row.key.project, row.start, row.key.id, row.last, row.user, row.test, row.firstDay, row.days, row.numbers, row.texts, row.signs, row.rules)
	return err
}

// digestNow makes the digest of a session that is due, in this transaction: what it rests on is about to go.
func (t *transaction) digestNow(key entity) error {
	var changed, digested int64
	switch err := t.selectChanged.QueryRow(key.project, key.id).Scan(&changed, &digested); {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	case changed == digested:
		return nil
	}
	row, err := t.own.digestOf(context.Background(), key)
	if err != nil {
		return err
	}
	row.changed = changed
	return t.keepDigest(row)
}

// mark says that a session changed.
func (t *transaction) mark(key entity) error {
	_, err := exec(t.markChanged, rand.Int64(), key.project, key.id)
	return err
}

// digestReader has what reads a session for its digest, on any connection.
type digestReader struct {
	session, messages, votes, signs, rules *sql.Stmt
}

// prepareDigests prepares the statements of a digestReader.
func prepareDigests(ctx context.Context, r *digestReader, prepare func(context.Context, string) (*sql.Stmt, error)) (err error) {
	for _, s := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&r.session, `SELECT ` + conversationColumns + ` FROM ` + conversationTables + ` WHERE s.project = ? AND s.id = ?`},
		{&r.messages, `SELECT idx, turn, role, content, time, properties, detail, versions, version IS NOT NULL FROM messages
			WHERE project = ? AND session_id = ? AND hidden = 0 ORDER BY idx`},
		{&r.votes, `SELECT idx, vote, score, score_min, score_max FROM votes WHERE project = ? AND session_id = ? AND vote <> 0 ORDER BY event_time, event_id`},
		{&r.rules, `SELECT coalesce((SELECT detector FROM digest_rules), 1)`},
		{&r.signs, `SELECT signs FROM session_digests WHERE project = ? AND session_id = ?`},
	} {
		if *s.stmt, err = prepare(ctx, s.query); err != nil {
			return err
		}
	}
	return nil
}

// digestOf reads a session and makes its digest. Its statements may see the session at different moments: then it changed
// meanwhile, and the digest is not kept.
func (r *digestReader) digestOf(ctx context.Context, key entity) (*digestRow, error) {
	detector, err := r.detector(ctx)
	if err != nil {
		return nil, err
	}
	found, err := query(ctx, r.session, func(rows *sql.Rows) (collector.Conversation, error) {
		c, _, err := scanConversation(rows)
		return c, err
	}, key.project, key.id)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, collector.ErrNotFound
	}
	votes := map[int64][]digests.Vote{}
	_, err = query(ctx, r.votes, func(rows *sql.Rows) (struct{}, error) {
		var (
			idx              int64
			v                digests.Vote
			score, low, high sql.NullFloat64
		)
		err := rows.Scan(&idx, &v.Vote, &score, &low, &high)
		if score.Valid {
			v.Score = &collector.Score{Value: score.Float64, Min: low.Float64, Max: high.Float64}
		}
		votes[idx] = append(votes[idx], v)
		return struct{}{}, err
	}, key.project, key.id)
	if err != nil {
		return nil, err
	}
	taken := false
	messages, err := query(ctx, r.messages, func(rows *sql.Rows) (m digests.Message, err error) {
		var (
			turn, created int64
			props, detail sql.RawBytes
		)
		if err := rows.Scan(&m.Key, &turn, &m.Role, &m.Content, &created, &props, &detail, &m.Versions, &m.Taken); err != nil {
			return m, err
		}
		m.Time = fromNanos(created)
		if len(detail) > 0 {
			if err := json.Unmarshal(detail, &m.Detail); err != nil {
				return m, err
			}
		}
		if m.Properties, err = decodeProperties(string(props)); err != nil {
			return m, err
		}
		votedAs := m.Key
		if turn != 0 {
			votedAs = -turn
		}
		m.Votes = votes[votedAs]
		if n := len(m.Votes); n > 0 {
			m.Vote = m.Votes[n-1].Vote
		}
		taken = taken || m.Taken
		return m, nil
	}, key.project, key.id)
	if err != nil {
		return nil, err
	}
	for i := range messages { // the outcome only needs to tell them apart, in order
		messages[i].Index = int32(i + 1)
	}
	var known digests.Signs
	if taken {
		if known, err = r.knownSigns(ctx, key); err != nil {
			return nil, err
		}
	}
	d, signs := digests.Of(&found[0], messages, votes[0], known, digests.Options{DisableDetector: !detector})
	row := &digestRow{key: key, test: d.Numbers[digests.TestMode], days: string(digests.AppendList(nil, d.Samples[digests.Days])), start: d.Start, last: d.Last, user: d.UserID, numbers: string(d.AppendNumbers(nil)), rules: rulesOf(detector)}
	if days := d.Samples[digests.Days]; len(days) > 0 {
		row.firstDay = slices.Min(days)
	}
	if row.texts, err = d.Groups.Encode(); err != nil {
		return nil, err
	}
	row.signs, err = signs.Encode()
	return row, err
}

func (r *digestReader) knownSigns(ctx context.Context, key entity) (digests.Signs, error) {
	found, err := query(ctx, r.signs, func(rows *sql.Rows) (text string, err error) { return text, rows.Scan(&text) }, key.project, key.id)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return digests.DecodeSigns(found[0])
}

// digestStats says what waits.
func (s *Store) digestStats(stats *collector.StoreStats) {
	d := s.digests
	d.mu.Lock()
	stats.DigestsFailed = d.failed
	since := d.since
	d.mu.Unlock()
	if since.IsZero() {
		return
	}
	found, err := query(context.Background(), s.read.dueCount, func(rows *sql.Rows) (n int, err error) { return n, rows.Scan(&n) }, digestTell)
	if err == nil && found[0] > 0 {
		stats.DigestsDue, stats.DigestLag = found[0], time.Since(since)
	}
}

// Digests calls yield for each digest of a window, in no order to rely on, and ends with its first error. The digest is the
// caller's until yield returns.
func (s *Store) Digests(ctx context.Context, project string, window digests.Window, yield func(*digests.Digest) error) error {
	from, to := unixNano(window.From), unixNano(window.To)
	statements := map[digests.By][2]*sql.Stmt{digests.ByStart: s.read.digestsByStart, digests.ByEnd: s.read.digestsByEnd, digests.ByActivity: s.read.digestsByActivity}[window.By]
	var d digests.Digest
	var numbers, texts sql.RawBytes
	groups := map[string]digests.Groups{} // most sessions are described like some others
	statement, into := statements[0], []any{&d.Start, &d.Last, &d.UserID, &numbers}
	if window.Groups {
		statement, into = statements[1], []any{&d.ID, &d.Start, &d.Last, &d.UserID, &numbers, &texts}
	}
	return s.each(ctx, statement, into, func() error {
		err := d.ParseNumbers(numbers)
		if known, ok := groups[string(texts)]; ok {
			d.Groups = known
		} else if window.Groups {
			err = errors.Join(err, d.Groups.Decode(texts))
			if len(groups) < knownGroups {
				groups[string(texts)] = d.Groups
			}
		}
		if err != nil {
			return fmt.Errorf("sqlite: digests: %w", err)
		}
		return yield(&d)
	}, project, from, to)
}

// Activity of users without the rest of their digests. What they yield is theirs, and only valid until yield returns.

// UserActivity calls yield for each conversation of a known user, test mode apart, that began before a moment and was active
// last from one moment on and before another, or at any time since where that is zero: its user, start, and the days on
// which the user wrote as a JSON array.
func (s *Store) UserActivity(ctx context.Context, project string, from, until, begun time.Time, yield func(user []byte, start int64, days []byte) error) error {
	var (
		user, days sql.RawBytes
		start      int64
		end        = int64(math.MaxInt64)
	)
	if !until.IsZero() {
		end = unixNano(until)
	}
	return s.each(ctx, s.read.userActivity, []any{&user, &start, &days}, func() error { return yield(user, start, days) },
		project, unixNano(from), end, unixNano(begun))
}

// FirstSeen calls yield for each known user of a project, test mode apart: with the start of the first conversation, and the
// day on which the user first wrote, which is [digest.Null] for one who never did.
func (s *Store) FirstSeen(ctx context.Context, project string, yield func(user []byte, start, day int64) error) error {
	var (
		user  sql.RawBytes
		start int64
		day   sql.NullInt64
	)
	return s.each(ctx, s.read.firstSeen, []any{&user, &start, &day}, func() error {
		if !day.Valid {
			day.Int64 = digests.Null
		}
		return yield(user, start, day.Int64)
	}, project)
}

// UserPlaces calls yield for each user whose country or company is known.
func (s *Store) UserPlaces(ctx context.Context, project string, yield func(user, country, company string) error) error {
	var user, country, company string
	return s.each(ctx, s.read.userPlaces, []any{&user, &country, &company}, func() error { return yield(user, country, company) }, project)
}

// CameBack reports whether a user started a conversation after one moment and before another, test mode apart.
func (s *Store) CameBack(ctx context.Context, project, user string, after, before int64) (yes bool, err error) {
	err = s.each(ctx, s.read.cameBack, []any{&yes}, func() error { return nil }, project, user, after, before)
	return yes, err
}

// each calls yield for each row of a query, scanned, within queryTimeout.
func (s *Store) each(ctx context.Context, stmt *sql.Stmt, into []any, yield func() error, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := stmt.QueryContext(ctx, args...)
	if err != nil {
		return fmt.Errorf("sqlite: digests: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(into...); err != nil {
			return fmt.Errorf("sqlite: digests: %w", err)
		}
		if err := yield(); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("sqlite: digests: %w", err)
	}
	return nil
}

package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/openalign/align/collector"
)

// errApply marks what went wrong with the rows of a transaction, as opposed to its beginning or commit.
var errApply = errors.New("write")

// writer is the one connection that writes, with its prepared statements. It is not safe for concurrent use.
type writer struct {
	db    *sql.DB
	conn  *sql.Conn
	stmts []*sql.Stmt // all of the following, to be closed

	facts, messages inserter

	insertAside                                 *sql.Stmt
	selectMessage, updateMessage                *sql.Stmt
	raiseTurn, hideMessages, setMessageCount    *sql.Stmt
	insertVersion, selectVersion, updateVersion *sql.Stmt
	upsertVote, upsertTag                       *sql.Stmt
	selectSession, upsertSession                *sql.Stmt
	selectProperties, upsertProperties          *sql.Stmt
	insertUser, selectUser, upsertUser, touch   *sql.Stmt
	insertKey, expireKey, useKey                *sql.Stmt

	emptyFact, stripFact, baseSession, baseUser, baseVote  *sql.Stmt
	takeContent, takeComment, updateMessageProperties      *sql.Stmt
	updateSession, deleteProperties                        *sql.Stmt
	emptySetAside, emptyOneAside                           *sql.Stmt
	eraseMessages, eraseVersions, eraseComments, eraseTags *sql.Stmt
	insertAudit                                            *sql.Stmt

	noteOneNews, beatExport, addChunk, addEpisode, keepExportKey, eraseExports *sql.Stmt
	own                                                                        *digestReader // on this connection
	markChanged, selectChanged, setDigested                                    *sql.Stmt
	upsertDigest, renewOld, setDetector, forgetDigests                         *sql.Stmt
	renameDigest, bareDigest                                                   *sql.Stmt
}

func newWriter(ctx context.Context, file string) (*writer, error) {
	db, conn, err := openWriter(ctx, file)
	if err != nil {
		return nil, err
	}
	w := &writer{db: db, conn: conn}
	if err := migrate(ctx, conn); err != nil {
		return nil, errors.Join(err, w.close())
	}
	if err := w.prepare(ctx); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// Columns in the order in which store and sayMessages give their values.
const (
	factColumns    = "project, id, type, time, receive_time, event, clock"
	messageColumns = "project, session_id, idx, turn, role, content, time, properties, detail, versions, event_time, event_id, version"
)

func (w *writer) prepare(ctx context.Context) error {
	for _, s := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&w.facts.one, inserting(1, "facts", factColumns)},
		{&w.facts.several, inserting(several, "facts", factColumns)},
		{&w.facts.undo, `DELETE FROM facts WHERE seq > ?`},
		{&w.insertAside, `INSERT INTO set_aside (project, digest, event_id, reason, receive_time, raw, size) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO NOTHING`},

		{&w.messages.one, inserting(1, "messages", messageColumns)},
		{&w.messages.several, inserting(several, "messages", messageColumns)},
		{&w.messages.undo, `DELETE FROM messages WHERE seq > ?`},
		{&w.selectMessage, `SELECT seq, role, content, time, properties, detail, versions, event_time, event_id, version
			FROM messages WHERE project = ? AND session_id = ? AND idx = ?`},
		{&w.updateMessage, `UPDATE messages SET role = ?, content = ?, time = ?, properties = ?, detail = ?, versions = ?, event_time = ?, event_id = ?, version = ?
			WHERE seq = ?`},
		{&w.raiseTurn, `UPDATE messages SET turn = max(turn, ?4) WHERE project = ?1 AND session_id = ?2 AND idx = ?3`},
		// Only indexes behind the end can be hidden, or were by an end before it.
		{&w.hideMessages, `UPDATE messages SET hidden = (idx > ?3 AND (event_time, event_id) < (?4, ?5))
			WHERE project = ?1 AND session_id = ?2 AND idx < ?6 AND hidden <> (idx > ?3 AND (event_time, event_id) < (?4, ?5))`},
		{&w.setMessageCount, `UPDATE sessions SET message_count =
				(SELECT count(*) FROM messages m WHERE m.project = ?1 AND m.session_id = ?2 AND hidden = 0)
			WHERE project = ?1 AND id = ?2`},
		{&w.insertVersion, `INSERT INTO versions (project, session_id, idx, digest, state) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`},
		{&w.selectVersion, `SELECT state FROM versions WHERE project = ? AND session_id = ? AND idx = ? AND digest = ?`},
		{&w.updateVersion, `UPDATE versions SET state = ? WHERE project = ? AND session_id = ? AND idx = ? AND digest = ?`},

		{&w.upsertVote, `INSERT INTO votes (project, session_id, idx, voter, vote, comment, reasons, score, score_min, score_max, event_time, event_id)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET vote = excluded.vote, comment = excluded.comment, reasons = excluded.reasons,
				score = excluded.score, score_min = excluded.score_min, score_max = excluded.score_max,
				event_time = excluded.event_time, event_id = excluded.event_id
			WHERE (excluded.event_time, excluded.event_id) > (event_time, event_id)`},
		{&w.upsertTag, `INSERT INTO tags (project, session_id, run_id, tag, present, event_time, event_id) VALUES (?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET present = excluded.present, event_time = excluded.event_time, event_id = excluded.event_id
			WHERE (excluded.event_time, excluded.event_id) > (event_time, event_id)`},

		{&w.selectSession, `SELECT state FROM sessions WHERE project = ? AND id = ?`},
		{&w.upsertSession, `INSERT INTO sessions (project, id, start_time, last_activity, message_count, state, odd, changed) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET start_time = excluded.start_time, last_activity = excluded.last_activity,
				message_count = message_count + excluded.message_count, state = excluded.state, odd = excluded.odd, changed = excluded.changed`},
		{&w.selectProperties, `SELECT state, texts FROM session_properties WHERE project = ? AND session_id = ?`},
		{&w.upsertProperties, `INSERT INTO session_properties (project, session_id, state, texts) VALUES (?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET state = excluded.state, texts = excluded.texts`},
		{&w.insertUser, `INSERT INTO users (project, id, state) VALUES (?, ?, '{}') ON CONFLICT DO NOTHING`},
		{&w.selectUser, `SELECT state FROM users WHERE project = ? AND id = ?`},
		{&w.upsertUser, `INSERT INTO users (project, id, state) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET state = excluded.state`},

		{&w.insertKey, `INSERT INTO keys (hash, hint, project, scope, create_time) VALUES (?, ?, ?, ?, ?)`},
		{&w.emptyFact, `UPDATE facts SET event = x'', gone = 2, version = NULL WHERE seq = ?`},
		{&w.stripFact, `UPDATE facts SET event = ?, gone = 1, version = ? WHERE seq = ?`},
		{&w.baseSession, `UPDATE sessions SET based = 1 WHERE project = ? AND id = ?`},
		{&w.baseVote, `UPDATE votes SET based = 1 WHERE project = ? AND session_id = ? AND idx = ? AND voter = ?`},
		{&w.baseUser, `UPDATE users SET based = 1 WHERE project = ? AND id = ?`},
		{&w.takeContent, `UPDATE messages SET content = '', properties = '', detail = ?, version = ?
			WHERE project = ? AND session_id = ? AND idx = ? AND event_time = ? AND event_id = ?`},
		{&w.updateMessageProperties, `UPDATE messages SET properties = ?, detail = ?
			WHERE project = ? AND session_id = ? AND idx = ? AND event_time = ? AND event_id = ?`},
		{&w.takeComment, `UPDATE votes SET comment = '' WHERE project = ? AND session_id = ? AND idx = ? AND voter = ? AND event_id = ?`},
		{&w.updateSession, `UPDATE sessions SET state = ? WHERE project = ? AND id = ?`},
		{&w.deleteProperties, `DELETE FROM session_properties WHERE project = ? AND session_id = ?`},
		{&w.emptySetAside, `UPDATE set_aside SET event_id = '', raw = x'' WHERE seq IN
			(SELECT seq FROM set_aside WHERE receive_time < ? AND raw <> x'' LIMIT ?)`},
		{&w.emptyOneAside, `UPDATE set_aside SET event_id = '', raw = x'' WHERE seq = ?`},
		// What is left of contents must not be found by guessing, so versions get names that say nothing.
		{&w.eraseMessages, `UPDATE messages SET content = '', properties = '', detail = coalesce(json_remove(nullif(detail, ''), '$.error', '$.tool_calls'), ''),
			version = randomblob(32) WHERE project = ? AND session_id = ?`},
		{&w.eraseVersions, `UPDATE versions SET digest = randomblob(32), state = json_remove(state, '$.properties', '$.detail') WHERE project = ? AND session_id = ?`},
		{&w.eraseComments, `UPDATE votes SET comment = '', reasons = '' WHERE project = ? AND session_id = ?`},
		{&w.eraseTags, `DELETE FROM tags WHERE project = ? AND session_id = ?`},
		{&w.insertAudit, `INSERT INTO audit (time, project, action, actor, detail) VALUES (?, ?, ?, ?, ?)`},

		{&w.noteOneNews, `INSERT INTO export_news (project, session_id, seq, received, ends, told)
			SELECT project, id, ?3, ?4, last_activity, EXISTS (SELECT 1 FROM export_episodes WHERE project = ?1 AND session_id = ?2)
			FROM sessions WHERE project = ?1 AND id = ?2
			ON CONFLICT DO UPDATE SET seq = max(seq, excluded.seq), received = max(received, excluded.received), ends = excluded.ends, told = excluded.told`},
		{&w.beatExport, `UPDATE export_days SET beat = ? WHERE project = ? AND day = ? AND build = ? AND NOT final`},
		{&w.addChunk, `INSERT INTO export_chunks (project, day, late, n, data)
			VALUES (?1, ?2, ?3, (SELECT count(*) FROM export_chunks WHERE project = ?1 AND day = ?2 AND late = ?3), ?4)`},
		{&w.addEpisode, `INSERT INTO export_episodes (project, session_id, episode, day, upto, end_time, status, resolution, digest)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`},
		{&w.keepExportKey, `INSERT INTO export_keys (project, session_id, end_time, labels, content) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET end_time = max(end_time, excluded.end_time),
				labels = coalesce(excluded.labels, labels), content = coalesce(excluded.content, content)`},
		{&w.eraseExports, `DELETE FROM export_keys WHERE project = ? AND session_id = ?`},
		{&w.markChanged, `UPDATE sessions SET changed = ? WHERE project = ? AND id = ?`},
		{&w.selectChanged, `SELECT changed, digested FROM sessions WHERE project = ? AND id = ?`},
		{&w.setDigested, `UPDATE sessions SET digested = changed WHERE changed = ? AND project = ? AND id = ?`},
		{&w.upsertDigest, `INSERT INTO session_digests (project, start_time, session_id, last_activity, user_id, test, first_day, days, numbers, texts, signs, version)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (project, session_id) DO UPDATE SET start_time = excluded.start_time, last_activity = excluded.last_activity,
				user_id = excluded.user_id, test = excluded.test, first_day = excluded.first_day, days = excluded.days, numbers = excluded.numbers, texts = excluded.texts, signs = excluded.signs, version = excluded.version`},
		{&w.renewOld, `UPDATE sessions SET changed = ?1 WHERE (project, id) IN
			(SELECT project, session_id FROM session_digests WHERE version < ?2 OR version > ?2 LIMIT ?3)`},
		{&w.setDetector, `INSERT INTO digest_rules (id, detector) VALUES (1, ?) ON CONFLICT DO UPDATE SET detector = excluded.detector`},
		{&w.forgetDigests, `DELETE FROM session_digests WHERE (project, session_id) NOT IN (SELECT project, id FROM sessions)`},
		{&w.renameDigest, `UPDATE session_digests SET user_id = ?, texts = '{}' WHERE project = ? AND session_id = ?`},
		{&w.bareDigest, `UPDATE session_digests SET texts = json_remove(texts, '$.version') WHERE project = ? AND session_id = ?`},

		{&w.expireKey, `UPDATE keys SET expire_time = CASE WHEN expire_time = 0 THEN ?1 ELSE min(expire_time, ?1) END WHERE hash = ?2`},
		{&w.useKey, `UPDATE keys SET last_used = max(last_used, ?) WHERE hash = ?`},
		{&w.touch, `INSERT INTO ready (id, time, ballast) VALUES (1, ?1, CASE WHEN ?2 > 0 THEN randomblob(?2) END)
			ON CONFLICT DO UPDATE SET time = excluded.time, ballast = excluded.ballast`},
	} {
		var err error
		if *s.stmt, err = w.conn.PrepareContext(ctx, s.query); err != nil {
			return err
		}
		w.stmts = append(w.stmts, *s.stmt)
	}
	w.own = new(digestReader)
	return prepareDigests(ctx, w.own, func(ctx context.Context, query string) (*sql.Stmt, error) {
		stmt, err := w.conn.PrepareContext(ctx, query)
		if err == nil {
			w.stmts = append(w.stmts, stmt)
		}
		return stmt, err
	})
}

// close moves the log into the file, so that one file is all there is to copy, and closes the connection.
func (w *writer) close() error {
	// database/sql does not close the statements of a connection that was taken out of the pool, and SQLite keeps one
	// with open statements, and its files, for ever.
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	_, err := w.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(append(errs, err, w.conn.Close(), w.db.Close())...)
}

// commit applies jobs in one transaction: all of them or, with an error, none. No caller's context takes part, as it
// would cut off the others.
func (w *writer) commit(jobs []*job) error {
	if len(jobs) == 0 {
		return nil
	}
	tx, err := w.conn.BeginTx(context.Background(), nil)
	if err != nil {
		return err
	}
	w.messages.last = 0
	defer tx.Rollback() // does nothing after Commit, which rolls back itself when it fails
	t := &transaction{writer: w, sessions: map[entity]*touched{}, users: map[entity]*user{}, voted: map[entity]bool{}}
	for _, j := range jobs {
		if err := j.apply(t); err != nil {
			return fmt.Errorf("%w: %w", errApply, err)
		}
	}
	if err := t.flush(); err != nil {
		return fmt.Errorf("%w: %w", errApply, err)
	}
	return tx.Commit()
}

// entity names a session or a user.
type entity struct{ project, id string }

// touched is what the facts of a transaction say about a session.
type touched struct {
	session
	messages int // indexes that had no message before
}

// transaction stores facts at once, and gathers what they say about sessions and users: of the many facts that touch a
// session in one transaction, one row is written.
type transaction struct {
	*writer
	sessions map[entity]*touched
	users    map[entity]*user
	voted    map[entity]bool // sessions that got votes
}

// exec runs a prepared statement and returns how many rows it changed.
func exec(stmt *sql.Stmt, args ...any) (int64, error) {
	res, err := stmt.Exec(args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// store adds a batch. Only facts that were not here change views.
func (t *transaction) store(project string, rows []row, aside []asideRow) (got collector.Appended, err error) {
	added, err := t.facts.insert(len(rows), func(args []any, i int) []any {
		r := &rows[i]
		return append(args, project, r.id, r.kind, r.time, r.receive, r.event, int(r.clock))
	})
	if err != nil {
		return got, err
	}
	var messages []*piece
	for i := range rows {
		if !added[i] {
			got.Duplicate++
			continue
		}
		got.Stored++
		p := &rows[i].piece
		if err := t.say(project, p); err != nil {
			return got, err
		}
		if p.message != nil {
			messages = append(messages, p)
		}
	}
	if err := t.sayMessages(project, messages); err != nil {
		return got, err
	}
	for i := range aside {
		a := &aside[i]
		if _, err := exec(t.insertAside, project, a.digest[:], a.eventID, a.reason, a.receive, a.raw, len(a.raw)); err != nil {
			return got, err
		}
		got.SetAside++
	}
	return got, nil
}

// say joins what a fact says, but for its message, with what is known.
func (t *transaction) say(project string, p *piece) error {
	if p.session != nil {
		t.session(project, p.sessionID).join(p.session)
	}
	if p.user != nil {
		key := entity{project, p.userID}
		if t.users[key] == nil {
			t.users[key] = &user{}
		}
		t.users[key].join(p.user)
	}
	if v := p.vote; v != nil {
		var score, low, high any // unknown
		if v.score != nil {
			score, low, high = v.score.Value, v.score.Min, v.score.Max
		}
		t.voted[entity{project, p.sessionID}] = true
		_, err := exec(t.upsertVote, project, p.sessionID, v.index, v.voter, int(v.vote), v.comment, v.reasons, score, low, high, v.at.Time, v.at.ID)
		return err
	}
	for _, tag := range p.tags {
		if _, err := exec(t.upsertTag, project, p.sessionID, tag.run, tag.name, tag.present, tag.at.Time, tag.at.ID); err != nil {
			return err
		}
	}
	return nil
}

func (t *transaction) session(project, id string) *touched {
	key := entity{project, id}
	s := t.sessions[key]
	if s == nil {
		s = &touched{}
		t.sessions[key] = s
	}
	return s
}

// flush writes the sessions and users that were touched, and forgets them.
func (t *transaction) flush() error {
	defer func() {
		clear(t.sessions)
		clear(t.users)
		clear(t.voted)
	}()
	for key := range t.voted {
		if t.sessions[key] != nil {
			continue // which is as good
		}
		if err := t.mark(key); err != nil {
			return err
		}
	}
	for key, said := range t.sessions {
		var known session
		if err := load(t.selectSession, &known, key.project, key.id); err != nil {
			return err
		}
		known.join(&said.session)
		state, err := json.Marshal(&known)
		if err != nil {
			return err
		}
		start, last := known.times()
		if _, err := exec(t.upsertSession, key.project, key.id, start, last, said.messages, string(state), known.odd(), rand.Int64()); err != nil {
			return err
		}
		if known.Ending != nil {
			if err := t.flushEnding(key, known.Ending); err != nil {
				return err
			}
		}
		if err := t.flushProperties(key, said.Properties, said.Texts); err != nil {
			return err
		}
	}
	for key, said := range t.users {
		if err := t.flushUser(key, said); err != nil {
			return err
		}
	}
	return nil
}

// flushEnding hides the messages behind the end of a transcript, and shows those that no longer are. Whether a message is
// hidden depends on what is known of both, never on what was before.
func (t *transaction) flushEnding(key entity, end *ending) error {
	if _, err := exec(t.hideMessages, key.project, key.id, end.Count, end.Time, end.ID, int64(collector.FirstPlace)); err != nil {
		return err
	}
	_, err := exec(t.setMessageCount, key.project, key.id)
	return err
}

// flushProperties writes the custom properties of a session, and what was said of it at length.
func (t *transaction) flushProperties(key entity, said, texts registers) error {
	if len(said)+len(texts) == 0 {
		return nil
	}
	known, knownTexts, err := t.loadProperties(key.project, key.id)
	if err != nil {
		return err
	}
	known.joinProperties(said)
	knownTexts.joinLast(texts)
	return t.saveProperties(key.project, key.id, known, knownTexts)
}

func (t *transaction) loadProperties(project, id string) (properties, texts registers, err error) {
	var state, text []byte
	switch err := t.selectProperties.QueryRow(project, id).Scan(&state, &text); {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil, nil
	case err != nil:
		return nil, nil, err
	}
	err = errors.Join(json.Unmarshal(state, &properties), json.Unmarshal(text, &texts))
	return properties, texts, err
}

func (t *transaction) saveProperties(project, id string, properties, texts registers) error {
	state, err := encodeRegisters(properties)
	if err != nil {
		return err
	}
	text, err := encodeRegisters(texts)
	if err != nil {
		return err
	}
	_, err = exec(t.upsertProperties, project, id, state, text)
	return err
}

func encodeRegisters(r registers) (string, error) {
	if len(r) == 0 {
		return "{}", nil
	}
	text, err := json.Marshal(r)
	return string(text), err
}

func (t *transaction) flushUser(key entity, said *user) error {
	if len(said.First)+len(said.Last)+len(said.Properties) == 0 {
		_, err := exec(t.insertUser, key.project, key.id)
		return err
	}
	var known user
	if err := load(t.selectUser, &known, key.project, key.id); err != nil {
		return err
	}
	known.join(said)
	state, err := json.Marshal(&known)
	if err != nil {
		return err
	}
	_, err = exec(t.upsertUser, key.project, key.id, string(state))
	return err
}

// load reads a state; one that is not there leaves it empty.
func load(stmt *sql.Stmt, state any, args ...any) error {
	var text []byte
	switch err := stmt.QueryRow(args...).Scan(&text); {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return err
	}
	return json.Unmarshal(text, state)
}

// ready writes a row that holds so many bytes beside the time. They are random, or the same ones would not be written again.
func (t *transaction) ready(now time.Time, ballast int) error {
	_, err := exec(t.touch, unixNano(now), ballast)
	return err
}

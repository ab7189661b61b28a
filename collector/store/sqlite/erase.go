package sqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/openalign/align/collector"
)

// Erase removes what is known of a user: content and identity leave facts, views and what was set aside, in one
// transaction, and the file and its log at once after it. Counts stay, under a name that says nothing. With an error the
// user may be erased, but remains may be left in the file: do it again.
//
// It reads all of a project's facts and writes the whole file anew, which takes seconds for every million facts; appends
// wait meanwhile.
func (s *Store) Erase(ctx context.Context, project, user, actor string) (got collector.Erased, err error) {
	if user == "" {
		return got, fmt.Errorf("sqlite: erase: %w: a user has an id", collector.ErrNotFound)
	}
	got, err = ask(ctx, s, new(job), func(t *transaction) (collector.Erased, error) {
		e := eraser{transaction: t, project: project, user: user, pseudonym: pseudonym(), own: map[string]bool{}, taken: map[string]*names{}}
		return e.run(ctx, actor)
	})
	if err == nil {
		s.digests.changed()
		err = s.maintain(ctx, (*writer).rewrite)
	}
	if err == nil {
		err = s.words.forget(ctx)
	}
	if err != nil {
		return got, fmt.Errorf("sqlite: erase: %w", err)
	}
	return got, nil
}

// pseudonym names a user of whom nothing is known.
func pseudonym() string {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	return "erased-" + hex.EncodeToString(random[:])
}

// eraser erases one user.
type eraser struct {
	*transaction
	project, user, pseudonym string
	own                      map[string]bool   // sessions that are the user's
	taken                    map[string]*names // sessions of others that were taken for the user's, and whom else they name
	got                      collector.Erased
}

// findTaken finds the sessions of others that once were taken for the user's.
func (e *eraser) findTaken(ctx context.Context) error {
	return e.eachSession(ctx, func(id string) {
		if !e.own[id] {
			e.taken[id] = nil
		}
	}, `SELECT id FROM sessions WHERE project = ?1 AND odd & ?2 <> 0
		AND ?3 IN (state ->> '$.users.low', state ->> '$.users.high')`, e.project, oddUsers, e.user)
}

// eachSession calls f with every id that a query selects.
func (e *eraser) eachSession(ctx context.Context, f func(id string), query string, args ...any) error {
	rows, err := e.conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		f(id)
	}
	return rows.Err()
}

// keepNames gathers whom else the openings of a session name.
func (e *eraser) keepNames(f *collector.Fact) {
	open := f.Event.GetProperties().GetSessionProperties()
	known, ok := e.taken[open.GetSessionId()]
	if ok && f.Event.GetType() == collector.TypeSessionOpen && open.GetUserId() != "" {
		e.taken[open.GetSessionId()] = known.join(&names{Low: open.GetUserId(), High: open.GetUserId()})
	}
}

// forgetName takes the user's name out of sessions of others.
func (e *eraser) forgetName(context.Context) error {
	for id, others := range e.taken {
		err := e.takeSession(e.project, id, func(s *session) {
			s.Users = &names{e.pseudonym, e.pseudonym, true}
			if others != nil {
				s.Users = &names{others.Low, others.High, true}
			}
		}, func(_, _ registers) {})
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *eraser) run(ctx context.Context, actor string) (collector.Erased, error) {
	if err := e.flush(); err != nil { // others in this transaction may speak of the user
		return e.got, err
	}
	for _, step := range []func(context.Context) error{e.findSessions, e.findTaken, e.facts, e.sessions, e.forgetName, e.profile, e.setAside, e.exports} {
		if err := step(ctx); err != nil {
			return e.got, err
		}
	}
	detail, err := json.Marshal(e.got)
	if err != nil {
		return e.got, err
	}
	_, err = exec(e.insertAudit, unixNano(time.Now()), e.project, "erase", actor, string(detail))
	return e.got, err
}

// findSessions finds the sessions that show the user.
func (e *eraser) findSessions(ctx context.Context) error {
	err := e.eachSession(ctx, func(id string) { e.own[id] = true },
		`SELECT id FROM sessions WHERE project = ? AND state ->> '$.first.user_id.v' = ?`, e.project, e.user)
	e.got.Sessions = len(e.own)
	return err
}

// facts empties the facts of the user's sessions, and all others that name the user.
func (e *eraser) facts(ctx context.Context) error {
	told, err := e.counting(ctx, e.project)
	if err != nil {
		return err
	}
	rows, err := e.conn.QueryContext(ctx, `SELECT seq, project, id, time, receive_time, event FROM facts WHERE project = ? AND gone < ?`,
		e.project, goneEverything)
	if err != nil {
		return err
	}
	defer rows.Close()
	var theirs []oldFact
	for rows.Next() {
		one, err := scanOldFact(rows)
		if err != nil {
			return err
		}
		told.add(1)
		if e.speaksOf(&one.fact) {
			theirs = append(theirs, one)
		} else {
			e.keepNames(&one.fact)
		}
	}
	if err := closeRows(rows); err != nil {
		return err
	}
	for i := range theirs {
		if err := e.takeFact(&theirs[i]); err != nil {
			return err
		}
	}
	e.got.Facts = len(theirs)
	return nil
}

func (e *eraser) speaksOf(f *collector.Fact) bool {
	props := f.Event.GetProperties()
	session, message, feedback := props.GetSessionProperties(), props.GetMessageProperties(), props.GetFeedbackProperties()
	return e.own[session.GetSessionId()] || e.own[message.GetSessionId()] || e.own[feedback.GetSessionId()] ||
		session.GetUserId() == e.user || feedback.GetUserId() == e.user || props.GetUserProperties().GetUserId() == e.user
}

// sessions takes content and identity out of the views of sessions.
func (e *eraser) sessions(ctx context.Context) error {
	for id := range e.own {
		if err := e.eraseDigest(entity{e.project, id}); err != nil {
			return err
		}
		err := e.takeSession(e.project, id, func(s *session) {
			user := s.First[regUserID]
			user.Value = e.pseudonym
			s.First[regUserID] = user
			delete(s.Last, regTitle)
			if s.Users != nil {
				s.Users = &names{e.pseudonym, e.pseudonym, s.Users.Several}
			}
		}, func(properties, texts registers) { clear(properties); clear(texts) })
		if err != nil {
			return err
		}
		n, err := exec(e.eraseMessages, e.project, id)
		if err != nil {
			return err
		}
		e.got.Messages += int(n)
		if _, err := exec(e.eraseVersions, e.project, id); err != nil {
			return err
		}
		if _, err := exec(e.eraseComments, e.project, id); err != nil {
			return err
		}
		if _, err := exec(e.eraseTags, e.project, id); err != nil {
			return err
		}
		if _, err := exec(e.eraseExports, e.project, id); err != nil {
			return err
		}
	}
	n, err := e.conn.ExecContext(ctx, `UPDATE votes SET voter = ?, comment = '', reasons = '' WHERE project = ? AND voter = ?`, e.pseudonym, e.project, e.user)
	if err != nil {
		return err
	}
	votes, err := n.RowsAffected()
	e.got.Votes = int(votes)
	return err
}

// eraseDigest keeps what was counted of a session, under the pseudonym.
func (e *eraser) eraseDigest(key entity) error {
	if err := e.digestNow(key); err != nil {
		return err
	}
	if _, err := exec(e.renameDigest, e.pseudonym, key.project, key.id); err != nil {
		return err
	}
	return e.mark(key)
}

// profile takes the name off the user, who still counts.
func (e *eraser) profile(ctx context.Context) error {
	_, err := e.conn.ExecContext(ctx, `UPDATE users SET id = ?, state = '{}', based = 1 WHERE project = ? AND id = ?`, e.pseudonym, e.project, e.user)
	return err
}

// setAside empties what was set aside and may speak of the user: it could not be read as an event, so any mention of the
// user's id, or that of a session of theirs, is enough.
func (e *eraser) setAside(ctx context.Context) error {
	rows, err := e.conn.QueryContext(ctx, `SELECT seq, raw FROM set_aside WHERE project = ? AND raw <> x''`, e.project)
	if err != nil {
		return err
	}
	defer rows.Close()
	var theirs []int64
	for rows.Next() {
		var (
			seq int64
			raw []byte
		)
		if err := rows.Scan(&seq, &raw); err != nil {
			return err
		}
		if e.mentioned(raw) {
			theirs = append(theirs, seq)
		}
	}
	if err := closeRows(rows); err != nil {
		return err
	}
	for _, seq := range theirs {
		if _, err := exec(e.emptyOneAside, seq); err != nil {
			return err
		}
	}
	e.got.SetAside = len(theirs)
	return nil
}

// mentioned reports whether raw, protobuf or JSON, holds the id of the user or of a session of theirs. Where JSON writes
// characters as escapes and is not readable as a whole, nobody can tell, and it counts as a mention.
func (e *eraser) mentioned(raw []byte) bool {
	if e.named(string(raw)) {
		return true
	}
	if !bytes.HasPrefix(bytes.TrimLeft(raw, " \t\r\n"), []byte("{")) || !bytes.Contains(raw, []byte(`\`)) {
		return false
	}
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return true
	}
	return e.namedIn(value)
}

func (e *eraser) namedIn(value any) bool {
	switch v := value.(type) {
	case string:
		return e.named(v)
	case []any:
		for _, one := range v {
			if e.namedIn(one) {
				return true
			}
		}
	case map[string]any:
		for _, one := range v {
			if e.namedIn(one) {
				return true
			}
		}
	}
	return false
}

func (e *eraser) named(text string) bool {
	if strings.Contains(text, e.user) {
		return true
	}
	for id := range e.own {
		if strings.Contains(text, id) {
			return true
		}
		// A session without a name has that of its trace, which in protobuf is 16 bytes, and not their digits.
		if trace, err := hex.DecodeString(id); err == nil && len(trace) == 16 && strings.Contains(text, string(trace)) {
			return true
		}
	}
	return false
}

// Audit lists what was done to a project by hand, or to all where project is empty, oldest first.
func (s *Store) Audit(ctx context.Context, project string) (list []collector.AuditLine, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.read.db.QueryContext(ctx, `SELECT time, project, action, actor, detail FROM audit WHERE ?1 IN ('', project) ORDER BY seq`, project)
	if err != nil {
		return nil, fmt.Errorf("sqlite: audit: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var (
			line collector.AuditLine
			at   int64
		)
		if err := rows.Scan(&at, &line.Project, &line.Action, &line.Actor, &line.Detail); err != nil {
			return nil, fmt.Errorf("sqlite: audit: %w", err)
		}
		line.Time = fromNanos(at)
		list = append(list, line)
	}
	return list, rows.Err()
}

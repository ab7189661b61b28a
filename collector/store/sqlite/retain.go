package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// What is gone of a fact, as kept in facts.gone.
const (
	goneNothing    = 0
	goneContent    = 1
	goneEverything = 2
)

// retainChunk is how many facts change in one transaction: few, as appends wait for it.
const retainChunk = 500

// Retain takes out what is older than a policy allows, in short transactions between which appends go on. Space that rows
// have left is overwritten, but for gaps inside of pages that SQLite has moved rows out of: those are for [Store.Compact].
func (s *Store) Retain(ctx context.Context, keep collector.Retention) (got collector.Retained, err error) {
	exportKeys := 0
	steps := []struct {
		before time.Time
		count  *int
		take   func(t *transaction, before int64) (int, error)
	}{
		// Facts first: one that goes as a whole need not lose its content before.
		{keep.FactsBefore, &got.Facts, (*transaction).takeFacts},
		{keep.ContentBefore, &got.Contents, (*transaction).takeContents},
		{keep.ContentBefore, &got.SetAside, (*transaction).takeSetAside},
		{keep.ContentBefore, &exportKeys, (*transaction).takeExportKeys},
	}
	for _, step := range steps {
		if step.before.IsZero() {
			continue
		}
		for {
			n, err := ask(ctx, s, new(job), func(t *transaction) (int, error) { return step.take(t, unixNano(step.before)) })
			if err != nil {
				return got, fmt.Errorf("sqlite: retain: %w", err)
			}
			if *step.count += n; n < retainChunk {
				break
			}
		}
	}
	if got == (collector.Retained{}) && exportKeys == 0 {
		return got, nil
	}
	s.digests.changed()
	err = s.maintain(ctx, (*writer).scrub)
	if err == nil {
		err = s.words.forget(ctx)
	}
	if err != nil {
		return got, fmt.Errorf("sqlite: retain: %w", err)
	}
	return got, nil
}

// oldFact is a fact that is to change.
type oldFact struct {
	seq     int64
	project string
	fact    collector.Fact
}

// selectOld returns some facts that are older than before.
func (t *transaction) selectOld(gone int, before int64) ([]oldFact, error) {
	rows, err := t.conn.QueryContext(context.Background(),
		`SELECT seq, project, id, time, receive_time, event FROM facts WHERE gone = ? AND time < ? ORDER BY time LIMIT ?`, gone, before, retainChunk)
	if err != nil {
		return nil, err
	}
	return scanOld(rows)
}

func scanOld(rows *sql.Rows) (list []oldFact, err error) {
	defer rows.Close()
	for rows.Next() {
		one, err := scanOldFact(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, rows.Err()
}

func scanOldFact(rows *sql.Rows) (one oldFact, err error) {
	var (
		at, receive int64
		event       sql.RawBytes
	)
	if err := rows.Scan(&one.seq, &one.project, &one.fact.ID, &at, &receive, &event); err != nil {
		return one, err
	}
	one.fact.Event = new(ingestionv1alpha.Event)
	// An event that cannot be read says nothing, and goes like the others.
	_ = proto.Unmarshal(event, one.fact.Event)
	one.fact.Time, one.fact.ReceiveTime = fromNanos(at), fromNanos(receive)
	return one, nil
}

// takeFacts empties facts. The views of what they speak of stay, as a base that cannot be made again.
func (t *transaction) takeFacts(before int64) (n int, err error) {
	for _, gone := range []int{goneContent, goneNothing} {
		list, err := t.selectOld(gone, before)
		if err != nil {
			return n, err
		}
		for i := range list {
			if err := t.takeFact(&list[i]); err != nil {
				return n, err
			}
		}
		if n += len(list); n >= retainChunk {
			break
		}
	}
	return n, nil
}

// takeFact empties a fact, and marks the views it spoke for.
func (t *transaction) takeFact(f *oldFact) error {
	if _, err := exec(t.emptyFact, f.seq); err != nil {
		return err
	}
	p := derive(&f.fact)
	if p.sessionID != "" {
		if _, err := exec(t.baseSession, f.project, p.sessionID); err != nil {
			return err
		}
		if err := t.noteEmptied(entity{f.project, p.sessionID}, newsOf{f.seq, unixNano(f.fact.ReceiveTime)}); err != nil {
			return err
		}
	}
	if v := p.vote; v != nil {
		if _, err := exec(t.baseVote, f.project, p.sessionID, v.index, v.voter); err != nil {
			return err
		}
	}
	if p.userID != "" {
		if _, err := exec(t.baseUser, f.project, p.userID); err != nil {
			return err
		}
	}
	return nil
}

// takeContents takes the content out of facts and out of the views, such that the views are still what the facts say.
// That works fact by fact because every value in a view has the stamp of the fact it is of, and because the facts it
// overrides are older, and so lose their content too.
//
// But for one thing: where there were more than [collector.MaxProperties] custom properties, the facts also say those that
// had no room in the view. They have room now, and a replay shows them.
func (t *transaction) takeContents(before int64) (int, error) {
	if err := t.flush(); err != nil { // the views must say what all facts say
		return 0, err
	}
	list, err := t.selectOld(goneNothing, before)
	if err != nil {
		return 0, err
	}
	pieces := make([]piece, len(list))
	for i := range list {
		pieces[i] = derive(&list[i].fact)
	}
	if err := t.digestBefore(list, pieces); err != nil { // while there are texts to read
		return 0, err
	}
	for i := range list {
		f, p := &list[i], pieces[i]
		var version []byte
		if p.message != nil {
			version = p.message.key()
		}
		removeContent(f.fact.Event)
		if p.message != nil {
			p.message.detail = detail(f.fact.Event.GetProperties().GetMessageProperties())
		}
		event, err := proto.MarshalOptions{}.MarshalAppend([]byte{}, f.fact.Event)
		if err != nil {
			return 0, err
		}
		if _, err := exec(t.stripFact, event, version, f.seq); err != nil {
			return 0, err
		}
		if err := t.takeContentOf(f.project, f.fact.ID, &p); err != nil {
			return 0, err
		}
	}
	return len(list), nil
}

// digestBefore makes the digests of sessions that are to lose content, so that what was seen in their texts is kept, and
// makes them due again: what they are grouped by may go.
func (t *transaction) digestBefore(list []oldFact, pieces []piece) error {
	done := map[entity]bool{}
	for i := range list {
		key := entity{list[i].project, pieces[i].sessionID}
		if pieces[i].sessionID == "" || done[key] {
			continue
		}
		done[key] = true
		if err := t.digestNow(key); err != nil {
			return err
		}
		if _, err := exec(t.bareDigest, key.project, key.id); err != nil {
			return err
		}
		if err := t.mark(key); err != nil {
			return err
		}
	}
	return nil
}

// removed stands for an error's text that is gone.
const removed = "(removed)"

// removeContent removes what people wrote, or an app wrote about them, and leaves what is counted.
func removeContent(e *ingestionv1alpha.Event) {
	props := e.GetProperties()
	if m := props.GetMessageProperties(); m != nil {
		if m.ContentLength == nil {
			m.ContentLength = proto.Int64(int64(utf8.RuneCountInString(m.GetMessageContent())))
		}
		m.MessageContent = ""
		if m.GetError() != "" {
			m.Error = removed // that there was one still counts
		}
		for _, call := range m.GetToolCalls() {
			call.Arguments, call.Result = "", ""
		}
	}
	if s := props.GetSessionProperties(); s != nil {
		// A field that is taken out says that there is none any more, so that no older value is shown in its place.
		if s.GetSessionTitle() != "" {
			s.SessionTitle, s.Cleared = "", append(s.Cleared, "session_title")
		}
		if s.GetData() != "" {
			s.Data, s.Cleared = "", append(s.Cleared, regData)
		}
	}
	if f := props.GetFeedbackProperties(); f != nil {
		f.Comment = ""
	}
	if props != nil && props.GetUserProperties() == nil { // a user's profile is no content
		props.CustomProperties = nil
	}
}

// takeContentOf takes out of the views what one fact brought.
func (t *transaction) takeContentOf(project, id string, p *piece) error {
	switch {
	case p.message != nil:
		return t.takeMessage(project, p.sessionID, p.message)
	case p.vote != nil:
		_, err := exec(t.takeComment, project, p.sessionID, p.vote.index, p.vote.voter, id)
		return err
	case p.session != nil:
		return t.takeSession(project, p.sessionID, func(s *session) { s.Last.blankOf(regTitle, id) },
			func(properties, texts registers) { properties.dropAllOf(id); texts.blankOf(regData, id) })
	}
	return nil
}

// blankOf empties a value that is a fact's.
func (r registers) blankOf(name, id string) {
	if r[name].ID == id {
		r.put(name, "", r[name].stamp)
	}
}

// dropOf removes a value that is a fact's.
func (r registers) dropOf(name, id string) {
	if r[name].ID == id {
		delete(r, name)
	}
}

func (r registers) dropAllOf(id string) {
	for name := range r {
		r.dropOf(name, id)
	}
}

// takeMessage takes the content of one message event out of the row that shows it and out of its version. Its detail is
// what the event still says.
func (t *transaction) takeMessage(project, session string, m *message) error {
	key := m.key()
	if _, err := exec(t.takeContent, m.detail, key, project, session, m.index, m.at.Time, m.at.ID); err != nil {
		return err
	}
	var v version
	if err := load(t.selectVersion, &v, project, session, m.index, key); err != nil || v.stamp == (stamp{}) {
		return err // most indexes have one event
	}
	v.Properties.dropAllOf(m.at.ID)
	if v.Detail.ID == m.at.ID {
		v.Detail.Value = m.detail
	}
	state, err := json.Marshal(&v)
	if err != nil {
		return err
	}
	if _, err := exec(t.updateVersion, string(state), project, session, m.index, key); err != nil {
		return err
	}
	props, err := encodeProperties(v.Properties)
	if err != nil {
		return err
	}
	// The version's last event is the one that is shown, if any of its events is.
	_, err = exec(t.updateMessageProperties, props, v.Detail.Value, project, session, m.index, v.stamp.Time, v.stamp.ID)
	return err
}

// takeSession changes the state of a session and its properties.
func (t *transaction) takeSession(project, id string, change func(*session), changeTexts func(properties, texts registers)) error {
	var known session
	var text []byte
	switch err := t.selectSession.QueryRow(project, id).Scan(&text); {
	case err == sql.ErrNoRows:
		return nil
	case err != nil:
		return err
	}
	if err := json.Unmarshal(text, &known); err != nil {
		return err
	}
	change(&known)
	state, err := json.Marshal(&known)
	if err != nil {
		return err
	}
	if _, err := exec(t.updateSession, string(state), project, id); err != nil {
		return err
	}
	properties, texts, err := t.loadProperties(project, id)
	if err != nil || len(properties)+len(texts) == 0 {
		return err
	}
	if changeTexts(properties, texts); len(properties)+len(texts) == 0 {
		_, err = exec(t.deleteProperties, project, id)
		return err
	}
	return t.saveProperties(project, id, properties, texts)
}

// takeSetAside takes the content out of events that were set aside. Reason, size and digest stay: the same event is known
// when it comes again.
func (t *transaction) takeSetAside(before int64) (int, error) {
	n, err := exec(t.emptySetAside, before, retainChunk)
	return int(n), err
}

// maintain runs do on the writer's connection, outside of a transaction.
func (s *Store) maintain(ctx context.Context, do func(*writer, context.Context) error) error {
	return s.do(ctx, &job{maintain: func(w *writer) error { return do(w, ctx) }})
}

// Compact writes the whole file anew, without free space and so without remains in it, and empties the log. It takes some
// seconds a gigabyte, and that much room on the disk; appends wait meanwhile.
func (s *Store) Compact(ctx context.Context) error {
	err := s.maintain(ctx, (*writer).rewrite)
	if err == nil {
		err = s.words.forget(ctx)
	}
	if err != nil {
		return fmt.Errorf("sqlite: compact: %w", err)
	}
	return nil
}

// scrub gives free pages back and empties the log, in which old contents of pages stand. What was deleted was overwritten
// at once (secure_delete).
func (w *writer) scrub(ctx context.Context) error {
	if err := each(ctx, w.conn, "PRAGMA incremental_vacuum"); err != nil {
		return err
	}
	return emptyLog(ctx, w.conn)
}

// rewrite writes the whole file anew, without any free space that could hold remains, and empties the log.
func (w *writer) rewrite(ctx context.Context) error {
	// What VACUUM sets up on the side is as large as the file: not for memory.
	if _, err := w.conn.ExecContext(ctx, "PRAGMA temp_store = FILE"); err != nil {
		return err
	}
	_, err := w.conn.ExecContext(ctx, "VACUUM")
	if _, err := w.conn.ExecContext(context.Background(), "PRAGMA temp_store = MEMORY"); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return emptyLog(ctx, w.conn)
}

// emptyLog moves the log into the file and cuts it to nothing. It fails while others read what the log holds.
func emptyLog(ctx context.Context, conn *sql.Conn) error {
	var busy, log, moved int
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &moved); err != nil {
		return err
	}
	if busy != 0 {
		return fmt.Errorf("the log still holds what was erased, as others read it: %w", collector.ErrBusy)
	}
	return nil
}

// each runs a statement to its last row.
func each(ctx context.Context, conn *sql.Conn, statement string) error {
	rows, err := conn.QueryContext(ctx, statement)
	if err != nil {
		return err
	}
	for rows.Next() {
	}
	return closeRows(rows)
}

func closeRows(rows *sql.Rows) error {
	if err := rows.Err(); err != nil {
		return err
	}
	return rows.Close()
}

package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/openalign/align/collector/search"
)

// The index of words says which messages have a word. It is a file of its own beside the store's, with a writer of its own,
// filled behind what is stored: an append never waits for it. Nothing is in it that is not in the store's file, so it is no
// part of a backup; when it is missing, or of another file, it fills itself from the views.
//
// Messages are taken in by their seq; what changes after that stands in the table reindex, which triggers write in the
// transaction that makes the change. How far both were read stands in the index, in the transaction that takes them in. So it
// may be behind, but never wrong: whatever was done to the store's file, by whichever process, is in one of the two.
//
// The index holds no text, but words and where in a message they stand (FTS5, contentless); package search cuts the words.

const (
	wordsID      = 0x416c576f // of the file (application_id)
	wordsVersion = 1          // of its tables, and of what a word is: another number, and it fills itself anew

	// bucketBits is how many low bits of a document's number say nothing of its conversation's start.
	bucketBits = 27

	fillRows  = 1000            // messages taken in by one transaction, unless their text is large
	fillBytes = 4 << 20         // where a transaction takes in no more text
	fillPoll  = 5 * time.Minute // for what another process stored and did not take in: nearly always somebody wakes it
	fillRetry = time.Second
	// fillGather is how long messages gather before they are taken in: a transaction costs as much as some dozens of them.
	fillGather = 50 * time.Millisecond
	// yielding is how much longer than it worked the filling rests while somebody waits for the store's writer all the time.
	yielding = 12
	// mergePages is how many pages one step of a merge writes.
	mergePages = 2000
)

// words is the index. Its connection is for whoever holds mu.
type words struct {
	file  string
	read  *reader // of the store's file
	write func(context.Context, *job) error
	busy  func() time.Duration // how long the store's writer has been committing while others waited for it, in all
	lag   lag

	mu     sync.Mutex
	db     *sql.DB
	conn   *sql.Conn
	stmts  []*sql.Stmt
	spaces map[string]string // of projects
	pruned int64             // up to which reindex was emptied

	insertWords, insertDoc, deleteWords, deleteDoc, docOf, lastDoc, setFilled, setDirty *sql.Stmt

	wake   chan struct{} // capacity 1
	cancel context.CancelFunc
	done   chan struct{}
}

// wordsFile names the index of a store's file.
func wordsFile(file string) string {
	ext := filepath.Ext(file)
	if ext == filepath.Base(file) { // nothing but an ending
		ext = ""
	}
	return strings.TrimSuffix(file, ext) + "-search" + ext
}

// openWords opens the index of a store's file and makes it where it is missing.
func openWords(ctx context.Context, file string) (*words, error) {
	w := &words{file: wordsFile(file), spaces: map[string]string{}, wake: make(chan struct{}, 1), done: make(chan struct{})}
	if err := create(w.file); err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite", dsn(w.file,
		"auto_vacuum(incremental)",
		"journal_mode(wal)",
		"synchronous(full)", // reindex forgets what the index has
		"cache_size(-32768)",
		"wal_autocheckpoint(4000)",
		"journal_size_limit(67108864)",
		"temp_store(memory)",
		"secure_delete(on)",
	))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	if w.conn, err = db.Conn(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	w.db = db
	if err := w.prepare(ctx); err != nil {
		hint := " (it may be deleted, and is made again)"
		if errors.Is(err, errNotWords) {
			hint = ""
		}
		return nil, fmt.Errorf("search index %s%s: %w", filepath.Base(w.file), hint, errors.Join(err, w.closeFile()))
	}
	return w, nil
}

// wordsTables make an empty index.
var wordsTables = []string{
	// A document is a message that is shown and has text. Its number is the start of its conversation, but for the low bits,
	// so that what is found comes out in the order of conversations.
	`CREATE TABLE docs (id INTEGER PRIMARY KEY, message INTEGER NOT NULL, session INTEGER NOT NULL) STRICT`,
	`CREATE UNIQUE INDEX docs_message ON docs (message)`,
	`CREATE VIRTUAL TABLE words USING fts5(text, content='', contentless_delete=1, tokenize="ascii tokenchars '_'")`,
	`INSERT INTO words (words, rank) VALUES ('hashsize', 8388608)`,
	// The words of each project are kept apart by a number before each.
	`CREATE TABLE projects (number INTEGER PRIMARY KEY, project TEXT NOT NULL UNIQUE) STRICT`,
	// Of which views it is, and up to which row of messages and of reindex; whether words of what is gone are in it.
	`CREATE TABLE filled (id INTEGER PRIMARY KEY CHECK (id = 1), name BLOB NOT NULL, message INTEGER NOT NULL, change INTEGER NOT NULL,
		dirty INTEGER NOT NULL) STRICT`,
	`INSERT INTO filled (id, name, message, change, dirty) VALUES (1, x'', 0, 0, 0)`,
	fmt.Sprintf(`PRAGMA application_id = %d`, wordsID),
	fmt.Sprintf(`PRAGMA user_version = %d`, wordsVersion),
}

func (w *words) prepare(ctx context.Context) error {
	if err := w.makeTables(ctx); err != nil {
		return err
	}
	for _, s := range []struct {
		stmt  **sql.Stmt
		query string
	}{
		{&w.insertWords, `INSERT INTO words (rowid, text) VALUES (?, ?)`},
		{&w.insertDoc, `INSERT INTO docs (id, message, session) VALUES (?, ?, ?)`},
		{&w.deleteWords, `DELETE FROM words WHERE rowid = ?`},
		{&w.deleteDoc, `DELETE FROM docs WHERE id = ?`},
		{&w.docOf, `SELECT id FROM docs WHERE message = ?`},
		{&w.lastDoc, `SELECT coalesce(max(id), ?1 - 1) FROM docs WHERE id BETWEEN ?1 AND ?2`},
		{&w.setFilled, `UPDATE filled SET message = ?, change = ?`},
		{&w.setDirty, `UPDATE filled SET dirty = 1 WHERE dirty = 0`},
	} {
		var err error
		if *s.stmt, err = w.conn.PrepareContext(ctx, s.query); err != nil {
			return err
		}
		w.stmts = append(w.stmts, *s.stmt)
	}
	return nil
}

// errNotWords says that the index's place is taken.
var errNotWords = errors.New("it is none, but somebody's database: move it away")

// makeTables makes what is missing, and what is of another version anew.
func (w *words) makeTables(ctx context.Context) error {
	tx, err := w.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var id, version, tables int
	if err := tx.QueryRowContext(ctx, `SELECT (SELECT application_id FROM pragma_application_id), (SELECT user_version FROM pragma_user_version),
		(SELECT count(*) FROM sqlite_schema)`).Scan(&id, &version, &tables); err != nil {
		return err
	}
	switch {
	case tables > 0 && id != wordsID:
		return errNotWords
	case tables > 0 && version == wordsVersion:
		return nil
	case tables > 0:
		for _, table := range []string{"words", "docs", "projects", "filled"} {
			if _, err := tx.ExecContext(ctx, "DROP TABLE IF EXISTS "+table); err != nil {
				return err
			}
		}
	}
	for _, statement := range wordsTables {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// start begins to fill the index, until stop.
func (w *words) start() {
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.signal()
	go w.run(ctx)
}

// close stops the filling and closes the file.
func (w *words) close() error {
	if w.cancel != nil {
		w.cancel()
		<-w.done
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closeFile()
}

func (w *words) closeFile() error {
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

func (w *words) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run fills the index whenever there is something to take in. It works little by little, and rests in between: not at all
// while nobody waits for the store's writer, and for many times as long as it worked while somebody always does.
func (w *words) run(ctx context.Context) {
	defer close(w.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	sleep := func(d time.Duration, wake <-chan struct{}) bool {
		timer.Reset(d)
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		return ctx.Err() == nil
	}
	since, busy := time.Now(), w.busy()
	for sleep(fillPoll, w.wake) {
		if !sleep(fillGather, nil) {
			return
		}
		for more := true; more; {
			start := time.Now()
			var err error
			more, err = w.fill(ctx, fillRows)
			rest := w.rest(time.Since(start), &since, &busy)
			if err != nil {
				rest, more = fillRetry, true
			}
			if !sleep(rest, nil) {
				return
			}
		}
		w.prune(ctx)
	}
}

// rest says how long to rest after having worked so long. Since and busy are when that was last asked, and what w.busy said.
func (w *words) rest(worked time.Duration, since *time.Time, busy *time.Duration) time.Duration {
	now, nowBusy := time.Now(), w.busy()
	share := 0.0
	if passed := now.Sub(*since); passed > 0 {
		share = min(1, float64(nowBusy-*busy)/float64(passed))
	}
	*since, *busy = now, nowBusy
	return time.Duration(float64(worked) * yielding * share * share)
}

// prune removes from the store what the index has taken in of reindex. What fails now is done the next time.
func (w *words) prune(ctx context.Context) {
	w.mu.Lock()
	var change int64
	err := w.conn.QueryRowContext(ctx, `SELECT change FROM filled`).Scan(&change)
	pruned := w.pruned
	w.mu.Unlock()
	if err != nil || change == pruned {
		return
	}
	err = w.write(ctx, &job{apply: func(t *transaction) error {
		_, err := t.conn.ExecContext(context.Background(), `DELETE FROM reindex WHERE seq <= ?`, change)
		return err
	}})
	if err == nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.pruned = change
	}
}

// doc is a message to take in.
type doc struct {
	message, session, start int64
	project, text           string
}

func bucketOf(start int64) int64 { return start &^ (1<<bucketBits - 1) }

// fill takes in what was written since the last time: all changes, up to some, and up to so many new messages. It reports
// whether there is more.
func (w *words) fill(ctx context.Context, rows int) (more bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	tx, err := w.conn.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			clear(w.spaces) // of which some may be of this transaction
		}
		_ = tx.Rollback() // does nothing after Commit
	}()
	at, err := w.position(ctx)
	if err != nil {
		return false, err
	}
	changed, to, err := w.changed(ctx, at)
	if err != nil {
		return false, err
	}
	if err := w.drop(changed); err != nil {
		return false, err
	}
	var docs []doc
	for _, message := range changed {
		some, err := w.docs(ctx, `m.seq = ?`, message)
		if err != nil {
			return false, err
		}
		docs = append(docs, some.docs...)
	}
	next := at.message
	if rows > 0 {
		some, err := w.docs(ctx, `m.seq > ? ORDER BY m.seq LIMIT ?`, at.message, rows)
		if err != nil {
			return false, err
		}
		docs = append(docs, some.docs...)
		if next = some.last; next == 0 {
			next = at.messages // there are none
		}
	}
	if err := w.add(ctx, docs); err != nil {
		return false, err
	}
	if next == at.message && to == at.change && !at.anew {
		w.lag.filled(at.messages, 0)
		return false, nil
	}
	if _, err := w.setFilled.ExecContext(ctx, next, to); err != nil {
		return false, err
	}
	if err := tx.Commit(); err != nil {
		return false, err
	}
	w.lag.wrote(at.messages, time.Now())
	w.lag.filled(next, at.changes-to)
	return to < at.changes || rows > 0 && next < at.messages, nil
}

// filledTo is how far the index is, and how far the store.
type filledTo struct {
	message, change   int64
	messages, changes int64
	anew              bool
}

// position returns how far the index is. One that is not of this store, or further than it, is emptied.
func (w *words) position(ctx context.Context) (at filledTo, err error) {
	var ours, theirs []byte
	if err := w.conn.QueryRowContext(ctx, `SELECT name, message, change FROM filled`).Scan(&ours, &at.message, &at.change); err != nil {
		return at, err
	}
	if err := w.read.db.QueryRowContext(ctx, `SELECT (SELECT name FROM words_of), (SELECT coalesce(max(seq), 0) FROM messages),
		coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'reindex'), 0)`).Scan(&theirs, &at.messages, &at.changes); err != nil {
		return at, err
	}
	if string(ours) == string(theirs) && at.message <= at.messages && at.change <= at.changes {
		return at, nil
	}
	for _, statement := range []string{`INSERT INTO words (words) VALUES ('delete-all')`, `DELETE FROM docs`} {
		if _, err := w.conn.ExecContext(ctx, statement); err != nil {
			return at, err
		}
	}
	_, err = w.conn.ExecContext(ctx, `UPDATE filled SET name = ?, message = 0, change = ?, dirty = 1`, theirs, at.changes)
	at.message, at.change, at.anew = 0, at.changes, true
	return at, err
}

// changed returns the messages that have to be looked at again, of those that were taken in, and up to which row of reindex.
func (w *words) changed(ctx context.Context, at filledTo) (messages []int64, to int64, err error) {
	rows, err := w.read.db.QueryContext(ctx, `SELECT r.seq, coalesce(r.message, m.seq, 0) FROM
			(SELECT seq, message, session FROM reindex WHERE seq > ? ORDER BY seq LIMIT ?) r
			LEFT JOIN sessions s ON s.seq = r.session
			LEFT JOIN messages m ON m.project = s.project AND m.session_id = s.id
		ORDER BY r.seq`, at.change, fillRows)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	to = at.change
	for rows.Next() {
		var message int64
		if err := rows.Scan(&to, &message); err != nil {
			return nil, 0, err
		}
		if message <= at.message {
			messages = append(messages, message)
		}
	}
	slices.Sort(messages)
	return slices.Compact(messages), to, rows.Err()
}

// drop takes messages out of the index. Their words stay in the file until it is scrubbed.
func (w *words) drop(messages []int64) error {
	for _, message := range messages {
		var id int64
		switch err := w.docOf.QueryRow(message).Scan(&id); {
		case errors.Is(err, sql.ErrNoRows):
			continue
		case err != nil:
			return err
		}
		if _, err := w.deleteWords.Exec(id); err != nil {
			return err
		}
		if _, err := w.deleteDoc.Exec(id); err != nil {
			return err
		}
		if _, err := w.setDirty.Exec(); err != nil {
			return err
		}
	}
	return nil
}

// someDocs are documents, and the last row that was read for them.
type someDocs struct {
	docs []doc
	last int64
}

// docs reads messages that are to be taken in.
func (w *words) docs(ctx context.Context, where string, args ...any) (some someDocs, err error) {
	rows, err := w.read.db.QueryContext(ctx, `SELECT m.seq, m.project, iif(m.hidden, '', m.content), s.seq, s.start_time
		FROM messages m JOIN sessions s ON s.project = m.project AND s.id = m.session_id WHERE `+where, args...)
	if err != nil {
		return some, err
	}
	defer rows.Close()
	for bytes := 0; bytes < fillBytes && rows.Next(); {
		var d doc
		if err := rows.Scan(&d.message, &d.project, &d.text, &d.session, &d.start); err != nil {
			return some, err
		}
		some.last = d.message
		if bytes += len(d.text); d.text != "" {
			some.docs = append(some.docs, d)
		}
	}
	return some, rows.Err()
}

// add takes documents in. They go in by their numbers, or FTS5 would write what it gathers at each that is smaller than the one
// before.
func (w *words) add(ctx context.Context, docs []doc) error {
	slices.SortFunc(docs, func(a, b doc) int {
		return cmp.Or(cmp.Compare(bucketOf(a.start), bucketOf(b.start)), cmp.Compare(a.session, b.session), cmp.Compare(a.message, b.message))
	})
	var (
		text []byte
		last int64
	)
	for i, d := range docs {
		space, err := w.space(ctx, d.project)
		if err != nil {
			return err
		}
		if text = search.AppendIndexed(text[:0], space, d.text); len(text) == 0 {
			continue
		}
		if bucket := bucketOf(d.start); i == 0 || bucket != bucketOf(docs[i-1].start) || last < bucket {
			if err := w.lastDoc.QueryRow(bucket, bucket|(1<<bucketBits-1)).Scan(&last); err != nil {
				return err
			}
		}
		last++
		if _, err := w.insertWords.Exec(last, text); err != nil {
			return err
		}
		if _, err := w.insertDoc.Exec(last, d.message, d.session); err != nil {
			return err
		}
	}
	return nil
}

// space returns what stands before the words of a project.
func (w *words) space(ctx context.Context, project string) (string, error) {
	if space, ok := w.spaces[project]; ok {
		return space, nil
	}
	if _, err := w.conn.ExecContext(ctx, `INSERT INTO projects (project) VALUES (?) ON CONFLICT DO NOTHING`, project); err != nil {
		return "", err
	}
	var number int64
	if err := w.conn.QueryRowContext(ctx, `SELECT number FROM projects WHERE project = ?`, project).Scan(&number); err != nil {
		return "", err
	}
	w.spaces[project] = spaceOf(number)
	return w.spaces[project], nil
}

// spaceOf returns what stands before the words of the project with a number.
func spaceOf(number int64) string { return strconv.FormatInt(number, 36) + "_" }

// CatchUp returns when all that was stored before can be found by its text. It does not yield to appends.
func (s *Store) CatchUp(ctx context.Context) error {
	if err := s.words.catchUp(ctx, fillRows); err != nil {
		return fmt.Errorf("sqlite: catching up: %w", err)
	}
	return nil
}

// catchUp takes in what there is: all changes, and new messages, so many at a time, unless that is 0.
func (w *words) catchUp(ctx context.Context, rows int) error {
	for more := true; more; {
		var err error
		if more, err = w.fill(ctx, rows); err != nil {
			return err
		}
	}
	return nil
}

// forget takes out of the index what was taken out of the store, and then out of its file: at once, so that nothing of it is
// left when whoever asked for it is answered.
func (w *words) forget(ctx context.Context) error {
	if err := w.catchUp(ctx, 0); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var dirty bool
	if err := w.conn.QueryRowContext(ctx, `SELECT dirty FROM filled`).Scan(&dirty); err != nil || !dirty {
		return err
	}
	if err := w.merge(ctx); err != nil {
		return err
	}
	if _, err := w.conn.ExecContext(ctx, `UPDATE filled SET dirty = 0`); err != nil {
		return err
	}
	if err := emptyLog(ctx, w.conn); err != nil {
		_, again := w.conn.ExecContext(context.Background(), `UPDATE filled SET dirty = 1`)
		return errors.Join(err, again)
	}
	return nil
}

// merge writes the index anew without the words of what was dropped, step by step, and gives back the room it had before.
func (w *words) merge(ctx context.Context) error {
	changes := func() (n int64, err error) {
		return n, w.conn.QueryRowContext(ctx, `SELECT total_changes()`).Scan(&n)
	}
	for pages := -mergePages; ; pages = mergePages {
		before, err := changes()
		if err != nil {
			return err
		}
		if _, err := w.conn.ExecContext(ctx, `INSERT INTO words (words, rank) VALUES ('merge', ?)`, pages); err != nil {
			return err
		}
		after, err := changes()
		if err != nil {
			return err
		}
		if after-before < 2 { // as FTS5 says that there was nothing to do
			break
		}
	}
	return each(ctx, w.conn, `PRAGMA incremental_vacuum`)
}

// lag is how far the index is behind.
type lag struct {
	mu             sync.Mutex
	written, taken int64 // rows of messages
	changes        int64
	marks          []lagMark
}

// lagMark says that rows up to seq, and after those of the mark before, were written at a time or a little later.
type lagMark struct {
	seq int64
	at  time.Time
}

const (
	lagEvery = 100 * time.Millisecond // between marks
	lagMarks = 4096                   // beyond which every second one goes
)

// wrote notes that messages up to seq are there.
func (l *lag) wrote(seq int64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq <= l.written {
		return
	}
	l.written = seq
	if n := len(l.marks); n > 0 && now.Sub(l.marks[n-1].at) < lagEvery {
		l.marks[n-1].seq = seq
		return
	}
	if len(l.marks) >= lagMarks {
		kept := l.marks[:0]
		for i := 0; i+1 < len(l.marks); i += 2 { // what both wrote was written at the first one's time or later
			kept = append(kept, lagMark{l.marks[i+1].seq, l.marks[i].at})
		}
		l.marks = kept
	}
	l.marks = append(l.marks, lagMark{seq, now})
}

// filled notes how far the index is.
func (l *lag) filled(seq, changes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken, l.changes = seq, changes
	n := 0
	for n < len(l.marks) && l.marks[n].seq <= seq {
		n++
	}
	l.marks = slices.Delete(l.marks, 0, n)
}

// behind returns how many messages wait, and for how long the first of them does.
func (l *lag) behind(now time.Time) (messages int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.marks) > 0 {
		wait = now.Sub(l.marks[0].at)
	}
	return int(max(0, l.written-l.taken) + max(0, l.changes)), wait
}

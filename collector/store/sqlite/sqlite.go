// Package sqlite is the store in a single file: facts and the views derived from them, in SQLite without cgo.
//
// One connection writes. It belongs to one goroutine, which gathers the appends that wait and commits them together, so
// that durability (a sync of the disk for every commit) is paid once for many requests. Readers have connections of their
// own, which never wait for the writer and cannot write. The file belongs on a local disk: SQLite's locks do not work on
// network file systems.
//
// Each fact says little pieces of what people look at (derive.go). Pieces join by rules that do not care in which order,
// how often or how grouped they come, so the views need no coordination and can be rebuilt from the facts.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/openalign/align/collector"
)

const (
	// maxQueuedEvents and maxQueuedBytes bound the appends that wait or are being committed: a few seconds of full load.
	// Past either, Append stands in line.
	maxQueuedEvents = 100_000
	maxQueuedBytes  = 64 << 20
	// patience is how long Append stands in line before it answers collector.ErrBusy. Clients give up after 10 seconds,
	// and most of them drop what was refused: it is worth the wait.
	patience = 8 * time.Second
	// maxGroupEvents is where a transaction stops taking in more batches.
	maxGroupEvents = 5000
	// linger is how long the writer waits at most for more batches, and only while several requests are under way.
	linger = 2 * time.Millisecond
	// leastBallast and mostBallast bound how many bytes Ready writes to know whether the disk takes again what it refused.
	leastBallast = 1 << 20
	mostBallast  = 16 << 20
	// queryTimeout bounds every read.
	queryTimeout = 10 * time.Second
)

var errClosed = errors.New("sqlite: store is closed")

// Store keeps facts and views in one SQLite file. It implements [collector.Store].
type Store struct {
	file    string
	queue   *queue
	stopped chan struct{} // closed when the writer's goroutine has ended

	write  *writer // belongs to the writer's goroutine until stopped is closed
	read   *reader
	words  *words
	search *sql.DB // reads the file and words
	few    int     // fewMessages, but in tests
	// refused is how many bytes the disk refused since it last took an append; 0 when none. It belongs to the writer's
	// goroutine.
	refused int
	digests *digester

	mu      sync.Mutex
	commits collector.Histogram // guarded by mu
	busy    time.Duration       // in commits for which others waited; guarded by mu

	close    sync.Once
	closeErr error
}

var _ collector.Store = (*Store)(nil)

// Open opens the store in file, and creates the file, readable by its owner alone, and its folder where they are missing.
// It brings an older schema up to date and returns [ErrNewerSchema] for one it does not know. ctx bounds the opening only.
func Open(ctx context.Context, file string) (*Store, error) {
	return open(ctx, file, newQueue(maxQueuedEvents, maxQueuedBytes))
}

func open(ctx context.Context, file string, q *queue) (*Store, error) {
	if err := create(file); err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	w, err := newWriter(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	r, err := newReader(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", errors.Join(err, w.close()))
	}
	words, err := openWords(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", errors.Join(err, r.close(), w.close()))
	}
	searchers, err := openSearchers(file, words.file)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", errors.Join(err, words.close(), r.close(), w.close()))
	}
	s := &Store{file: file, queue: q, stopped: make(chan struct{}), write: w, read: r, words: words, search: searchers, few: fewMessages, commits: collector.NewHistogram()}
	words.read, words.write, words.busy = r, s.do, s.committing
	s.digests = newDigester()
	go s.run()
	go s.makeDigests()
	words.start()
	return s, nil
}

// create makes the file before SQLite would, which does it with the permissions of any file. SQLite gives the files it
// keeps beside it the same permissions. A file that exists is not opened here: closing it would drop SQLite's locks on it.
func create(file string) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// dsn names file in the form in which the driver applies pragmas to every connection it opens.
func dsn(file string, pragmas ...string) string {
	// A wait for a lock comes first, or the pragmas after it fail while another connection writes.
	params := url.Values{"_pragma": append([]string{"busy_timeout(5000)"}, pragmas...), "_txlock": {"immediate"}}
	return "file:" + (&url.URL{Path: filepath.ToSlash(file)}).EscapedPath() + "?" + params.Encode()
}

// openWriter returns the one connection that writes.
func openWriter(ctx context.Context, file string) (*sql.DB, *sql.Conn, error) {
	db, err := sql.Open("sqlite", dsn(file,
		"auto_vacuum(incremental)", // takes effect only before the first table, so it precedes everything that writes
		"journal_mode(wal)",
		"synchronous(full)",            // acknowledged means durable, also over a power cut
		"cache_size(-65536)",           // KiB
		"wal_autocheckpoint(4000)",     // pages, 16 MB: pages written again and again reach the file once
		"journal_size_limit(67108864)", // what is left of the log after a burst
		"temp_store(memory)",
		"secure_delete(on)", // what is erased is overwritten; that costs nothing to speak of where little is
	))
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, conn, nil
}

// openReaders returns connections that cannot write.
func openReaders(file string) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(file, "query_only(1)", "cache_size(-16384)", "temp_store(memory)"))
	if err != nil {
		return nil, err
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	db.SetMaxOpenConns(readers)
	db.SetMaxIdleConns(readers)
	return db, nil
}

// Stats says how the store is doing.
func (s *Store) Stats() collector.StoreStats {
	var stats collector.StoreStats
	held, lined := s.queue.holds()
	stats.QueuedEvents, stats.QueuedBytes, stats.LineEvents = held.events, held.bytes, lined.events
	for file, size := range map[string]*int64{s.file: &stats.FileBytes, s.file + "-wal": &stats.LogBytes,
		s.words.file: &stats.IndexBytes, s.words.file + "-wal": &stats.IndexBytes} {
		if info, err := os.Stat(file); err == nil { // there is no log before the first write
			*size += info.Size()
		}
	}
	s.digestStats(&stats)
	stats.UnindexedMessages, stats.IndexLag = s.words.lag.behind(time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	stats.Commits = s.commits.Clone()
	return stats
}

// committing returns how long the writer has been committing while others waited for it, in all.
func (s *Store) committing() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.busy
}

// timedCommit is the writer's commit, observed.
func (s *Store) timedCommit(jobs []*job) error {
	start := time.Now()
	err := s.write.commit(jobs)
	if len(jobs) == 0 {
		return err
	}
	now := time.Now()
	waiting, _, _ := s.queue.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	if waiting > 0 {
		s.busy += now.Sub(start)
	}
	if err == nil {
		s.commits.Observe(now.Sub(start))
		s.words.lag.wrote(s.write.messages.last, now)
		s.words.signal()
	}
	return err
}

// Ready writes one row, in the same queue as all appends, and returns nil when it is durable. From when the disk refused an
// append until it took one, the row is as large as that append: there is always room for a small one.
func (s *Store) Ready(ctx context.Context) error {
	write := func() (ballast int, err error) {
		return ask(ctx, s, &job{proves: true}, func(t *transaction) (int, error) {
			return s.refused, t.ready(time.Now(), s.refused)
		})
	}
	ballast, err := write()
	if err == nil && ballast > 0 {
		_, err = write() // a small one, which gives the room back
	}
	if err != nil {
		return fmt.Errorf("sqlite: not ready: %w", err)
	}
	return nil
}

// Close waits for the appends under way, moves the log into the file and closes it. A second Close waits for the first.
func (s *Store) Close() error {
	s.close.Do(func() {
		s.digests.end()
		words := errors.Join(s.search.Close(), s.words.close()) // it asks the writer now and then
		s.queue.close()
		<-s.stopped
		// The readers go first: the last connection to close can then remove the log.
		s.closeErr = errors.Join(words, s.read.close(), s.write.close())
	})
	return s.closeErr
}

package sqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/openalign/align/collector"
)

// The files of the daily export: how they come about piece by piece, appear as a whole, and are read.

const (
	// buildLost is after how long without a sign of life an attempt to make files counts as dead.
	buildLost = time.Minute
	// newsChunk is how many conversations lose their news in one transaction.
	newsChunk = 2000
)

// BeginExport begins the files of a day. What an attempt that died left of them is forgotten, and its conversations still
// have their news.
func (s *Store) BeginExport(ctx context.Context, project string, day collector.Day) ([]byte, error) {
	build := make([]byte, 16)
	_, _ = rand.Read(build) // never fails, see crypto/rand
	err := s.do(ctx, &job{apply: func(t *transaction) error {
		var (
			final bool
			beat  int64
		)
		now := time.Now()
		switch err := t.conn.QueryRowContext(context.Background(), `SELECT final, beat FROM export_days WHERE project = ? AND day = ?`, project, day).Scan(&final, &beat); {
		case errors.Is(err, sql.ErrNoRows):
			_, err := t.conn.ExecContext(context.Background(), `INSERT INTO export_days (project, day, build, beat, seq, final, manifest)
				VALUES (?, ?, ?, ?, (SELECT seq FROM export_scan), 0, '')`,
				project, day, build, unixNano(now))
			return err
		case err != nil:
			return err
		case final || now.Sub(fromNanos(beat)) < buildLost:
			return collector.ErrOvertaken
		}
		for _, statement := range []string{
			`DELETE FROM export_chunks WHERE project = ? AND day = ?`,
			`DELETE FROM export_episodes WHERE project = ? AND day = ?`,
		} {
			if _, err := t.conn.ExecContext(context.Background(), statement, project, day); err != nil {
				return err
			}
		}
		_, err := t.conn.ExecContext(context.Background(), `UPDATE export_days SET build = ?, beat = ?, seq = (SELECT seq FROM export_scan) WHERE project = ? AND day = ?`, build, unixNano(now), project, day)
		return err
	}})
	if err != nil {
		return nil, fmt.Errorf("sqlite: export: %w", err)
	}
	return build, nil
}

// holds returns ErrOvertaken unless a build is the one that makes the files of a day, and notes that it is at work.
func (t *transaction) holds(project string, day collector.Day, build []byte) error {
	n, err := exec(t.beatExport, unixNano(time.Now()), project, day, build)
	if err == nil && n != 1 {
		err = collector.ErrOvertaken
	}
	return err
}

// AddToExport adds a piece to the files that a build makes, and keeps the keys it is sealed with.
func (s *Store) AddToExport(ctx context.Context, project string, day collector.Day, build []byte, chunk collector.ExportChunk) error {
	err := s.do(ctx, &job{apply: func(t *transaction) error {
		if err := t.holds(project, day, build); err != nil {
			return err
		}
		if len(chunk.Data) > 0 {
			if _, err := exec(t.addChunk, project, day, chunk.Late, chunk.Data); err != nil {
				return err
			}
		}
		for i := range chunk.Episodes {
			e := &chunk.Episodes[i]
			if _, err := exec(t.addEpisode, project, e.Conversation, e.Number, day, e.Upto, unixNano(e.End), e.Status, e.Resolution, e.Digest); err != nil {
				return err
			}
			if e.Keys.Labels == nil && e.Keys.Content == nil {
				continue
			}
			if _, err := exec(t.keepExportKey, project, e.Conversation, unixNano(e.End), blob(e.Keys.Labels), blob(e.Keys.Content)); err != nil {
				return err
			}
		}
		return nil
	}})
	if err == nil {
		err = s.maintain(ctx, (*writer).shrink)
	}
	if err != nil {
		return fmt.Errorf("sqlite: export: %w", err)
	}
	return nil
}

// blob is what the driver takes for NULL where there is nothing.
func blob(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

// FinishExport makes the files of a day final, in one row. What is told is no news any more; that is forgotten after it,
// as it does no harm when it is looked at again.
func (s *Store) FinishExport(ctx context.Context, project string, day collector.Day, build, manifest []byte, received time.Time) error {
	err := s.do(ctx, &job{apply: func(t *transaction) error {
		if err := t.holds(project, day, build); err != nil {
			return err
		}
		_, err := t.conn.ExecContext(context.Background(), `UPDATE export_days SET final = 1, manifest = ? WHERE project = ? AND day = ?`, string(manifest), project, day)
		return err
	}})
	if err != nil {
		return fmt.Errorf("sqlite: export: %w", err)
	}
	for {
		gone, err := ask(ctx, s, new(job), func(t *transaction) (int64, error) {
			// A conversation that a fact spoke of since is compared with its file next time.
			n, err := t.conn.ExecContext(context.Background(), `DELETE FROM export_news WHERE (project, session_id) IN
				(SELECT n.project, n.session_id FROM export_news n CROSS JOIN sessions s
					WHERE n.project = ?1 AND n.ends < ?3 AND n.seq <= (SELECT seq FROM export_days WHERE project = ?1 AND day = ?2)
						AND s.project = ?1 AND s.id = n.session_id AND s.last_activity < ?3 AND (s.last_activity >= ?5 OR n.received < ?6) LIMIT ?4)`,
				project, day, unixNano(day.End()), newsChunk, unixNano(day.Start()), unixNano(received))
			if err != nil {
				return 0, err
			}
			return n.RowsAffected()
		})
		if err == nil && gone == newsChunk {
			err = s.maintain(ctx, (*writer).shrink)
		}
		if err != nil {
			return fmt.Errorf("sqlite: export: %w", err)
		}
		if gone < newsChunk {
			return nil
		}
	}
}

// ExportDays lists days that are final.
func (s *Store) ExportDays(ctx context.Context, project string, from, to collector.Day, limit int) (list []collector.ExportDay, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	order := "ASC"
	if limit < 0 {
		order, limit = "DESC", -limit
	}
	rows, err := s.read.db.QueryContext(ctx, `SELECT day, manifest FROM (SELECT day, manifest FROM export_days WHERE project = ? AND day BETWEEN ? AND ? AND final
		ORDER BY day `+order+` LIMIT ?) ORDER BY day`, project, from, to, limit)
	if err != nil {
		return nil, fmt.Errorf("sqlite: export: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var d collector.ExportDay
		if err := rows.Scan(&d.Day, &d.Manifest); err != nil {
			return nil, fmt.Errorf("sqlite: export: %w", err)
		}
		list = append(list, d)
	}
	return list, rows.Err()
}

// ExportChunks calls yield for each piece of a file, in order.
func (s *Store) ExportChunks(ctx context.Context, project string, day collector.Day, late bool, yield func(data []byte) error) (err error) {
	// One query for each: a slow client must not hold one of the few connections, nor keep the log from being emptied.
	for n := 0; ; n++ {
		var data []byte
		err := s.read.db.QueryRowContext(ctx, `SELECT data FROM export_chunks WHERE project = ? AND day = ? AND late = ? AND n = ?`, project, day, late, n).Scan(&data)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return nil
		case err != nil:
			return fmt.Errorf("sqlite: export: %w", err)
		}
		if err := yield(data); err != nil {
			return err
		}
	}
}

// OpenExports returns the keys of some conversations.
func (s *Store) OpenExports(ctx context.Context, project string, conversations []string) (map[string]collector.ExportKeys, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	ids, err := json.Marshal(conversations)
	if err != nil {
		return nil, fmt.Errorf("sqlite: export: %w", err)
	}
	rows, err := s.read.db.QueryContext(ctx, `SELECT session_id, labels, content FROM json_each(?2) j CROSS JOIN export_keys k
		WHERE k.project = ?1 AND k.session_id = j.value`, project, string(ids))
	if err != nil {
		return nil, fmt.Errorf("sqlite: export: %w", err)
	}
	defer rows.Close()
	keys := make(map[string]collector.ExportKeys, len(conversations))
	for rows.Next() {
		var (
			id string
			k  collector.ExportKeys
		)
		if err := rows.Scan(&id, &k.Labels, &k.Content); err != nil {
			return nil, fmt.Errorf("sqlite: export: %w", err)
		}
		keys[id] = k
	}
	return keys, rows.Err()
}

// ExportSecret returns what links to files are signed with.
func (s *Store) ExportSecret(ctx context.Context) (secret []byte, err error) {
	if err := s.read.db.QueryRowContext(ctx, `SELECT secret FROM export_secret`).Scan(&secret); err != nil {
		return nil, fmt.Errorf("sqlite: export: %w", err)
	}
	return bytes.Clone(secret), nil
}

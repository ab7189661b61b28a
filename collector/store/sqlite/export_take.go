package sqlite

import "context"

// What retention and erasure mean for the daily export. Files do not change; what opens what is sealed in them goes.

// noteEmptied notes a conversation of which a fact speaks that nobody will be able to read, unless it was noted already.
func (t *transaction) noteEmptied(key entity, last newsOf) error {
	var noted int64
	if err := t.conn.QueryRowContext(context.Background(), `SELECT seq FROM export_scan`).Scan(&noted); err != nil || last.seq <= noted {
		return err
	}
	return t.noteNews(key, last)
}

// takeExportKeys makes content in files unreadable that is of conversations which ended before a time.
func (t *transaction) takeExportKeys(before int64) (int, error) {
	res, err := t.conn.ExecContext(context.Background(), `UPDATE export_keys SET content = NULL WHERE (project, session_id) IN
		(SELECT project, session_id FROM export_keys WHERE end_time < ? AND content IS NOT NULL LIMIT ?)`, before, retainChunk)
	if err != nil {
		return 0, err
	}
	n, err := res.RowsAffected()
	return int(n), err
}

// exports makes an attempt to write files that is under way begin again: it may have read what is erased now.
func (e *eraser) exports(ctx context.Context) error {
	_, err := e.conn.ExecContext(ctx, `UPDATE export_days SET build = randomblob(16), beat = 0 WHERE project = ? AND NOT final`, e.project)
	return err
}

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Backup writes all there is at one moment to a new file, readable by its owner alone, and opens it to see that it is
// whole: its pages, its indexes, its schema and as many facts as there were. Appends and reads go on meanwhile. The file
// appears under its name only when it is good.
func (s *Store) Backup(ctx context.Context, file string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("sqlite: backup: %w", err)
		}
	}()
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, fs.ErrExist)
	}
	folder, err := os.MkdirTemp(filepath.Dir(file), ".backup-") // the owner's alone
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	part := filepath.Join(folder, "part")
	if err := create(part); err != nil {
		return err
	}
	if err := s.vacuumInto(ctx, part); err != nil {
		return err
	}
	if err := verify(ctx, part); err != nil {
		return err
	}
	if err := syncFile(part); err != nil {
		return err
	}
	// Link rather than rename, which would replace a file that came meanwhile.
	if err := os.Link(part, file); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return err
		}
		return os.Rename(part, file) // a file system without links
	}
	return nil
}

// vacuumInto copies the database. The connection is one of its own: the copy is one long read, and the pool's are few and
// must not write, which is what SQLite takes this for.
func (s *Store) vacuumInto(ctx context.Context, to string) (err error) {
	db, err := sql.Open("sqlite", dsn(s.file))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var size int64 // of the pages that are copied, of which the copy has none that are free
	if err := db.QueryRowContext(ctx, `SELECT (c.page_count - f.freelist_count) * s.page_size
		FROM pragma_page_count c, pragma_freelist_count f, pragma_page_size s`).Scan(&size); err != nil {
		return err
	}
	defer watchGrowth(ctx, to, size)()
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", to)
	return err
}

// verify opens a copy and checks it.
func verify(ctx context.Context, file string) (err error) {
	db, err := sql.Open("sqlite", dsn(file, "query_only(1)"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var said string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&said); err != nil {
		return err
	}
	if said != "ok" {
		return errors.New("the copy is damaged")
	}
	var schema int
	if err := db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&schema); err != nil {
		return err
	}
	steps, err := fs.Glob(migrations, "migrations/*.sql")
	if err == nil && schema != len(steps) {
		err = fmt.Errorf("the copy has schema %d, want %d", schema, len(steps))
	}
	return err
}

func syncFile(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

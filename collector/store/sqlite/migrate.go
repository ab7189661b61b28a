package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
)

// ErrNewerSchema says that a file was written by a newer program than this one. Nothing in it was touched.
var ErrNewerSchema = errors.New("sqlite: the file was written by a newer version of this program")

// migrations are applied in the order of their names. One that was released is never edited: the next number follows it.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the schema up to date, each step in a transaction of its own. The file counts the steps it has in
// user_version, which SQLite changes in the same transaction.
func migrate(ctx context.Context, conn *sql.Conn) error {
	steps, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return err
	}
	var have int
	if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	if have > len(steps) {
		return fmt.Errorf("%w: it has schema %d, this one knows up to %d", ErrNewerSchema, have, len(steps))
	}
	for i, step := range steps[have:] {
		if err := migrateStep(ctx, conn, step, have+i); err != nil {
			return fmt.Errorf("%s: %w", step, err)
		}
	}
	return nil
}

// migrateStep applies one step to a file that has the steps before it, unless another process was faster.
func migrateStep(ctx context.Context, conn *sql.Conn, step string, before int) error {
	text, err := migrations.ReadFile(step)
	if err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var have int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&have); err != nil {
		return err
	}
	if have > before {
		return nil
	}
	if _, err := tx.ExecContext(ctx, string(text)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", before+1)); err != nil {
		return err
	}
	return tx.Commit()
}

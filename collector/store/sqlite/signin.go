package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/openalign/align/collector"
)

var _ collector.SignIns = (*Store)(nil)

// Who is signed in. All of it is rare, so that no statement is prepared for it.

// CreateLink keeps a link, and forgets those that have expired. It returns when that is durable, as all here that write.
func (s *Store) CreateLink(ctx context.Context, link collector.Link) error {
	return s.signIn(ctx, "create link", func(ctx context.Context, t *transaction) error {
		if _, err := t.conn.ExecContext(ctx, `DELETE FROM links WHERE expire_time <= ?`, unixNano(time.Now())); err != nil {
			return err
		}
		_, err := t.conn.ExecContext(ctx, `INSERT INTO links (hash, project, scope, expire_time) VALUES (?, ?, ?, ?)`,
			link.Hash[:], link.Project, string(link.Scope), unixNano(link.ExpireTime))
		return err
	})
}

// RedeemLink uses a link up and keeps the login, in one transaction; or returns [collector.ErrNotFound].
func (s *Store) RedeemLink(ctx context.Context, link [32]byte, login collector.Login) (collector.Login, error) {
	err := s.signIn(ctx, "redeem link", func(ctx context.Context, t *transaction) error {
		err := t.conn.QueryRowContext(ctx, `DELETE FROM links WHERE hash = ? AND expire_time > ? RETURNING project, scope`,
			link[:], unixNano(login.CreateTime)).Scan(&login.Project, &login.Scope)
		if errors.Is(err, sql.ErrNoRows) {
			return collector.ErrNotFound
		}
		if err != nil {
			return err
		}
		return t.addLogin(ctx, login)
	})
	if err != nil {
		return collector.Login{}, err
	}
	return login, nil
}

// CreateLogin keeps a login, and forgets those that have expired.
func (s *Store) CreateLogin(ctx context.Context, login collector.Login) error {
	return s.signIn(ctx, "create login", func(ctx context.Context, t *transaction) error { return t.addLogin(ctx, login) })
}

// EndLogin forgets a login.
func (s *Store) EndLogin(ctx context.Context, hash [32]byte) error {
	return s.signIn(ctx, "end login", func(ctx context.Context, t *transaction) error {
		_, err := t.conn.ExecContext(ctx, `DELETE FROM logins WHERE hash = ?`, hash[:])
		return err
	})
}

// LoginByHash returns the login with that hash, or [collector.ErrNotFound]. The index finds it by its hash, so how long that
// takes says nothing about the logins there are.
func (s *Store) LoginByHash(ctx context.Context, hash [32]byte) (collector.Login, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var (
		login            = collector.Login{Hash: hash}
		key              []byte
		created, expires int64
	)
	err := s.read.db.QueryRowContext(ctx, `SELECT project, scope, key, create_time, expire_time FROM logins WHERE hash = ?`, hash[:]).
		Scan(&login.Project, &login.Scope, &key, &created, &expires)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return collector.Login{}, collector.ErrNotFound
	case err != nil:
		return collector.Login{}, fmt.Errorf("sqlite: login: %w", err)
	}
	copy(login.Key[:], key)
	login.CreateTime, login.ExpireTime = fromNanos(created), fromNanos(expires)
	return login, nil
}

// signIn does something in the writer's transaction.
func (s *Store) signIn(ctx context.Context, what string, do func(context.Context, *transaction) error) error {
	// No caller's context takes part in a transaction, as it would cut off others.
	err := s.do(ctx, &job{apply: func(t *transaction) error { return do(context.Background(), t) }})
	switch {
	case errors.Is(err, collector.ErrNotFound):
		return collector.ErrNotFound
	case err != nil:
		return fmt.Errorf("sqlite: %s: %w", what, err)
	}
	return nil
}

func (t *transaction) addLogin(ctx context.Context, login collector.Login) error {
	if _, err := t.conn.ExecContext(ctx, `DELETE FROM logins WHERE expire_time <= ?`, unixNano(login.CreateTime)); err != nil {
		return err
	}
	key := login.Key[:]
	if login.Key == [32]byte{} {
		key = []byte{}
	}
	_, err := t.conn.ExecContext(ctx, `INSERT INTO logins (hash, project, scope, key, create_time, expire_time) VALUES (?, ?, ?, ?, ?, ?)`,
		login.Hash[:], login.Project, string(login.Scope), key, unixNano(login.CreateTime), unixNano(login.ExpireTime))
	return err
}

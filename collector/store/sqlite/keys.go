package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/openalign/align/collector"
)

// CreateKey keeps a new key and returns when that is durable. Keeping the same one twice is an error.
func (s *Store) CreateKey(ctx context.Context, key collector.Key) error {
	err := s.do(ctx, &job{apply: func(t *transaction) error {
		_, err := exec(t.insertKey, key.Hash[:], key.Hint, key.Project, string(key.Scope), unixNano(key.CreateTime))
		return err
	}})
	if err != nil {
		return fmt.Errorf("sqlite: create key: %w", err)
	}
	return nil
}

// HasProject reports whether a key was ever made for the project.
func (s *Store) HasProject(ctx context.Context, project string) (bool, error) {
	found, err := query(ctx, s.read.hasProject, func(*sql.Rows) (struct{}, error) { return struct{}{}, nil }, project)
	if err != nil {
		return false, fmt.Errorf("sqlite: project: %w", err)
	}
	return len(found) > 0, nil
}

// KeyByHash returns the key with that hash, or [collector.ErrNotFound]. The index finds it by its hash, so how long that
// takes says nothing about the keys there are.
func (s *Store) KeyByHash(ctx context.Context, hash [32]byte) (collector.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	key := collector.Key{Hash: hash}
	var created int64
	err := s.read.keyByHash.QueryRowContext(ctx, hash[:]).Scan(&key.Hint, &key.Project, &key.Scope, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return collector.Key{}, collector.ErrNotFound
	}
	if err != nil {
		return collector.Key{}, fmt.Errorf("sqlite: key: %w", err)
	}
	key.CreateTime = fromNanos(created)
	return key, nil
}

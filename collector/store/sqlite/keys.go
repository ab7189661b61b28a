package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/openalign/align/collector"
)

// CreateKey keeps a new key and returns when that is durable. Keeping the same one twice is an error.
func (s *Store) CreateKey(ctx context.Context, key collector.Key) error {
	if err := s.do(ctx, &job{apply: func(t *transaction) error { return t.addKey(key) }}); err != nil {
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
	found, err := query(ctx, s.read.keyByHash, scanKey, hash[:])
	if err != nil {
		return collector.Key{}, fmt.Errorf("sqlite: key: %w", err)
	}
	if len(found) == 0 {
		return collector.Key{}, collector.ErrNotFound
	}
	return found[0], nil
}

// Keys lists the keys of a project, or all where project is empty, by project and time of creation.
func (s *Store) Keys(ctx context.Context, project string) ([]collector.Key, error) {
	found, err := query(ctx, s.read.keys, scanKey, project)
	if err != nil {
		return nil, fmt.Errorf("sqlite: keys: %w", err)
	}
	return found, nil
}

func scanKey(rows *sql.Rows) (key collector.Key, err error) {
	var (
		hash                   []byte
		created, expires, used int64
	)
	if err := rows.Scan(&hash, &key.Hint, &key.Project, &key.Scope, &created, &expires, &used); err != nil {
		return key, err
	}
	copy(key.Hash[:], hash)
	key.CreateTime, key.ExpireTime, key.LastUsed = fromNanos(created), fromNanosOrNever(expires), fromNanosOrNever(used)
	return key, nil
}

// fromNanosOrNever is fromNanos where 0 stands for a time that never was.
func fromNanosOrNever(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return fromNanos(ns)
}

// ExpireKey makes a key stop working at a time, unless it does so earlier, and returns when that is durable.
func (s *Store) ExpireKey(ctx context.Context, hash [32]byte, at time.Time) error {
	if err := s.do(ctx, &job{apply: func(t *transaction) error { return t.expire(hash, at) }}); err != nil {
		return fmt.Errorf("sqlite: expire key: %w", err)
	}
	return nil
}

// RotateKey keeps a new key and makes the old one stop working at a time, in one transaction.
func (s *Store) RotateKey(ctx context.Context, old [32]byte, key collector.Key, at time.Time) error {
	err := s.do(ctx, &job{apply: func(t *transaction) error {
		if err := t.expire(old, at); err != nil {
			return err
		}
		return t.addKey(key)
	}})
	if err != nil {
		return fmt.Errorf("sqlite: rotate key: %w", err)
	}
	return nil
}

// UseKey hands a note to the writer and does not wait for it.
func (s *Store) UseKey(hash [32]byte, at time.Time) {
	// One of no events always finds room. That the store is closed is no news to the caller.
	_, _ = s.queue.push(&job{ctx: context.Background(), done: make(chan error, 1), apply: func(t *transaction) error {
		_, err := exec(t.useKey, unixNano(at), hash[:])
		return err
	}})
}

func (t *transaction) addKey(key collector.Key) error {
	_, err := exec(t.insertKey, key.Hash[:], key.Hint, key.Project, string(key.Scope), unixNano(key.CreateTime))
	return err
}

func (t *transaction) expire(hash [32]byte, at time.Time) error {
	n, err := exec(t.expireKey, unixNano(at), hash[:])
	if err == nil && n == 0 {
		err = collector.ErrNotFound
	}
	return err
}

// Package keys makes API keys and asks for them.
//
// A key is shown once, when it is made. What is kept is its SHA-256: a key carries 256 random bits, so there is nothing to
// guess that a slow hash would protect, and every request pays for the hash. Keys are found by that hash, never compared
// with a stored secret, and appear in no log and no error.
package keys

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/openalign/align/collector"
)

// Prefix starts every key, so that people and secret scanners know one when they see it. The scope follows, then "_" and
// 43 characters of base64url.
const Prefix = "align_"

// secretBytes is how much of a key is random.
const secretBytes = 32

// New makes a key for a project. The secret is what the client sends and is not kept anywhere; the key is for
// [collector.Store.CreateKey].
func New(project string, scope collector.Scope) (secret string, key collector.Key, err error) {
	if project == "" {
		return "", collector.Key{}, fmt.Errorf("keys: a key needs a project")
	}
	switch scope {
	case collector.ScopeIngest, collector.ScopeRead, collector.ScopeChat, collector.ScopeAdmin:
	default:
		return "", collector.Key{}, fmt.Errorf("keys: unknown scope %q: want ingest, read, chat or admin", scope)
	}
	var random [secretBytes]byte
	_, _ = rand.Read(random[:]) // never fails, see crypto/rand
	secret = Prefix + string(scope) + "_" + base64.RawURLEncoding.EncodeToString(random[:])
	return secret, collector.Key{
		Hash:       Hash(secret),
		Hint:       secret[len(secret)-4:],
		Project:    project,
		Scope:      scope,
		CreateTime: time.Now().UTC(),
	}, nil
}

// Hash is what is kept of a key.
func Hash(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

package collector

import (
	"context"
	"time"
)

// Login is a browser that was signed in. Its secret is the browser's; only the hash is kept.
type Login struct {
	Hash [32]byte // SHA-256 of the secret, which carries 256 random bits
	// Project is the one that can be looked at; empty is all of them.
	Project string
	Scope   Scope
	// Key is the hash of the key it was signed in with, without which it is worth nothing; zero is a link.
	Key                    [32]byte
	CreateTime, ExpireTime time.Time
}

// Link signs one browser in, once.
type Link struct {
	Hash       [32]byte // SHA-256 of what stands in the link
	Project    string   // empty is all of them
	Scope      Scope
	ExpireTime time.Time
}

// SignIns keeps who is signed in.
type SignIns interface {
	// CreateLink keeps a link, and forgets those that have expired.
	CreateLink(ctx context.Context, link Link) error
	// RedeemLink uses a link up and keeps the login, which gets the link's project and scope: both or, with an error, neither.
	// ErrNotFound when there is no such link, when it was used, or when it had expired at the login's CreateTime.
	RedeemLink(ctx context.Context, link [32]byte, login Login) (Login, error)
	// CreateLogin keeps a login, and forgets those that have expired.
	CreateLogin(ctx context.Context, login Login) error
	// LoginByHash returns the login with that hash, or ErrNotFound. One that has expired may be found too.
	LoginByHash(ctx context.Context, hash [32]byte) (Login, error)
	// EndLogin forgets a login. One that is not there is no error.
	EndLogin(ctx context.Context, hash [32]byte) error
}

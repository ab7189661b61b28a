package align

import (
	"bytes"
	"cmp"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// MaxFeedbackTTL is how long a feedback token may be good for: 90 days.
const MaxFeedbackTTL = 90 * 24 * time.Hour

// States of a feedback token that does not count.
var (
	// ErrFeedbackToken is returned for a feedback token that this project has not given out, or not in these bytes.
	ErrFeedbackToken = errors.New("align: feedback token is not valid")

	// ErrFeedbackTokenExpired is returned for a feedback token that was good once.
	ErrFeedbackTokenExpired = errors.New("align: feedback token has expired")
)

// FeedbackToken is what a feedback token allows: a vote of one voter on one target, until it expires.
type FeedbackToken struct {
	// SessionID identifies the session: 1 to 64 Unicode code points.
	SessionID string `validate:"nonblank,text,max=64"`
	// Index is that of the message, from 1 to 2147483647; zero for the session as a whole.
	Index int `validate:"min=0,max=2147483647"`
	// UserID is the voter, at most 64 Unicode code points. Empty means the session's user.
	UserID string `validate:"omitempty,nonblank,text,max=64"`
	// Expires is when the token ceases to be good, in whole seconds.
	Expires time.Time
}

// FeedbackToken returns a token to put into a page or a link: with it whoever holds it may vote, without any other
// proof, on the message at index of a session (0: on the session as a whole), as user (empty: the session's user). It
// is good for ttl, at least a second and at most [MaxFeedbackTTL], rounded up to whole seconds. Package feedbackhttp
// takes it back, in any process of the same project that signs with the same secret ([Config.FeedbackSecret]).
//
// Minting asks nobody and keeps nothing. The token is of letters, digits, - and _, fit for a URL, at most 726 bytes,
// mostly below 130. It is signed, not encrypted: who holds it can read session and user in it.
//
// A token may be used again, to change the vote and to take it back; it counts once all the same, because each voter
// has one current vote on a target. It is of no use for another session, message, voter or project.
//
// Errors: *[FieldError] for every argument that breaks its limits, [ErrClosed].
func (c *Client) FeedbackToken(session string, index int, user string, ttl time.Duration) (string, error) {
	if c == nil || c.buf == nil || c.closing.Load() {
		return "", ErrClosed
	}
	token := FeedbackToken{SessionID: session, Index: index, UserID: user}
	problems := c.rules.problems(&token)
	switch {
	case ttl < time.Second:
		problems = append(problems, &FieldError{"FeedbackToken.TTL", "min", "1s"})
	case ttl > MaxFeedbackTTL:
		problems = append(problems, &FieldError{"FeedbackToken.TTL", "max", MaxFeedbackTTL.String()})
	}
	if len(problems) > 0 {
		c.buf.refuse()
		return "", errors.Join(problems...)
	}
	token.Expires = time.Now().Add(ttl + time.Second - time.Nanosecond).Truncate(time.Second)
	return string(token.sign(c.feedback.keys[0])), nil
}

// VerifyFeedbackToken returns what a token allows that [Client.FeedbackToken] made, here or in another process with the
// same project and secret. It takes exactly the bytes that were given out, compared in constant time.
//
// Errors: [ErrFeedbackToken], [ErrFeedbackTokenExpired], [ErrClosed].
func (c *Client) VerifyFeedbackToken(token string) (FeedbackToken, error) {
	if c == nil || c.buf == nil || c.closing.Load() {
		return FeedbackToken{}, ErrClosed
	}
	t, ok := parseFeedbackToken(token)
	if !ok {
		return FeedbackToken{}, ErrFeedbackToken
	}
	// What it says, signed anew, must be the same bytes. That leaves no room for anything beside it: other encodings of
	// the same claims, trailing data, line breaks that base64 overlooks.
	genuine := 0
	for _, key := range c.feedback.keys {
		genuine |= subtle.ConstantTimeCompare([]byte(token), t.sign(key))
	}
	switch {
	case genuine == 0:
		return FeedbackToken{}, ErrFeedbackToken
	case !time.Now().Before(t.Expires):
		return FeedbackToken{}, ErrFeedbackTokenExpired
	}
	return t, nil
}

// A token is base64url, without padding, of
//
//	version, index, expiry (Unix seconds), session, voter, mac
//
// where numbers are uvarints and texts have their length before them, as uvarint. The project is in the key.
const (
	feedbackTokenVersion  = 1
	feedbackTokenMAC      = 16 // of HMAC-SHA256; RFC 2104 allows half, and no guess comes near 128 bits
	maxFeedbackTokenClaim = 4 * 64
	// Version, index, expiry, two texts with their lengths, mac.
	maxFeedbackTokenBytes = 1 + 5 + 6 + 2*(2+maxFeedbackTokenClaim) + feedbackTokenMAC
)

// sign returns the token as it is given out.
func (t *FeedbackToken) sign(key []byte) []byte {
	b := make([]byte, 0, maxFeedbackTokenBytes)
	b = append(b, feedbackTokenVersion)
	b = binary.AppendUvarint(b, uint64(t.Index))
	b = binary.AppendUvarint(b, uint64(t.Expires.Unix()))
	for _, text := range []string{t.SessionID, t.UserID} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(b)
	b = append(b, mac.Sum(nil)[:feedbackTokenMAC]...)
	return base64.RawURLEncoding.AppendEncode(nil, b)
}

// parseFeedbackToken reads what a token claims. Whether that is true, and said in the right bytes, is not its business.
func parseFeedbackToken(token string) (t FeedbackToken, ok bool) {
	if len(token) > base64.RawURLEncoding.EncodedLen(maxFeedbackTokenBytes) {
		return t, false
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 1+feedbackTokenMAC || b[0] != feedbackTokenVersion {
		return t, false
	}
	r := bytes.NewReader(b[1 : len(b)-feedbackTokenMAC])
	number := func() uint64 {
		n, e := binary.ReadUvarint(r)
		err = errors.Join(err, e)
		return n
	}
	text := func() string {
		n := number()
		if n > uint64(r.Len()) || n > maxFeedbackTokenClaim {
			err = errors.Join(err, ErrFeedbackToken)
			return ""
		}
		b := make([]byte, n)
		r.Read(b)
		return string(b)
	}
	index, expires := number(), number()
	if index > math.MaxInt32 || expires > math.MaxInt32<<8 { // beyond any time that FeedbackToken says
		return t, false
	}
	t = FeedbackToken{Index: int(index), Expires: time.Unix(int64(expires), 0)}
	t.SessionID, t.UserID = text(), text()
	return t, err == nil
}

// feedbackKeys are what feedback tokens are signed with: the first signs, all verify. A client has them behind a pointer,
// where what prints a client does not look.
type feedbackKeys struct{ keys [][]byte }

// newFeedbackKeys derives each key from a secret and the project: a token says nothing of the secret and is of no use in
// another project.
func newFeedbackKeys(cfg *Config) (*feedbackKeys, error) {
	signing := cmp.Or(cfg.FeedbackSecret, cfg.APIKey)
	if signing == "" { // a disabled client: what it signs it alone believes
		signing = rand.Text()
	}
	k := &feedbackKeys{}
	for _, secret := range append([]string{signing}, cfg.OtherFeedbackSecrets...) {
		key, err := hkdf.Key(sha256.New, []byte(secret), nil, "align feedback token v1\x00"+cfg.ProjectID, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("align: feedback key: %w", err)
		}
		k.keys = append(k.keys, key)
	}
	return k, nil
}

package export

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/openalign/align/collector"
)

// LinkPath is where files are downloaded: LinkPath + name, with a signature or a key.
const LinkPath = "/exports/v1/"

// MaxLinkAge is how long a link works unless it was made for less.
const MaxLinkAge = 24 * time.Hour

// errLink says nothing about why: whoever made a link up learns nothing.
var errLink = errors.New("export: the link has expired, or is none")

// link is what a signature is of.
type link struct {
	project string
	key     string // id of the key it was made with: when that stops working, so does the link
	name    string
	bot     string
	expires int64 // seconds since 1970
}

func (l *link) sum(secret []byte) []byte {
	mac := hmac.New(sha256.New, secret)
	for _, text := range []string{"download", l.project, l.key, l.name, l.bot, strconv.FormatInt(l.expires, 10)} {
		// Lengths first, so that no two links are the same text.
		mac.Write(binary.AppendUvarint(nil, uint64(len(text))))
		mac.Write([]byte(text))
	}
	return mac.Sum(nil)
}

// Link returns the path of a link to a file that works without a key, and until when. It works as long as the key does that
// it was made with, and no longer than MaxLinkAge.
func (e *Exporter) Link(ctx context.Context, key *collector.Key, v Variant, age time.Duration) (path string, expires time.Time, err error) {
	if err := v.Check(); err != nil {
		return "", expires, err
	}
	secret, err := e.store.ExportSecret(ctx)
	if err != nil {
		return "", expires, err
	}
	if age <= 0 || age > MaxLinkAge {
		age = MaxLinkAge
	}
	expires = time.Now().Add(age).Truncate(time.Second)
	l := link{project: key.Project, key: key.ID(), name: v.Name(), bot: v.Bot, expires: expires.Unix()}
	query := url.Values{"project": {l.project}, "key": {l.key}, "expires": {strconv.FormatInt(l.expires, 10)},
		"signature": {base64.RawURLEncoding.EncodeToString(l.sum(secret))}}
	if l.bot != "" {
		query.Set("bot", l.bot)
	}
	return LinkPath + l.name + "?" + query.Encode(), expires, nil
}

// follow returns the link that a request is for, if we made it and it works still. Whether its key does is left to ask.
func (e *Exporter) follow(ctx context.Context, name string, query url.Values) (l link, err error) {
	l = link{project: query.Get("project"), key: query.Get("key"), name: name, bot: query.Get("bot")}
	signature, bad := base64.RawURLEncoding.DecodeString(query.Get("signature"))
	expires, wrong := strconv.ParseInt(query.Get("expires"), 10, 64)
	if bad != nil || wrong != nil {
		return l, errLink
	}
	l.expires = expires
	secret, err := e.store.ExportSecret(ctx)
	if err != nil {
		return l, err
	}
	if !hmac.Equal(signature, l.sum(secret)) || time.Now().Unix() >= l.expires {
		return l, errLink
	}
	return l, nil
}

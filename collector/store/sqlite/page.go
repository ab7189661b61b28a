package sqlite

import (
	"encoding/base64"
	"encoding/binary"
	"math"

	"github.com/openalign/align/collector"
)

// Pages hold defaultPageSize rows where the caller does not say how many, and no more than maxPageSize.
const (
	defaultPageSize = 100
	maxPageSize     = 1000
)

func pageSize(p collector.Page) int {
	if p.Size < 1 {
		return defaultPageSize
	}
	return min(p.Size, maxPageSize)
}

// A page token names the last row of a page, so that rows that come or go meanwhile shift nothing. Its first byte says
// which list it belongs to.
const (
	tokenConversation = 'c'
	tokenMessage      = 'm'
)

// conversationToken names a conversation by its place in the list.
func conversationToken(start int64, id string) string {
	b := binary.BigEndian.AppendUint64([]byte{tokenConversation}, uint64(start))
	return base64.RawURLEncoding.EncodeToString(append(b, id...))
}

// parseConversationToken returns the place to go on after; without a token that is before the first.
func parseConversationToken(token string) (start int64, id string, err error) {
	if token == "" {
		// Nothing sorts after it: no text in the file begins with a byte that UTF-8 does not use.
		return math.MaxInt64, "\xff", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < 9 || b[0] != tokenConversation {
		return 0, "", collector.ErrPageToken
	}
	return int64(binary.BigEndian.Uint64(b[1:])), string(b[9:]), nil
}

func messageToken(index int64) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64([]byte{tokenMessage}, uint64(index)))
}

// parseMessageToken returns the index to go on after; without a token that is 0, as messages count from 1.
func parseMessageToken(token string) (index int64, err error) {
	if token == "" {
		return 0, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) != 9 || b[0] != tokenMessage {
		return 0, collector.ErrPageToken
	}
	return int64(binary.BigEndian.Uint64(b[1:])), nil
}

package collector

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// FirstPlace is the least place. Indexes that clients count are below it.
const FirstPlace = 1 << 31

// A place is milliseconds since 1970 in 42 bits, 13 bits of the turn's number, and 8 for the part.
const (
	partBits = 8
	turnBits = 13
	timeBits = 42
)

// Place is what stands for the index of a message whose client does not count: a number greater than any index, in order of
// time, then turn, then part. It is read off the fact alone, so it depends neither on what else is known nor on a counter.
// at is the place's time, or the fact's for a place that has none to go by (see [Plausible]).
//
// Two turns of one session in the same millisecond get the same place once in 8,192 times; then the messages of one show as
// versions of the other's.
func Place(place *ingestionv1alpha.EventProperties_MessageProperties_Place, at time.Time) int64 {
	part := int64(max(0, place.GetPart()))
	ms := at.UnixMilli()
	ms = min(max(ms, FirstPlace>>(turnBits+partBits)), 1<<timeBits-1)
	ms = min(ms+part>>partBits, 1<<timeBits-1) // of a turn with very many parts, the rest comes right after
	return ms<<(turnBits+partBits) | TurnNumber(place.GetTurn())&(1<<turnBits-1)<<partBits | part&(1<<partBits-1)
}

// TurnNumber identifies a turn among those of its session. It is positive, and what feedback on a turn is kept under.
func TurnNumber(turn string) int64 {
	sum := sha256.Sum256([]byte(turn))
	return max(1, int64(binary.BigEndian.Uint64(sum[:])&math.MaxInt64))
}

package align

import (
	crand "crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/google/uuid"
)

// idSource makes event ids: UUIDv7, in order of time, so that stores insert them in order, and unpredictable, so that
// nobody can claim one before its event arrives.
//
// It fills in what [uuid.NewV7] does, at a tenth of the cost: the clock was read for the event already, and the random
// bits come from ChaCha8 under a key from the system, a cryptographically strong generator that needs no system call.
type idSource struct {
	mu     sync.Mutex // guards all below
	random *rand.ChaCha8
	last   uint64 // the ordered part of the last id: milliseconds and 12 bits of their fractions
}

func newIDSource() *idSource {
	var seed [32]byte
	crand.Read(seed[:]) // does not fail
	return &idSource{random: rand.NewChaCha8(seed)}
}

// next returns an id greater than all before it. Its time is now's, unless ids were asked for faster than four a
// microsecond or the clock stepped back.
func (s *idSource) next(now time.Time) (id uuid.UUID) {
	ms := uint64(now.UnixMilli())
	ordered := ms<<12 | uint64(now.Nanosecond()%1e6)<<12/1e6
	s.mu.Lock()
	ordered = max(ordered, s.last+1)
	s.last = ordered
	tail := s.random.Uint64()
	s.mu.Unlock()
	binary.BigEndian.PutUint64(id[:8], ordered>>12<<16|0x7000|ordered&0xfff)
	binary.BigEndian.PutUint64(id[8:], 0x8000000000000000|tail>>2)
	return id
}

// requestID names one batch: a UUIDv7 in 32 hex digits.
func requestID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return hex.EncodeToString(id[:])
}

package metrics

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align/collector/digest"
)

// oneConnection is a store that can be asked one thing at a time, and holds one conversation.
type oneConnection struct {
	Store
	slot    chan struct{}
	session digest.Digest
}

func (s *oneConnection) hold() (release func()) {
	s.slot <- struct{}{}
	return func() { <-s.slot }
}

func (s *oneConnection) Digests(_ context.Context, _ string, w digest.Window, yield func(*digest.Digest) error) error {
	defer s.hold()()
	if start := time.Unix(0, s.session.Start); start.Before(w.From) || !start.Before(w.To) {
		return nil
	}
	d := s.session
	defer func() { d = digest.Digest{} }() // it is the caller's until yield returns
	return yield(&d)
}

func (s *oneConnection) UserActivity(context.Context, string, time.Time, time.Time, time.Time, func([]byte, int64, []byte) error) error {
	defer s.hold()()
	return nil
}

func (s *oneConnection) CameBack(_ context.Context, _, user string, after, before int64) (bool, error) {
	defer s.hold()()
	return user == s.session.UserID && after == s.session.Last && before == s.session.Last+callBack, nil
}

// A question that asks the store while it reads from it would wait for itself, once as many are asked as there are
// connections.
func TestNothingIsAskedWhileTheStoreIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, to := onDay(1), onDay(2)
		s := &oneConnection{slot: make(chan struct{}, 1)}
		s.session.UserID, s.session.Start, s.session.Last = "ada", to.Add(-time.Minute).UnixNano(), to.Add(time.Hour).UnixNano() // it goes on beyond
		s.session.Numbers[digest.UserMessages] = 1
		e := Engine{Store: s, now: onDay(9)}
		answer, err := e.Get(t.Context(), "shop", Query{Scope: Scope{From: from, To: to}, Names: []string{"containment_no_callback_rate"}})
		if err != nil {
			t.Fatal(err)
		}
		if v := answer.Values[0]; v.Numerator != 0 || v.Denominator != 1 {
			t.Errorf("%v of %v without call-back, want 0 of 1", v.Numerator, v.Denominator)
		}
	})
}

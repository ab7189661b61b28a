package sqlite

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/openalign/align/collector"
)

func TestLinkSignsInOnceWhoeverIsFirst(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	now := time.Now()
	link := collector.Link{Hash: [32]byte{1}, Scope: collector.ScopeAdmin, ExpireTime: now.Add(time.Hour)}
	if err := s.CreateLink(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	var in atomic.Int32
	var browsers sync.WaitGroup
	for i := range 20 {
		browsers.Go(func() {
			_, err := s.RedeemLink(context.Background(), link.Hash, collector.Login{Hash: [32]byte{2, byte(i)}, CreateTime: now, ExpireTime: now.Add(time.Hour)})
			switch {
			case err == nil:
				in.Add(1)
			case !errors.Is(err, collector.ErrNotFound):
				t.Error(err)
			}
		})
	}
	browsers.Wait()
	if in.Load() != 1 {
		t.Errorf("%d browsers were signed in by one link", in.Load())
	}
}

func TestLinkDoesNotOutliveItsTime(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	now := time.Now()
	link := collector.Link{Hash: [32]byte{1}, Scope: collector.ScopeAdmin, ExpireTime: now.Add(time.Hour)}
	if err := s.CreateLink(t.Context(), link); err != nil {
		t.Fatal(err)
	}
	late := collector.Login{Hash: [32]byte{2}, CreateTime: link.ExpireTime, ExpireTime: now.Add(2 * time.Hour)}
	if _, err := s.RedeemLink(t.Context(), link.Hash, late); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	if _, err := s.LoginByHash(t.Context(), late.Hash); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("the login was kept: %v", err)
	}
}

func TestLoginIsAsItWasKeptUntilItEnds(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	now := time.Now().UTC()
	login := collector.Login{Hash: [32]byte{1}, Project: "shop", Scope: collector.ScopeRead, Key: [32]byte{9}, CreateTime: now, ExpireTime: now.Add(time.Hour)}
	if err := s.CreateLogin(t.Context(), login); err != nil {
		t.Fatal(err)
	}
	if got, err := s.LoginByHash(t.Context(), login.Hash); err != nil || got != login {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, login)
	}
	for range 2 { // again is no error
		if err := s.EndLogin(t.Context(), login.Hash); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.LoginByHash(t.Context(), login.Hash); !errors.Is(err, collector.ErrNotFound) {
		t.Errorf("after its end: %v", err)
	}
}

func TestLoginsThatExpiredAreForgotten(t *testing.T) {
	s := openTest(t, filepath.Join(t.TempDir(), "align.db"))
	now := time.Now()
	for i, expire := range []time.Time{now.Add(-time.Second), now.Add(time.Hour), now.Add(time.Hour)} {
		if err := s.CreateLogin(t.Context(), collector.Login{Hash: [32]byte{byte(i + 1)}, CreateTime: now, ExpireTime: expire}); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if err := s.read.db.QueryRow(`SELECT count(*) FROM logins`).Scan(&n); err != nil || n != 2 {
		t.Errorf("%d logins are kept, %v", n, err)
	}
}

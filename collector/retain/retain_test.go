package retain_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/retain"
)

// store remembers what it was asked.
type store struct {
	keeps     []collector.Retention
	compacted int
	got       collector.Retained
	err       error
}

func (s *store) Retain(_ context.Context, keep collector.Retention) (collector.Retained, error) {
	s.keeps = append(s.keeps, keep)
	return s.got, s.err
}

func (s *store) Compact(context.Context) error {
	s.compacted++
	return nil
}

func TestRunSweepsEveryHourAndCompactsOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &store{got: collector.Retained{Contents: 1}, err: errors.New("disk full")} // which ends nothing
		ended := make(chan struct{})
		start := time.Now()
		go func() {
			retain.Run(ctx, s, retain.Policy{Content: 24 * time.Hour}, slog.New(slog.DiscardHandler))
			close(ended)
		}()
		time.Sleep(48*time.Hour + time.Minute)
		cancel()
		<-ended
		if len(s.keeps) != 49 || s.compacted != 2 {
			t.Errorf("swept %d times and compacted %d times in two days, want 49 and 2", len(s.keeps), s.compacted)
		}
		if want := (collector.Retention{ContentBefore: start.Add(-24 * time.Hour)}); s.keeps[0] != want {
			t.Errorf("first %+v, want %+v", s.keeps[0], want)
		}
	})
}

func TestRunWithoutAPolicyDoesNothing(t *testing.T) {
	s := &store{}
	retain.Run(t.Context(), s, retain.Policy{}, slog.New(slog.DiscardHandler))
	if len(s.keeps) > 0 {
		t.Error("it swept")
	}
}

func TestRunThatFindsNothingLeavesTheFileAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 72*time.Hour)
		defer cancel()
		s := &store{}
		retain.Run(ctx, s, retain.Policy{Facts: time.Hour}, slog.New(slog.DiscardHandler))
		if s.compacted != 0 {
			t.Errorf("compacted %d times", s.compacted)
		}
	})
}

func TestAgeIsDaysOrADuration(t *testing.T) {
	for text, want := range map[string]time.Duration{"90d": 90 * 24 * time.Hour, "36h": 36 * time.Hour, "0d": 0, "-1d": 0, "0s": 0, "90": 0, "d": 0, "": 0} {
		var age retain.Age
		if err := age.UnmarshalText([]byte(text)); (err == nil) != (want > 0) || time.Duration(age) != want {
			t.Errorf("%q: %v, %v; want %v", text, time.Duration(age), err, want)
		}
	}
}

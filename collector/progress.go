package collector

import "context"

// How far something has come that takes a store long. Whoever wants to know says so in the context.

type progressKey struct{}

// WithProgress returns a context in which [Store.Replay], [Store.Erase] and [Store.Backup] tell now and then how far they
// have come: replays and erasures in facts, backups in bytes. What is told is about: done may begin anew, and stay short of
// total. tell is called from any goroutine, one call at a time, and not after the method has returned but when ctx ended it.
func WithProgress(ctx context.Context, tell func(done, total int64)) context.Context {
	return context.WithValue(ctx, progressKey{}, tell)
}

// Progress returns what wants to know how far something has come, nil for nobody.
func Progress(ctx context.Context) func(done, total int64) {
	tell, _ := ctx.Value(progressKey{}).(func(done, total int64))
	return tell
}

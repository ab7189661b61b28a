package sqlite

import (
	"context"
	"os"
	"time"

	"github.com/openalign/align/collector"
)

// How far a replay, an erasure or a backup has come. Nobody who does not ask pays for it.

// counter tells how many facts have been read, of those that there are to read.
type counter struct {
	tell        func(done, total int64)
	done, total int64
}

// toldEvery is how many facts are read between two times that it is told.
const toldEvery = 1000

// counting counts the facts that a replay reads, or, of a project, an erasure.
func (t *transaction) counting(ctx context.Context, project string) (c *counter, err error) {
	c = &counter{tell: collector.Progress(ctx)}
	if c.tell == nil {
		return c, nil
	}
	err = t.conn.QueryRowContext(ctx, `SELECT count(*) FROM facts WHERE gone < ?1 AND ?2 IN ('', project)`, goneEverything, project).Scan(&c.total)
	if err == nil {
		c.tell(0, c.total)
	}
	return c, err
}

func (c *counter) add(facts int) {
	if c.tell == nil {
		return
	}
	before := c.done / toldEvery
	if c.done += int64(facts); c.done/toldEvery > before || c.done == c.total {
		c.tell(c.done, c.total)
	}
}

// watchGrowth tells how large a file has become, until stop is called, which waits until nothing more is told.
func watchGrowth(ctx context.Context, file string, total int64) (stop func()) {
	tell := collector.Progress(ctx)
	if tell == nil {
		return func() {}
	}
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticks := time.NewTicker(100 * time.Millisecond)
		defer ticks.Stop()
		for {
			select {
			case <-end:
				return
			case <-ticks.C:
				if info, err := os.Stat(file); err == nil {
					tell(min(info.Size(), total), total)
				}
			}
		}
	}()
	return func() {
		close(end)
		<-ended
		if info, err := os.Stat(file); err == nil { // how large it became, also where that took no time
			tell(min(info.Size(), total), total)
		}
	}
}

package main

import (
	"context"
	"fmt"

	"github.com/openalign/align/collector"
)

type backupCommand struct {
	dataFlag
	File string `arg:"" help:"File to write, which must not exist." type:"path"`
}

// Run writes a backup, also while a collector serves the same folder.
func (c *backupCommand) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(store collector.Store) error {
		ctx, finish := following(ctx, std.err, "bytes")
		err := store.Backup(ctx, c.File)
		finish()
		if err != nil {
			return err
		}
		fmt.Fprintf(std.err, "Backed up and checked: %s. To restore it, put it in a data folder as %s.\n", c.File, databaseFile)
		return nil
	})
}

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
)

type keysCommand struct {
	Create keysCreateCommand `cmd:"" help:"Make a key and print it, once: only its hash is kept. The key stands alone on standard output."`
}

type keysCreateCommand struct {
	dataFlag
	Project string          `help:"Project the key belongs to." required:"" placeholder:"P"`
	Scope   collector.Scope `help:"What the key may do: ${enum}." enum:"ingest,read,admin" required:""`
}

// Run makes a key, also while a collector serves the same folder.
func (c *keysCreateCommand) Run(ctx context.Context, std streams) (err error) {
	secret, key, err := keys.New(c.Project, c.Scope)
	if err != nil {
		return err
	}
	store, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.CreateKey(ctx, key); err != nil {
		return fmt.Errorf("keeping the key: %w", err)
	}
	fmt.Fprintf(std.err, "Key for project %q, scope %s. It is shown this once:\n", key.Project, key.Scope)
	_, err = fmt.Fprintln(std.out, secret)
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/keys"
)

type keysCommand struct {
	Create keysCreateCommand `cmd:"" help:"Make a key and print it, once: only its hash is kept. The key stands alone on standard output."`
	List   keysListCommand   `cmd:"" help:"List keys: what each may do, since when, until when, and when it was last used, to the hour. Never the keys themselves."`
	Rotate keysRotateCommand `cmd:"" help:"Make a key in place of another, which works on for a while. The new key stands alone on standard output."`
	Revoke keysRevokeCommand `cmd:"" help:"Make a key stop working at once, also in a collector that serves."`
}

type keysCreateCommand struct {
	dataFlag
	Project string          `help:"Project the key belongs to." required:"" placeholder:"P"`
	Scope   collector.Scope `help:"What the key may do: ${enum}; chat includes ingest and read, admin includes all." enum:"ingest,read,chat,admin" required:""`
}

// Run makes a key, also while a collector serves the same folder.
func (c *keysCreateCommand) Run(ctx context.Context, std streams) error {
	secret, key, err := keys.New(c.Project, c.Scope)
	if err != nil {
		return err
	}
	err = c.with(ctx, func(store collector.Store) error { return store.CreateKey(ctx, key) })
	if err != nil {
		return fmt.Errorf("keeping the key: %w", err)
	}
	fmt.Fprintf(std.err, "Key %s for project %q, scope %s. It is shown this once:\n", key.ID(), key.Project, key.Scope)
	_, err = fmt.Fprintln(std.out, secret)
	return err
}

type keysListCommand struct {
	dataFlag
	Project string `help:"Only keys of this project." placeholder:"P"`
}

// Run lists keys, those that have expired included.
func (c *keysListCommand) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(store collector.Store) error {
		list, err := store.Keys(ctx, c.Project)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "ID\tPROJECT\tSCOPE\tENDS IN\tCREATED\tLAST USED\tSTATE")
		now := time.Now()
		for i := range list {
			k := &list[i]
			fmt.Fprintf(table, "%s\t%s\t%s\t…%s\t%s\t%s\t%s\n", k.ID(), k.Project, k.Scope, k.Hint,
				moment(k.CreateTime), moment(k.LastUsed), keyState(k, now))
		}
		return table.Flush()
	})
}

func keyState(k *collector.Key, now time.Time) string {
	switch {
	case k.ExpireTime.IsZero():
		return "works"
	case k.Expired(now):
		return "ended " + moment(k.ExpireTime)
	}
	return "works until " + moment(k.ExpireTime)
}

// moment is a time for people, or "never".
func moment(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}

type keysRotateCommand struct {
	dataFlag
	ID      string        `arg:"" help:"Id of the key, as align keys list shows it."`
	Overlap time.Duration `help:"How long the old key works on (default ${default})." default:"24h" placeholder:"DURATION"`
}

// Run makes a key for the same project and scope, and ends the old one after the overlap.
func (c *keysRotateCommand) Run(ctx context.Context, std streams) error {
	if c.Overlap < 0 {
		return errors.New("--overlap must not be negative")
	}
	var secret string
	until := time.Now().Add(c.Overlap)
	err := c.with(ctx, func(store collector.Store) error {
		old, err := findKey(ctx, store, c.ID)
		if err != nil {
			return err
		}
		if old.Expired(time.Now()) {
			return fmt.Errorf("key %s ended at %s: make a new one", old.ID(), moment(old.ExpireTime))
		}
		var key collector.Key
		if secret, key, err = keys.New(old.Project, old.Scope); err != nil {
			return err
		}
		if err := store.RotateKey(ctx, old.Hash, key, until); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "Key %s for project %q, scope %s, in place of %s, which works until %s. It is shown this once:\n",
			key.ID(), key.Project, key.Scope, old.ID(), moment(until))
		return nil
	})
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(std.out, secret)
	return err
}

type keysRevokeCommand struct {
	dataFlag
	ID string `arg:"" help:"Id of the key, as align keys list shows it."`
}

// Run ends a key now.
func (c *keysRevokeCommand) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(store collector.Store) error {
		key, err := findKey(ctx, store, c.ID)
		if err != nil {
			return err
		}
		if err := store.ExpireKey(ctx, key.Hash, time.Now()); err != nil {
			return err
		}
		fmt.Fprintf(std.err, "Key %s of project %q works no more.\n", key.ID(), key.Project)
		return nil
	})
}

// findKey returns the one key whose id begins with what was given, which may not be nothing.
func findKey(ctx context.Context, store collector.Store, id string) (collector.Key, error) {
	list, err := store.Keys(ctx, "")
	if err != nil {
		return collector.Key{}, err
	}
	var found []collector.Key
	for _, k := range list {
		if id != "" && strings.HasPrefix(k.ID(), id) {
			found = append(found, k)
		}
	}
	// What was given is not repeated: it may be a key, pasted in the wrong place.
	switch len(found) {
	case 0:
		return collector.Key{}, errors.New("no key has that id; align keys list shows them")
	case 1:
		return found[0], nil
	}
	return collector.Key{}, fmt.Errorf("%d keys have ids that begin so", len(found))
}

package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/openalign/align/collector"
)

type eraseCommand struct {
	dataFlag
	Project string `help:"Project the user belongs to." required:"" placeholder:"P"`
	User    string `help:"Id of the user, as the app gave it." required:"" placeholder:"U"`
}

// Run erases a user, also while a collector serves the same folder.
func (c *eraseCommand) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(store collector.Store) error {
		ctx, finish := following(ctx, std.err, "facts")
		got, err := store.Erase(ctx, c.Project, c.User, "command line")
		finish()
		if err != nil {
			return err
		}
		fmt.Fprintf(std.err, "Erased: %s with %s, %s, %s, %s set aside. Counts stay. Backups are not touched.\n",
			counted(got.Sessions, "session"), counted(got.Messages, "message"), counted(got.Votes, "vote"),
			counted(got.Facts, "fact"), counted(got.SetAside, "event"))
		return nil
	})
}

type auditCommand struct {
	dataFlag
	Project string `help:"Only this project." placeholder:"P"`
}

// Run lists what was done by hand.
func (c *auditCommand) Run(ctx context.Context, std streams) error {
	return c.with(ctx, func(store collector.Store) error {
		lines, err := store.Audit(ctx, c.Project)
		if err != nil {
			return err
		}
		table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "TIME\tPROJECT\tACTION\tBY\tCOUNTS")
		for _, l := range lines {
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", moment(l.Time), l.Project, l.Action, l.Actor, l.Detail)
		}
		return table.Flush()
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/dashboard"
	"github.com/openalign/align/collector/store/sqlite"
)

type linkCommand struct {
	dataFlag
	Project string          `help:"Only this project (default: all)." placeholder:"P"`
	Scope   collector.Scope `help:"What the browser may do: ${enum} (default ${default})." enum:"read,admin" default:"admin"`
	URL     *url.URL        `help:"How browsers reach the collector (default ${default})." name:"url" default:"http://127.0.0.1:7311" placeholder:"URL"`
}

// Run makes a link that signs one browser in to the dashboard, also while a collector serves the same folder.
func (c *linkCommand) Run(ctx context.Context, std streams) error {
	if c.URL.Scheme == "" || c.URL.Host == "" {
		return errors.New("--url must be an address such as https://align.example.com")
	}
	var link string
	err := c.withStore(ctx, func(store *sqlite.Store) (err error) {
		if c.Project != "" {
			there, err := store.HasProject(ctx, c.Project)
			if err != nil {
				return err
			}
			if !there {
				return errors.New("there is no such project; align keys list shows them")
			}
		}
		link, err = dashboard.Link(ctx, store, c.Project, c.Scope)
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(std.err, "This link signs in one browser, once, within %d minutes:\n", int(dashboard.LinkLifetime.Minutes()))
	_, err = fmt.Fprintln(std.out, c.URL.Scheme+"://"+c.URL.Host+link)
	return err
}

package main

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/store/sqlite"
)

// databaseFile is the name of the database in a data folder.
const databaseFile = "align.db"

// dataFlag is shared by the commands that work on a data folder. Several may do so at once.
type dataFlag struct {
	Data string `help:"Folder that holds the collector's data; made when missing (default ${default})." default:"./align-data" type:"path" placeholder:"DIR"`
}

// file is the database in the data folder.
func (d dataFlag) file() string { return filepath.Join(d.Data, databaseFile) }

func (d dataFlag) open(ctx context.Context) (*sqlite.Store, error) {
	return sqlite.Open(ctx, d.file())
}

// with opens the store, does something with it and closes it.
func (d dataFlag) with(ctx context.Context, do func(collector.Store) error) error {
	return d.withStore(ctx, func(store *sqlite.Store) error { return do(store) })
}

// withStore is with for what only this store can do.
func (d dataFlag) withStore(ctx context.Context, do func(*sqlite.Store) error) error {
	store, err := d.open(ctx)
	if err != nil {
		return err
	}
	return errors.Join(do(store), store.Close())
}

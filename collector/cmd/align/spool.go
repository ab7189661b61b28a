package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/openalign/align"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

type spoolCommand struct {
	Inspect spoolInspectCommand `cmd:"" help:"Say what waits in an app's spool: counts and ages, also while the app runs. Changes nothing."`
	Send    spoolSendCommand    `cmd:"" help:"Deliver what waits in the spool of an app that does not run. Exits with status 1 if something is left."`
}

type spoolInspectCommand struct {
	Dir     string `arg:"" help:"The app's Config.SpoolDir." type:"existingdir"`
	Content bool   `help:"Print the events, too, with all that people wrote: one JSON object a line."`
	JSON    bool   `help:"Print the counts as one JSON object." name:"json"`
}

// Run prints what is in there.
func (c *spoolInspectCommand) Run(std streams) error {
	info, err := align.InspectSpool(c.Dir)
	if err != nil {
		return err
	}
	if c.JSON {
		err = json.NewEncoder(std.out).Encode(newSpoolReport(info))
	} else {
		printSpool(std.out, info, time.Now())
	}
	if err != nil || !c.Content {
		return err
	}
	for entry, err := range info.Entries() {
		if err != nil {
			return err
		}
		var request ingestionv1alpha.CollectEventsRequest
		if err := proto.Unmarshal(entry, &request); err != nil {
			return fmt.Errorf("an event is unreadable: %w", err)
		}
		for _, event := range request.Events {
			line, err := protojson.Marshal(event)
			if err != nil {
				return err
			}
			fmt.Fprintf(std.out, "%s\n", line)
		}
	}
	return nil
}

// spoolReport is what --json prints.
type spoolReport struct {
	Dir          string                  `json:"dir"`
	LockedBy     int                     `json:"locked_by,omitempty"`
	Files        int                     `json:"files"`
	DiskBytes    int64                   `json:"disk_bytes"`
	Events       int                     `json:"events"`
	EventBytes   int64                   `json:"event_bytes"`
	ByType       map[align.EventType]int `json:"by_type"`
	Oldest       *time.Time              `json:"oldest,omitempty"`
	Newest       *time.Time              `json:"newest,omitempty"`
	Corrupt      int                     `json:"corrupt"`
	OpenSessions int                     `json:"open_sessions"`
}

func newSpoolReport(info *align.SpoolInfo) spoolReport {
	r := spoolReport{
		Dir: info.Dir, LockedBy: info.LockedBy, Files: len(info.Segments), DiskBytes: info.DiskBytes, Events: info.Events,
		EventBytes: info.EventBytes, ByType: info.ByType, Corrupt: info.Corrupt, OpenSessions: info.OpenSessions,
	}
	if info.Events > 0 {
		r.Oldest, r.Newest = &info.Oldest, &info.Newest
	}
	return r
}

func printSpool(w io.Writer, info *align.SpoolInfo, now time.Time) {
	fmt.Fprintf(w, "%s: %s in %s, %s, %s on the disk\n",
		info.Dir, counted(info.Events, "event"), counted(len(info.Segments), "file"), counted(int(info.EventBytes), "byte"), counted(int(info.DiskBytes), "byte"))
	for _, kind := range slices.Sorted(maps.Keys(info.ByType)) {
		fmt.Fprintf(w, "  %-16s %d\n", kind, info.ByType[kind])
	}
	if info.Events > 0 {
		fmt.Fprintf(w, "oldest recorded %s ago, newest %s ago\n", age(now, info.Oldest), age(now, info.Newest))
	}
	if info.Corrupt > 0 {
		fmt.Fprintf(w, "%s cannot be read\n", counted(info.Corrupt, "event"))
	}
	if info.OpenSessions > 0 {
		fmt.Fprintf(w, "%s open\n", counted(info.OpenSessions, "session"))
	}
	if info.LockedBy != 0 {
		fmt.Fprintf(w, "in use by process %d\n", info.LockedBy)
	}
}

func age(now, then time.Time) time.Duration { return now.Sub(then).Round(time.Second) }

type spoolSendCommand struct {
	Dir      string        `arg:"" help:"The app's Config.SpoolDir." type:"existingdir"`
	Host     string        `help:"Where to: the collector's base URL." required:"" placeholder:"URL"`
	Key      string        `help:"Key with the ingest scope." required:"" env:"ALIGNAI_API_KEY" placeholder:"KEY"`
	Project  string        `help:"Project to name if an event has none. Events carry theirs, so this is rarely needed." placeholder:"P"`
	Insecure bool          `help:"Allow plain http to another machine: keys and conversations cross the network readable."`
	Timeout  time.Duration `help:"How long to try (default ${default})." default:"1m" placeholder:"D"`
}

// Run delivers with a client of its own, which records nothing.
func (c *spoolSendCommand) Run(ctx context.Context, std streams) error {
	client, err := align.New(align.Config{
		SpoolDir: c.Dir, Host: c.Host, APIKey: c.Key, ProjectID: cmp.Or(c.Project, "none"), Insecure: c.Insecure,
		IdleTimeout: -1, // the sessions are the app's to close
		Logger:      slog.New(slog.NewTextHandler(std.err, nil)),
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	stop := func() {}
	if waiting := int(client.Stats().Pending); waiting > 0 {
		stop = watching(showProgress(std.err, waiting, "events"), func() int { return max(0, waiting-int(client.Stats().Pending)) })
	}
	err = client.Close(ctx)
	stop()
	stats := client.Stats()
	fmt.Fprintf(std.out, "%s delivered, %d left\n", counted(int(stats.Delivered), "event"), stats.Pending)
	for _, reason := range slices.Sorted(maps.Keys(stats.Dropped)) {
		if n := stats.Dropped[reason]; n > 0 {
			fmt.Fprintf(std.out, "%d dropped: %s\n", n, reason)
		}
	}
	if err == nil && stats.Delivered < stats.Accepted {
		err = errors.New("not everything was delivered")
	}
	return err
}

// Command align is the collector: it takes in what chat apps record and gives it back.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is everything the program can do; each command has a file of its own.
type cli struct {
	Serve         serveCommand         `cmd:"" help:"Run the collector."`
	Keys          keysCommand          `cmd:"" help:"Administer API keys."`
	Link          linkCommand          `cmd:"" help:"Make a link that signs one browser in to the dashboard, once. It stands alone on standard output."`
	Conversations conversationsCommand `cmd:"" help:"Look at what a collector has: list, show and search conversations, and talk with an agent."`
	Backup        backupCommand        `cmd:"" help:"Write all data to a file, also while the collector serves, and check it."`
	Export        exportCommand        `cmd:"" help:"Write the file of a day: all conversations that ended on it, the same bytes each time."`
	Erase         eraseCommand         `cmd:"" help:"Erase a user: content and identity go from everywhere but backups, counts stay."`
	Audit         auditCommand         `cmd:"" help:"List what was erased, when and by whom: counts only."`
	Lint          lintCommand          `cmd:"" help:"Check a file of events as the collector would, and keep none of them."`
	Replay        replayCommand        `cmd:"" help:"Make all views again from facts; or show how another idle timeout would end sessions, and change nothing."`
	Metrics       metricsCommand       `cmd:"" help:"Compute metrics from a data folder, also while the collector serves it, and say how each came about."`
	Report        reportCommand        `cmd:"" help:"Write a report of some days: one file, in HTML or Markdown, that needs nothing else."`
	Gate          gateCommand          `cmd:"" help:"Say for CI whether a candidate is no worse than a baseline: exit status 0 pass, 1 fail, 3 not enough data."`
	SQL           sqlCommand           `cmd:"" name:"sql" help:"Ask the data in SQL: read-only, bounded, over documented views."`
	Tail          tailCommand          `cmd:"" help:"Show what happens, as it happens."`
	Spool         spoolCommand         `cmd:"" help:"Look at what an app keeps on its disk, and deliver it by hand."`
	Demo          demoCommand          `cmd:"" help:"Play a month of conversations through the SDK into a collector of its own, show what arrived, go on live, and chat with you."`
}

// streams are where a command writes: what was asked for goes to out, everything else to err.
type streams struct{ out, err io.Writer }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], streams{os.Stdout, os.Stderr}))
}

// run runs the command that args name and returns the program's exit status.
func run(ctx context.Context, args []string, std streams) (status int) {
	type exit int
	defer func() { // kong exits from within, after --help
		switch cause := recover().(type) {
		case nil:
		case exit:
			status = int(cause)
		default:
			panic(cause)
		}
	}()
	parser, err := kong.New(new(cli),
		kong.Name("align"),
		kong.Description("Conversation analytics for chat apps."),
		kong.Writers(std.out, std.err),
		kong.Exit(func(code int) { panic(exit(code)) }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
	)
	if err != nil {
		panic(err) // the cli struct is wrong
	}
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(std.err, "align: %v\nRun \"align --help\" to see what there is.\n", err)
		return 2
	}
	if err := command.Run(); err != nil {
		if told := exitStatus(0); errors.As(err, &told) {
			return int(told)
		}
		fmt.Fprintf(std.err, "align: %s\n", strings.TrimPrefix(err.Error(), "align: ")) // an error of the SDK says so itself
		return 1
	}
	return 0
}

// Shutdown records until it is told to stop, and then has five seconds to deliver what is left.
//
//	ALIGNAI_PROJECT_ID=shop ALIGNAI_API_KEY=… go run ./examples/shutdown
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/openalign/align"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	client, err := align.New(align.Config{ // the rest from ALIGNAI_PROJECT_ID, ALIGNAI_API_KEY and ALIGNAI_HOST
		FlushInterval:           time.Second,
		CloseSessionsOnShutdown: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	work(ctx, client)
	stop() // a second signal ends the program at once

	if err := shutdown(client, os.Stdout, 5*time.Second); err != nil {
		log.Fatal(err)
	}
}

// work is the app. It ends when ctx does.
func work(ctx context.Context, client *align.Client) {
	session := client.Session("counting")
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		// A call that records looks at ctx for values only: that it has ended loses nothing.
		if _, err := session.Assistant(ctx, fmt.Sprintf("This is message %d.", session.NextIndex())); err != nil {
			log.Print(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// shutdown delivers what is left, on a context of its own: the one that told the app to stop has ended.
func shutdown(client *align.Client, out io.Writer, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err := client.Close(ctx)
	stats := client.Stats()
	fmt.Fprintf(out, "%d events recorded, %d delivered\n", stats.Accepted, stats.Delivered)
	if left, ok := errors.AsType[*align.DeliveryError](err); ok {
		fmt.Fprintf(out, "%d were lost: %v\n", left.Dropped, left.Err)
	}
	return err
}

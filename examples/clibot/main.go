// Clibot is a bot for the terminal: it answers each line, and takes /up and /down for its last answer.
//
//	ALIGNAI_PROJECT_ID=shop ALIGNAI_API_KEY=… go run ./examples/clibot
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/user"

	"github.com/openalign/align"
)

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run talks until in ends. One run is one session.
func run(ctx context.Context, in io.Reader, out io.Writer) error {
	client, err := align.New(align.Config{}) // from ALIGNAI_PROJECT_ID, ALIGNAI_API_KEY and ALIGNAI_HOST
	if err != nil {
		return err
	}
	session, err := client.StartSession(ctx, align.Session{UserID: whoami(), AssistantID: "clibot"})
	if err != nil {
		return errors.Join(err, client.Close(ctx))
	}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		switch line := lines.Text(); line {
		case "":
		case "/up":
			err = session.ThumbsUp(ctx)
		case "/down":
			err = session.ThumbsDown(ctx)
		default:
			answer := "You said: " + line
			fmt.Fprintln(out, answer)
			_, asked := session.User(ctx, line)
			_, answered := session.Assistant(ctx, answer)
			err = errors.Join(asked, answered)
		}
		if err != nil {
			log.Print(err) // analytics never stop the talk
		}
	}
	return errors.Join(lines.Err(), session.Close(ctx), client.Close(ctx))
}

func whoami() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "somebody"
}

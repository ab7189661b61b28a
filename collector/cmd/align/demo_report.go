package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/openalign/align"
	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/gen/align/v1/alignv1connect"
	alignv1 "github.com/openalign/align/proto/gen/align/v1"
)

// tally is what of the dialogues was recorded, or found again.
type tally struct {
	sessions, messages, up, down, idle int
}

func (t *tally) add(d dialogue) {
	t.sessions++
	t.messages += len(d.Turns)
	for _, turn := range d.Turns {
		t.vote(turn.vote())
	}
	t.vote(d.Vote)
	if d.Idle {
		t.idle++
	}
}

func (t *tally) vote(v align.FeedbackType) {
	switch v {
	case align.ThumbsUp:
		t.up++
	case align.ThumbsDown:
		t.down++
	}
}

// readBack asks the collector, through the API that everybody uses, for every conversation and every message, and holds
// the words against those that were played.
func readBack(ctx context.Context, api alignv1connect.ConversationServiceClient, dialogues []dialogue) (found tally, err error) {
	played := make(map[string]dialogue, len(dialogues))
	for _, d := range dialogues {
		played[d.ID] = d
	}
	for token := ""; ; {
		page, err := api.SearchConversations(ctx, connect.NewRequest(&alignv1.SearchConversationsRequest{PageSize: 500, PageToken: token}))
		if err != nil {
			return found, fmt.Errorf("searching conversations: %w", err)
		}
		for _, c := range page.Msg.Conversations {
			if err := readConversation(ctx, api, c, played[c.Id], &found); err != nil {
				return found, err
			}
			delete(played, c.Id)
		}
		if token = page.Msg.NextPageToken; token == "" {
			break
		}
	}
	for id := range played {
		return found, fmt.Errorf("conversation %s did not arrive", id)
	}
	return found, nil
}

func readConversation(ctx context.Context, api alignv1connect.ConversationServiceClient, c *alignv1.Conversation, want dialogue, found *tally) error {
	found.sessions++
	found.vote(thumb(c.Vote))
	if c.CloseReason == collector.CloseIdle {
		found.idle++
	}
	n := 0
	for token := ""; ; {
		page, err := api.ListMessages(ctx, connect.NewRequest(&alignv1.ListMessagesRequest{ConversationId: c.Id, PageSize: 1000, PageToken: token}))
		if err != nil {
			return fmt.Errorf("listing the messages of %s: %w", c.Id, err)
		}
		for _, m := range page.Msg.Messages {
			if n >= len(want.Turns) || int(m.Index) != n+1 || m.Role != string(want.Turns[n].Role) || m.Content != want.Turns[n].Text || m.Versions != 1 {
				return fmt.Errorf("message %d of %s is not what was played", m.Index, c.Id)
			}
			found.vote(thumb(m.Vote))
			n++
		}
		if token = page.Msg.NextPageToken; token == "" {
			break
		}
	}
	found.messages += n
	return nil
}

func thumb(v alignv1.Vote) align.FeedbackType {
	switch v {
	case alignv1.Vote_VOTE_UP:
		return align.ThumbsUp
	case alignv1.Vote_VOTE_DOWN:
		return align.ThumbsDown
	}
	return ""
}

// report prints what arrived and says whether all numbers agree.
func report(out io.Writer, s align.Stats, played, found tally) (agree bool) {
	return compare(out, s, []counts{
		{"sessions", played.sessions, found.sessions},
		{"messages", played.messages, found.messages},
		{"thumbs up", played.up, found.up},
		{"thumbs down", played.down, found.down},
		{"idle closes", played.idle, found.idle},
	})
}

// counts are how many of something were recorded, and how many are stored.
type counts struct {
	name             string
	recorded, stored int
}

// compare prints what became of events and of what they say, and says whether all of it agrees.
func compare(out io.Writer, s align.Stats, rows []counts) (agree bool) {
	var dropped uint64
	for _, n := range s.Dropped {
		dropped += n
	}
	fmt.Fprintf(out, "\nevents: %s accepted = %s delivered + %s dropped + %s pending\n\n",
		thousands(s.Accepted), thousands(s.Delivered), thousands(dropped), thousands(s.Pending))

	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "\trecorded\tstored\t")
	agree = s.Accepted == s.Delivered+dropped+s.Pending && s.Delivered == s.Accepted
	for _, row := range rows {
		mark := ""
		if row.recorded != row.stored {
			agree, mark = false, "  differ"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", row.name, thousands(row.recorded), thousands(row.stored), mark)
	}
	table.Flush()
	return agree
}

// thousands writes 38768 as 38,768.
func thousands[T int | uint64](n T) string {
	s := strconv.FormatUint(uint64(n), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// counted is "1 conversation" or "8 conversations".
func counted(n int, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return thousands(n) + " " + thing
}

// listBody is a request for the messages of a conversation, whatever its id.
func listBody(conversation string) string {
	body, err := protojson.Marshal(&alignv1.ListMessagesRequest{ConversationId: conversation})
	if err != nil {
		panic(err) // it is one text
	}
	return string(body)
}

// shellQuoted is text as one word of a shell's command line.
func shellQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

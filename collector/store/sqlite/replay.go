package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/openalign/align/collector"
	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// replayChunk is how many facts are in memory at a time.
const replayChunk = 2000

// emptied are the statements that leave of the views only what facts cannot make again: the rows of sessions, users and
// votes some of whose facts are gone. Joining is idempotent, so what remains of their facts is joined with them once more.
var emptied = []string{
	`DELETE FROM messages WHERE (project, session_id) NOT IN (SELECT project, id FROM sessions WHERE based)`,
	`DELETE FROM versions WHERE (project, session_id) NOT IN (SELECT project, id FROM sessions WHERE based)`,
	`DELETE FROM votes WHERE NOT based`,
	`DELETE FROM tags WHERE (project, session_id) NOT IN (SELECT project, id FROM sessions WHERE based)`,
	`DELETE FROM session_properties WHERE (project, session_id) NOT IN (SELECT project, id FROM sessions WHERE based)`,
	`DELETE FROM sessions WHERE NOT based`,
	`DELETE FROM users WHERE NOT based`,
	`DELETE FROM reindex`, // rows get new numbers, so the index of words begins anew
	`UPDATE words_of SET name = randomblob(16)`,
}

// Replay makes all views again from facts, in one transaction: readers see the views before or after it, and an error or
// the end of ctx leaves them as they were. Appends wait meanwhile; another process that serves the same file answers that
// it cannot store, and its clients come again.
func (s *Store) Replay(ctx context.Context) (facts int, err error) {
	facts, err = ask(ctx, s, new(job), func(t *transaction) (int, error) { return t.replay(ctx) })
	if err != nil {
		return 0, fmt.Errorf("sqlite: replay: %w", err)
	}
	s.digests.changed()
	return facts, nil
}

func (t *transaction) replay(ctx context.Context) (facts int, err error) {
	if err := t.flush(); err != nil { // what others in this transaction said is in the facts
		return 0, err
	}
	for _, statement := range emptied {
		if _, err := t.conn.ExecContext(ctx, statement); err != nil {
			return 0, err
		}
	}
	told, err := t.counting(ctx, "")
	if err != nil {
		return 0, err
	}
	for after := int64(0); ; {
		chunk, last, err := t.readFacts(ctx, after)
		if err != nil {
			return 0, err
		}
		if len(chunk) == 0 {
			_, err := exec(t.forgetDigests)
			return facts, err
		}
		if err := t.sayAgain(chunk); err != nil {
			return 0, err
		}
		facts, after = facts+len(chunk), last
		told.add(len(chunk))
	}
}

// kept is a fact and its project, as the file has them.
type kept struct {
	project string
	fact    collector.Fact
	version []byte // of a message whose content is gone
}

// readFacts returns the facts after a row, and the last row.
func (t *transaction) readFacts(ctx context.Context, after int64) (chunk []kept, last int64, err error) {
	rows, err := t.conn.QueryContext(ctx, `SELECT seq, project, id, time, receive_time, event, version FROM facts
		WHERE seq > ? AND gone < ? ORDER BY seq LIMIT ?`, after, goneEverything, replayChunk)
	if err != nil {
		return nil, 0, err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			one           kept
			time, receive int64
			event         sql.RawBytes
		)
		if err := rows.Scan(&last, &one.project, &one.fact.ID, &time, &receive, &event, &one.version); err != nil {
			return nil, 0, err
		}
		one.fact.Event = new(ingestionv1alpha.Event)
		if err := proto.Unmarshal(event, one.fact.Event); err != nil {
			return nil, 0, fmt.Errorf("fact in row %d cannot be read", last) // the error itself may quote it
		}
		one.fact.Time, one.fact.ReceiveTime = fromNanos(time), fromNanos(receive)
		chunk = append(chunk, one)
	}
	return chunk, last, rows.Err()
}

// sayAgain joins what facts say with the views.
func (t *transaction) sayAgain(chunk []kept) error {
	messages := map[string][]*piece{}
	for i := range chunk {
		p := derive(&chunk[i].fact)
		if err := t.say(chunk[i].project, &p); err != nil {
			return err
		}
		if p.message != nil {
			p.message.version = chunk[i].version
			messages[chunk[i].project] = append(messages[chunk[i].project], &p)
		}
	}
	for project, said := range messages {
		if err := t.sayMessages(project, said); err != nil {
			return err
		}
	}
	return t.flush()
}

// Activity calls yield for each conversation of a project, or of all where project is empty, with the times of its
// messages in no order, until it returns an error.
func (s *Store) Activity(ctx context.Context, project string, yield func(collector.Conversation, []time.Time) error) error {
	rows, err := s.read.db.QueryContext(ctx, `SELECT s.project, s.id, s.start_time, s.last_activity, s.state, m.time
		FROM sessions s LEFT JOIN messages m ON m.project = s.project AND m.session_id = s.id
		WHERE ?1 IN ('', s.project) ORDER BY s.project, s.id`, project)
	if err != nil {
		return fmt.Errorf("sqlite: activity: %w", err)
	}
	defer rows.Close()
	var (
		current entity
		c       collector.Conversation
		times   []time.Time
	)
	for rows.Next() {
		var (
			key         entity
			start, last int64
			state       sql.RawBytes
			moment      sql.NullInt64
		)
		if err := rows.Scan(&key.project, &key.id, &start, &last, &state, &moment); err != nil {
			return fmt.Errorf("sqlite: activity: %w", err)
		}
		if key != current || c.ID == "" {
			if c.ID != "" {
				if err := yield(c, times); err != nil {
					return err
				}
			}
			var known session
			if err := json.Unmarshal(state, &known); err != nil {
				return fmt.Errorf("sqlite: activity: %w", err)
			}
			current, times = key, nil
			c = collector.Conversation{ID: key.id, StartTime: fromNanos(start), LastActivity: fromNanos(last)}
			if known.Close != nil {
				c.CloseTime, c.CloseReason = fromNanos(known.Close.Time), known.Close.Reason
			}
		}
		if moment.Valid {
			times = append(times, fromNanos(moment.Int64))
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("sqlite: activity: %w", err)
	}
	if c.ID == "" {
		return nil
	}
	return yield(c, times)
}

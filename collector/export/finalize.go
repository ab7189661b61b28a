package export

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/openalign/align/collector"
)

const (
	// chunkBytes is about how much of a file one piece of it holds, before compression.
	chunkBytes = 512 << 10
	// chunkRows bounds the conversations of a piece: they are written in one transaction, for which appends wait.
	chunkRows = 1000
)

// finalize makes the files of a day, unless they are there. What was erased meanwhile makes it begin again.
func (e *Exporter) finalize(ctx context.Context, project string, day collector.Day) error {
	for range 3 {
		err := e.build(ctx, project, day)
		if !errors.Is(err, collector.ErrOvertaken) {
			return err
		}
		if _, err := e.manifest(ctx, project, day); err == nil {
			return nil // another process was faster
		}
	}
	return e.build(ctx, project, day)
}

// build makes the files of a day.
func (e *Exporter) build(ctx context.Context, project string, day collector.Day) error {
	if _, err := e.manifest(ctx, project, day); !errors.Is(err, collector.ErrNotFound) {
		return err
	}
	build, err := e.store.BeginExport(ctx, project, day)
	if err != nil {
		return err
	}
	w, err := newWriter(func(chunk collector.ExportChunk) error { return e.store.AddToExport(ctx, project, day, build, chunk) })
	if err != nil {
		return err
	}
	defer w.close()
	m := &Manifest{SchemaVersion: SchemaVersion, Project: project, Day: day.String(), IdleTimeout: int64(e.idle / time.Second)}
	err = e.store.Candidates(ctx, project, day.End(), func(c *collector.Candidate, next func() (*collector.ExportMessage, bool, error)) error {
		// What came since the day could be final is for the late file of a later day, however late this one is made.
		if collector.DayOf(c.LastActivity) != day && !c.NewsTime.Before(e.FinalTime(day)) {
			return nil
		}
		return tell(w, m, project, day, c, next)
	})
	if err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	if err := e.sum(ctx, m, project, day); err != nil {
		return err
	}
	m.GeneratedAt = time.Now().UTC().Format(time.RFC3339)
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return e.store.FinishExport(ctx, project, day, build, text, e.FinalTime(day))
}

// tell writes what the files of a day have to tell of a conversation.
func tell(w *writer, m *Manifest, project string, day collector.Day, c *collector.Candidate, next func() (*collector.ExportMessage, bool, error)) error {
	list := stretches(c, day)
	if err := take(list, next); err != nil {
		return err
	}
	for i := range list {
		s := &list[i]
		row, err := s.row(c)
		if err != nil {
			return err
		}
		late := LateRow{Day: s.upto.String()}
		if s.told != nil {
			if late.Reasons = s.reasons(digest(&row, c.Keys)); late.Reasons == nil {
				continue
			}
		} else if s.upto < day {
			late.Reasons = []string{ReasonArrivedLate}
		}
		length := row.ConversationEndTime - row.ConversationStartTime
		told := collector.ToldEpisode{Conversation: c.ID, Episode: collector.Episode{
			Number: s.number, Upto: s.upto, End: s.end, Status: row.ConversationStatus, Resolution: row.LastResolution,
		}}
		plain := row
		made, err := sealRow(&row, project, c.Keys)
		if err != nil {
			return err
		}
		if made.Labels != nil {
			c.Keys.Labels = made.Labels
		}
		if made.Content != nil {
			c.Keys.Content = made.Content
		}
		told.Keys, told.Digest = made, digest(&plain, c.Keys)
		if late.Reasons != nil {
			late.RowOf = row
			if err := w.add(true, &late, told); err != nil {
				return err
			}
			m.LateRows++
			continue
		}
		if err := w.add(false, &row, told); err != nil {
			return err
		}
		m.Rows++
		m.Longest = max(m.Longest, (int64(length)+999_999)/1e6) // begun seconds count
		if start := row.ConversationStartTime.String(); m.EarliestStart == "" || start < m.EarliestStart {
			m.EarliestStart = start
		}
	}
	return nil
}

// writer gathers lines into pieces of the two files.
type writer struct {
	send  func(collector.ExportChunk) error
	zip   *zstd.Encoder
	files [2]pending // of the day, and late
}

type pending struct {
	text     []byte
	episodes []collector.ToldEpisode
}

func newWriter(send func(collector.ExportChunk) error) (*writer, error) {
	zip, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(chunkBytes), zstd.WithLowerEncoderMem(true))
	return &writer{send: send, zip: zip}, err
}

func (w *writer) close() { _ = w.zip.Close() } // it writes nowhere

func (w *writer) add(late bool, row any, told collector.ToldEpisode) error {
	text, err := line(row)
	if err != nil {
		return err
	}
	p := &w.files[0]
	if late {
		p = &w.files[1]
	}
	p.text = append(p.text, text...)
	p.episodes = append(p.episodes, told)
	if len(p.text) >= chunkBytes || len(p.episodes) >= chunkRows {
		return w.cut(late, p)
	}
	return nil
}

func (w *writer) cut(late bool, p *pending) error {
	err := w.send(collector.ExportChunk{Late: late, Data: w.zip.EncodeAll(p.text, nil), Episodes: p.episodes})
	p.text, p.episodes = p.text[:0], nil
	return err
}

func (w *writer) flush() error {
	for i := range w.files {
		if len(w.files[i].episodes) == 0 {
			continue
		}
		if err := w.cut(i == 1, &w.files[i]); err != nil {
			return err
		}
	}
	return nil
}

package collector

import (
	"context"
	"errors"
	"time"
)

// Errors of an [ExportStore] that a caller branches on.
var (
	// ErrOvertaken says that another attempt is making the same day's files, or that what it read was erased meanwhile.
	ErrOvertaken = errors.New("collector: another attempt makes these files")
)

// Day is a day in UTC, counted from 1970-01-01. It begins at midnight and ends before the next.
type Day int32

const dayLength = 24 * time.Hour

// DayOf returns the day of a moment.
func DayOf(t time.Time) Day {
	seconds := t.Unix()
	day := seconds / int64(dayLength/time.Second)
	if seconds%int64(dayLength/time.Second) < 0 {
		day--
	}
	return Day(day)
}

// ParseDay reads 2026-01-31.
func ParseDay(text string) (Day, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, errors.New("a day is written as 2026-01-31")
	}
	return DayOf(t), nil
}

// Start is the day's midnight.
func (d Day) Start() time.Time { return time.Unix(int64(d)*int64(dayLength/time.Second), 0).UTC() }

// End is the midnight after it.
func (d Day) End() time.Time { return (d + 1).Start() }

// String returns the day as 2026-01-31.
func (d Day) String() string { return d.Start().Format(time.DateOnly) }

// Episode is a stretch of a conversation that a final file tells of. A conversation has one, and another for each later
// day on which it ended again after that.
type Episode struct {
	Number int // from 1
	// Day is that of the file that told of it last, Upto the one on whose end its messages end: those from there on are the next one's.
	Day, Upto Day
	End       time.Time // its last activity
	// Status and Resolution are what the file says.
	Status, Resolution string
	Digest             []byte // of all that the file says
}

// ExportKeys open what is sealed of one conversation in files. Each is 32 bytes, or nil: there never was one, or it is gone.
type ExportKeys struct {
	Labels  []byte // goes when the user is erased
	Content []byte // that, or when content is old enough
}

// Candidate is a conversation that a file may have to tell of.
type Candidate struct {
	Conversation
	Episodes []Episode // that are told of, as of the last file that tells each
	Keys     ExportKeys
	NewsTime time.Time // when the last fact came that speaks of it
	// NoDetector says that what was understood is left to what the app recorded.
	NoDetector bool
}

// ExportMessage is a message of a candidate. Its index counts the messages that there are, from 1.
type ExportMessage struct {
	Message
	// Taken says that its text was there and is gone; Sign is then what it showed, in the bits of package outcome.
	Taken bool
	Sign  uint16
}

// ExportChunk is a piece of a day's files, with what it tells.
type ExportChunk struct {
	Late     bool
	Data     []byte // of the file; empty for none
	Episodes []ToldEpisode
}

// ToldEpisode is an episode that a chunk tells of. Its Day is the file's.
type ToldEpisode struct {
	Conversation string
	Episode
	Keys ExportKeys // to keep, where they were made for it
}

// ExportDay is what is kept of a day beside its files.
type ExportDay struct {
	Day      Day
	Manifest []byte // JSON
}

// ExportStore keeps the files of the daily export, and knows which conversations files have to tell of. Files of a day
// appear as a whole, by FinishExport, and never change after it.
type ExportStore interface {
	// ExportProjects lists the projects that have conversations with news, or days that are final.
	ExportProjects(ctx context.Context) ([]string, error)
	// NoteNews looks at the facts that came since it was last called, and notes the conversations they speak of.
	NoteNews(ctx context.Context) error
	// OldestNews returns the last activity of the conversation with news that ended first; ErrNotFound when there is none.
	OldestNews(ctx context.Context, project string) (time.Time, error)
	// Candidates calls yield for each conversation with news that ended before a moment, or of which files tell already, with
	// what returns its messages by index, one after the other, and false after the last. It ends with its first error.
	Candidates(ctx context.Context, project string, before time.Time, yield func(c *Candidate, next func() (*ExportMessage, bool, error)) error) error

	// BeginExport begins the files of a day, forgets what an attempt before it left, and names this one. ErrOvertaken when
	// another is at work, or the day is final.
	BeginExport(ctx context.Context, project string, day Day) (build []byte, err error)
	// AddToExport adds to the files that a build makes. ErrOvertaken when it is no longer the one that does.
	AddToExport(ctx context.Context, project string, day Day, build []byte, chunk ExportChunk) error
	// FinishExport makes the files final: all of it at once, or with an error nothing. Conversations that ended on the day, or
	// before it with no fact received since a moment, have no news any more.
	FinishExport(ctx context.Context, project string, day Day, build, manifest []byte, received time.Time) error

	// ExportDays lists days from, to and between that are final, in order, and at most limit of them; the last ones if limit is negative.
	ExportDays(ctx context.Context, project string, from, to Day, limit int) ([]ExportDay, error)
	// ExportChunks calls yield for each piece of a file, in order. A build's files can be read before they are final.
	ExportChunks(ctx context.Context, project string, day Day, late bool, yield func(data []byte) error) error
	// OpenExports returns the keys of some conversations.
	OpenExports(ctx context.Context, project string, conversations []string) (map[string]ExportKeys, error)
	// ExportSecret is what links to files are signed with. It is never shown.
	ExportSecret(ctx context.Context) ([]byte, error)
}

package collector

import (
	"context"
	"time"

	ingestionv1alpha "github.com/openalign/align/proto/gen/ingestion/v1alpha"
)

// UserRow is a user as they are listed.
type UserRow struct {
	User
	Conversations int
	LastActivity  time.Time // of their conversations; zero when they have none
}

// Version is what events at one index say that agree in role and content.
type Version struct {
	Role    string
	Content string // empty too where the event is gone
	Gone    bool   // its content was taken out, by age or because its user was erased
	Time    time.Time
	EventID string // of the last event that says so
	Current bool   // whether it is the one that is shown
}

// EventRow is an event as it is listed.
type EventRow struct {
	ID          string
	Type        string
	Time        time.Time
	ReceiveTime time.Time
	Size        int  // bytes, as kept
	Gone        bool // content or more was taken out
}

// Looker answers what people ask who look at single things.
type Looker interface {
	// Users lists users whose id, name or email contains some text, whatever its case, or all where it is empty. Those that
	// were seen last for the first time come first. With the next page's token, empty on the last page.
	Users(ctx context.Context, project, text string, page Page) ([]UserRow, string, error)
	// Versions lists what there was at an index of a conversation, oldest first, at most 100 of them. ErrNotFound when there is
	// no such message.
	Versions(ctx context.Context, project, conversation string, index int32) ([]Version, error)
	// Events lists the events that what is shown of a conversation rests on, by time, at most limit of them. Those that others
	// overrode are not among them, but for versions of messages.
	Events(ctx context.Context, project, conversation string, limit int) ([]EventRow, error)
	// Event returns one event, or ErrNotFound.
	Event(ctx context.Context, project, id string) (EventRow, *ingestionv1alpha.Event, error)
	// MessageAt returns the current message at an index, or ErrNotFound.
	MessageAt(ctx context.Context, project, conversation string, index int32) (Message, error)
}

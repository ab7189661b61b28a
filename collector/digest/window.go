package digest

import "time"

// Window says which conversations are wanted.
type Window struct {
	From, To time.Time
	By       By
	Groups   bool // Digest.ID and Digest.Groups are wanted; they are empty otherwise
}

// By says when a conversation counts as in a window.
type By int

const (
	ByStart    By = iota // it started there: From ≤ start < To
	ByEnd                // its last activity is there: From ≤ last activity < To
	ByActivity           // any of it may be there: From ≤ last activity and start < To
)

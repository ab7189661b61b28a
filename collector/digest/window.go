package digest

import "time"

// Window says which conversations are wanted: From ≤ start < To or, with ByEnd, From ≤ last activity < To.
type Window struct {
	From, To time.Time
	ByEnd    bool
	Groups   bool // Digest.Groups is wanted; it is empty otherwise
}

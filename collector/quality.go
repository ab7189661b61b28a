package collector

import "time"

// Quality counts what is odd about a project's data. None of it is lost.
type Quality struct {
	SetAside []ReasonCount // by reason
	Findings map[FindingKind]int
}

// ReasonCount counts events that were set aside for one reason.
type ReasonCount struct {
	Reason string
	Count  int
	Bytes  int64 // as they came
}

// FindingKind says what is odd.
type FindingKind int

const (
	FindingIndexGap         FindingKind = iota + 1 // a session lacks messages before its last
	FindingNeverOpened                             // a session has no opening
	FindingDuplicateIndex                          // a message index has more than one version
	FindingConflictingUsers                        // a session's openings name different users
	FindingClockAhead                              // an event is from a clock that is ahead, see [ClockAhead]
	FindingClockRefused                            // an event has a time that cannot be, see [ClockRefused]
)

// Finding is one thing that is odd. What does not apply is zero.
type Finding struct {
	Conversation string
	Index        int32
	Count        int // messages that are missing, or versions that there are
	EventID      string
	ReceiveTime  time.Time
	EventTime    time.Time // as the client's clock has it
}

// SetAsideEvent is an event that was set aside, as it is listed.
type SetAsideEvent struct {
	Reason      string
	Size        int64 // bytes as it came
	ReceiveTime time.Time
	EventID     string // with content only, as it may say anything
	Raw         []byte // with content only; empty once erased
}

package align

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// States a caller branches on, with [errors.Is].
var (
	// ErrClosed is returned by every call after [Client.Close], and by a zero Client.
	ErrClosed = errors.New("align: client is closed")

	// ErrBufferFull is returned by a recording call when [Config.BufferEvents] or [Config.BufferBytes], or with a spool
	// [Config.SpoolMaxBytes], are used up by events not acknowledged yet, or when the event is larger than all of that.
	// Under [OverflowBlock] it comes with the error of the context that ended the waiting: for room, or for the calls of the
	// same session in front. The event was not accepted; [Stats.Full] counts the call.
	ErrBufferFull = errors.New("align: buffer is full")

	// ErrEnded is returned by calls on an [Interaction] that has ended, and on a nil one. They change and record nothing.
	ErrEnded = errors.New("align: interaction has ended")

	// ErrUnauthorized is wrapped by the [*StatusError] of a collector that refuses the API key (401 or 403).
	ErrUnauthorized = errors.New("align: the collector refused the API key")

	// ErrSpoolLocked is returned by [New] when another client, in this process or another one, has [Config.SpoolDir]. The
	// error names its process id.
	ErrSpoolLocked = errors.New("align: the spool is locked")

	// ErrSpoolVersion is returned by [New] when [Config.SpoolDir] has segments of a format this client does not know.
	// They are left alone.
	ErrSpoolVersion = errors.New("align: unknown spool format")

	// ErrSpooled is what a [Receipt] says of an event that [Client.Close] left in the spool: the next client with the same
	// [Config.SpoolDir] delivers it.
	ErrSpooled = errors.New("align: closed with the event in the spool")
)

// SpoolError is why [Config.SpoolDir] cannot be written. [Client.Health] returns it while events go to memory alone.
type SpoolError struct {
	// Op is what failed: create, write, sync, open or remove.
	Op string
	// Err is what the system said.
	Err error
}

func (e *SpoolError) Error() string {
	return "align: spool: " + e.Op + ": " + strings.TrimPrefix(e.Err.Error(), "align: ")
}
func (e *SpoolError) Unwrap() error { return e.Err }

// FieldError says which field of a call or of a [Config] breaks which rule. All problems of one call are joined in one
// error; find them with [errors.As] or [errors.AsType], or all of them through Unwrap() []error.
// It never carries the offending value.
type FieldError struct {
	// Field is the path of the field, such as "Message.SessionID" or "User.Properties.plan".
	Field string
	// Rule is one word: required, max, min, above, finite, oneof, utf8, email, ipv4, country, language, time, key, count,
	// json, uuid, url, type, strict or setting.
	Rule string
	// Limit is what the rule allows, in words for people: "64 code points", or another field: "Max". Empty where the rule says it all.
	Limit string
}

func (e *FieldError) Error() string {
	text, ok := ruleTexts[e.Rule]
	if !ok {
		text = "breaks the rule " + e.Rule
	}
	msg := "align: " + e.Field + " " + text
	if e.Limit != "" {
		msg += " " + e.Limit
	}
	return msg
}

// ruleTexts says each rule of a [FieldError] in words; the limit follows.
var ruleTexts = map[string]string{
	"required": "must not be blank",
	"max":      "must be at most",
	"min":      "must be at least",
	"above":    "must be above",
	"finite":   "must be a finite number",
	"oneof":    "must be one of",
	"utf8":     "must be valid UTF-8 without NUL",
	"email":    "must be an email address",
	"ipv4":     "must be an IPv4 address",
	"country":  "must be an ISO 3166-1 alpha-2 country code",
	"time":     "must be in the years 1 to 9999",
	"key":      "must have keys that match",
	"count":    "must have at most",
	"language": "must be a BCP 47 language tag",
	"json":     "must be a JSON object of at most",
	"strict":   "is not in the base schema, which Config.Strict keeps to",
	"setting":  "must be",
	"uuid":     "must be a UUID of",
	"url":      "must be an http or https URL",
	"type":     "must be",
}

// DeliveryError is returned by [Client.Flush] and [Client.Close] when something is left that the collector has not
// acknowledged. It wraps the context's error and, where there is one, what the collector last answered.
type DeliveryError struct {
	// Delivered and Dropped count events settled during the call.
	Delivered, Dropped uint64
	// Pending counts events that are still in the buffer. After Flush they are still retried. After Close they are in the
	// spool, for the next client with it; without one nothing is pending then: what could not be delivered is in Dropped,
	// under [DropClosed].
	Pending uint64
	// SpoolDir is where the pending events are, empty without a spool. After Flush some may be in memory alone, see
	// [Client.Health].
	SpoolDir string
	// Err says why the call ended.
	Err error
}

func (e *DeliveryError) Error() string {
	pending := fmt.Sprintf("%d pending", e.Pending)
	if e.SpoolDir != "" && e.Pending > 0 {
		pending += " in " + e.SpoolDir
	}
	return fmt.Sprintf("align: delivery incomplete: %d events delivered, %d dropped, %s: %v", e.Delivered, e.Dropped, pending, e.Err)
}

func (e *DeliveryError) Unwrap() error { return e.Err }

// StatusError is an answer of the collector that is not 2xx.
type StatusError struct {
	// Code is the HTTP status.
	Code int
	// Reason is the Connect code the answer gave, such as "unauthenticated", empty if none.
	Reason string
	// Message is the start of the answer's text, at most 1 KiB, on one line and without the API key. It may quote what
	// was sent, so it is part of no error text and no log.
	Message string
	// RequestID is what an Acro endpoint calls the request, for its operator; empty if it says nothing.
	RequestID string
	// RetryAfter is what the collector asked for, zero if nothing, at most 5 minutes.
	RetryAfter time.Duration
}

func (e *StatusError) Error() string {
	msg := fmt.Sprintf("align: the collector answered %d", e.Code)
	if e.Reason != "" {
		msg += " (" + e.Reason + ")"
	}
	if e.RequestID != "" {
		msg += " (request " + e.RequestID + ")"
	}
	return msg
}

// Unwrap returns [ErrUnauthorized] for 401 and 403, else nil.
func (e *StatusError) Unwrap() error {
	if e.Code == 401 || e.Code == 403 {
		return ErrUnauthorized
	}
	return nil
}

// HealthError is what [Client.Health] returns while events cannot be delivered.
type HealthError struct {
	// Since is when the first attempt of this outage failed.
	Since time.Time
	// Attempts counts the failed attempts since then.
	Attempts int
	// Err is what went wrong last: a [*StatusError] or a network error.
	Err error
}

func (e *HealthError) Error() string {
	return fmt.Sprintf("align: no delivery since %s (%d attempts): %s",
		e.Since.UTC().Format(time.RFC3339), e.Attempts, strings.TrimPrefix(e.Err.Error(), "align: "))
}

func (e *HealthError) Unwrap() error { return e.Err }

// DropReason says why an accepted event was not delivered.
type DropReason string

const (
	// DropOverflow: the buffer was full and [Config.Overflow] is [OverflowDropOldest].
	DropOverflow DropReason = "overflow"
	// DropRejected: the collector refused the event, alone in its batch.
	DropRejected DropReason = "rejected"
	// DropBeforeSend: [Config.BeforeSend] returned false.
	DropBeforeSend DropReason = "before_send"
	// DropPanic: [Config.BeforeSend] panicked, so that what it should have removed may still be in the event.
	DropPanic DropReason = "before_send_panic"
	// DropClosed: [Client.Close] ran out of time.
	DropClosed DropReason = "closed"
	// DropUnsupported: the endpoint of [Config.Acro] has no word for the event.
	DropUnsupported DropReason = "unsupported"
	// DropDisabled: the client is [Config.Disabled].
	DropDisabled DropReason = "disabled"
	// DropCorrupt: the event cannot be read back from [Config.SpoolDir]: its record or one before it in the same file is
	// torn or changed, or the file is gone. What the event was is not known.
	DropCorrupt DropReason = "corrupt"
)

// Drop tells [Config.OnDrop] of one event that was accepted and will not be delivered.
// It carries nothing of the event's content.
type Drop struct {
	EventID   string // empty if it cannot be read, see DropCorrupt; so are the next two
	EventType EventType
	SessionID string // empty for a user event
	Reason    DropReason
	Err       error // the collector's answer, for DropRejected
}

// DropError is what a [Receipt] says of an event that was dropped.
type DropError struct {
	Reason DropReason
	Err    error // the collector's answer, for DropRejected
}

func (e *DropError) Error() string {
	msg := "align: event dropped: " + string(e.Reason)
	if e.Err != nil {
		msg += ": " + strings.TrimPrefix(e.Err.Error(), "align: ")
	}
	return msg
}

func (e *DropError) Unwrap() error { return e.Err }

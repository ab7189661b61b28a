package metrics

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/digest"
)

// ErrInvalid marks what a caller asked for and cannot have. Errors that wrap it say why.
var ErrInvalid = errors.New("metrics: invalid")

const day = 24 * time.Hour

// MaxWindow bounds a window.
const MaxWindow = 10 * 366 * day

// DefaultWindow is the window that ends at To when From is zero.
const DefaultWindow = 30 * day

// Scope says which conversations count, the same for every metric: those that started in [From, To) or, with ByEnd, those
// that have ended and whose last activity is there.
type Scope struct {
	From, To    time.Time // half-open; zero To is the end of the current UTC day, zero From [DefaultWindow] before To
	ByEnd       bool
	Filters     []Filter // all must hold
	IncludeTest bool     // conversations in test mode count as well
	// MinutesSaved is how long people would have taken for what the assistant writes in one message, for hours_saved: 1 to
	// [MaxMinutesSaved]; zero is [DefaultMinutesSaved].
	MinutesSaved int
}

const (
	// DefaultMinutesSaved is [Scope.MinutesSaved] where nobody knows better.
	DefaultMinutesSaved = 2
	// MaxMinutesSaved bounds it: a day.
	MaxMinutesSaved = 24 * 60
)

// Filter asks for a value of a dimension; empty asks for conversations that have none.
type Filter struct{ Dimension, Value string }

// dimension is what conversations are grouped and filtered by.
type dimension struct {
	name string
	sql  string // the value, over the view digests; a text, empty for none
	// of returns the value, or several where a conversation is in several groups.
	of func(d *digest.Digest, places map[string]place, byEnd bool) []string
	// contains replaces the comparison with sql, where a conversation has several values.
	contains string
	places   bool // needs what is known of users
	light    bool // needs no Digest.Groups
}

// place is what is known of a user.
type place struct{ country, company string }

func one(get func(g *digest.Groups) string) func(*digest.Digest, map[string]place, bool) []string {
	return func(d *digest.Digest, _ map[string]place, _ bool) []string { return []string{get(&d.Groups)} }
}

var dimensions = []dimension{
	{name: "day", light: true, of: func(d *digest.Digest, _ map[string]place, byEnd bool) []string {
		return []string{dayName(moment(d, byEnd))}
	}},
	{name: "assistant", sql: "assistant", of: one(func(g *digest.Groups) string { return g.Assistant })},
	{name: "version", sql: "version", of: one(func(g *digest.Groups) string { return g.Version })},
	{name: "channel", sql: "channel", of: one(func(g *digest.Groups) string { return g.Channel })},
	{name: "source", sql: "source", of: one(func(g *digest.Groups) string { return g.Source })},
	{name: "language", sql: "language", of: one(func(g *digest.Groups) string { return g.Language })},
	{name: "country", sql: userColumn("country_code"), places: true, light: true, of: func(d *digest.Digest, p map[string]place, _ bool) []string {
		return []string{p[d.UserID].country}
	}},
	{name: "company", sql: "coalesce(" + userColumn("company_id") + ", " + userColumn("company_name") + ")", places: true, light: true,
		of: func(d *digest.Digest, p map[string]place, _ bool) []string { return []string{p[d.UserID].company} }},
	{name: "label", contains: "EXISTS (SELECT 1 FROM json_each(labels) WHERE value = %s)", sql: "iif(labels = '[]', '', NULL)",
		of: func(d *digest.Digest, _ map[string]place, _ bool) []string {
			labels := slices.Compact(slices.Sorted(slices.Values(d.Groups.Labels)))
			if len(labels) == 0 {
				return []string{""}
			}
			return labels
		}},
	{name: "intent", sql: "first_meaningful_intent", of: one(func(g *digest.Groups) string { return g.FirstMeaningfulIntent })},
	{name: "first_intent", sql: "first_intent", of: one(func(g *digest.Groups) string { return g.FirstIntent })},
	{name: "last_intent", sql: "last_intent", of: one(func(g *digest.Groups) string { return g.LastIntent })},
}

func userColumn(register string) string {
	return "(SELECT u.state ->> '$.last." + register + ".v' FROM users u WHERE u.project = digests.project AND u.id = digests.user_id)"
}

// Dimensions are the names of what conversations can be grouped and filtered by.
func Dimensions() (names []string) {
	for _, d := range dimensions {
		names = append(names, d.name)
	}
	return names
}

func findDimension(name string) *dimension {
	i := slices.IndexFunc(dimensions, func(d dimension) bool { return d.name == name })
	if i < 0 {
		return nil
	}
	return &dimensions[i]
}

// moment is what a conversation is in a window by, in nanoseconds since 1970.
func moment(d *digest.Digest, byEnd bool) int64 {
	if byEnd {
		return d.Last
	}
	return d.Start
}

// dayOf returns the UTC day of a moment, in days since 1970.
func dayOf(ns int64) int64 {
	d := ns / int64(day)
	if ns%int64(day) < 0 {
		d--
	}
	return d
}

func dayName(ns int64) string { return time.Unix(dayOf(ns)*86400, 0).UTC().Format(time.DateOnly) }

// complete fills in what is not said, and refuses what cannot be.
func (s Scope) complete(now time.Time) (Scope, error) {
	if s.To.IsZero() {
		s.To = now.UTC().Truncate(day).Add(day)
	}
	if s.From.IsZero() {
		s.From = s.To.Add(-DefaultWindow)
	}
	s.From, s.To = s.From.UTC(), s.To.UTC()
	s.MinutesSaved = cmp.Or(s.MinutesSaved, DefaultMinutesSaved)
	if s.MinutesSaved < 1 || s.MinutesSaved > MaxMinutesSaved {
		return s, fmt.Errorf("%w: minutes saved can be 1 to %d", ErrInvalid, MaxMinutesSaved)
	}
	if !s.From.Before(s.To) {
		return s, fmt.Errorf("%w: from must be before to", ErrInvalid)
	}
	if s.To.Sub(s.From) > MaxWindow || s.From.Year() < 1971 || s.To.Year() > 2200 {
		return s, fmt.Errorf("%w: a window is at most %d days, from 1971 to 2200", ErrInvalid, MaxWindow/day)
	}
	for _, f := range s.Filters {
		if findDimension(f.Dimension) == nil {
			return s, fmt.Errorf("%w: filter: no such dimension; there are %v", ErrInvalid, Dimensions())
		}
	}
	return s, nil
}

// WholeDays reports whether the window is of whole UTC days.
func (s *Scope) WholeDays() bool {
	return s.From.Equal(s.From.Truncate(day)) && s.To.Equal(s.To.Truncate(day))
}

// before is the same scope of the time before, as long.
func (s Scope) before() Scope {
	s.From, s.To = s.From.Add(-s.To.Sub(s.From)), s.From
	return s
}

// holds reports whether a conversation passes the filters.
func (s *Scope) holds(d *digest.Digest, places map[string]place) bool {
	for _, f := range s.Filters {
		if !slices.Contains(findDimension(f.Dimension).of(d, places, s.ByEnd), f.Value) {
			return false
		}
	}
	return true
}

// Derived columns stand after those of digests. They depend on when one asks, and on the idle timeout.
const (
	engaged = iota + digest.Columns
	ended
	closedIdle
	abandoned
	duration
	calledBack
	reopened
	durable
	olderThanWeek
	columns
)

// columnNames are what expressions may name.
var columnNames = slices.Concat(digest.Names[:], []string{"engaged", "ended", "closed_idle", "abandoned", "duration", "called_back", "reopened", "durable", "older_than_week"})

// wordNumber returns the number that stands for a word of a column.
func wordNumber(column, text string) (int64, bool) {
	var words []string
	switch column {
	case digest.Names[digest.Status]:
		words = statusWords
	case digest.Names[digest.Resolution]:
		words = resolutionWords
	case digest.Names[digest.CloseReason]:
		words = digest.CloseReasons
	}
	i := slices.Index(words, text)
	return int64(i), i >= 0
}

const (
	callBack = int64(day)
	lasting  = int64(7 * day)
)

// at is when and with which idle timeout one asks.
type at struct {
	now  int64 // nanoseconds since 1970
	idle int64 // nanoseconds; 0 is never
}

// idleMillis is the least pause that ends an episode.
func (a at) idleMillis() int64 {
	if a.idle <= 0 {
		return 1 << 62
	}
	return max(a.idle, int64(digest.LeastPause)) / 1e6
}

// derive fills in the derived columns but calledBack, which needs others. It is what sql.go says in SQL.
func (a at) derive(d *digest.Digest, row *[columns]int64) {
	copy(row[:], d.Numbers[:])
	closed := row[digest.CloseTime] != null && row[digest.CloseTime] >= d.Last
	timedOut := a.idle > 0 && a.now-d.Last >= a.idle
	row[engaged] = truth(row[digest.UserMessages] > 0)
	row[ended] = truth(closed || timedOut)
	row[closedIdle] = truth(closed && digest.CloseReasons[row[digest.CloseReason]] == collector.CloseIdle || !closed && timedOut)
	row[abandoned] = truth(row[engaged] == 1 && row[closedIdle] == 1 && row[digest.Unfinished] == 1 && row[digest.Transferred] == 0)
	row[duration] = (d.Last - d.Start) / 1e6
	row[calledBack] = null
	row[olderThanWeek] = truth(a.now-d.Last >= lasting)
	row[reopened], row[durable] = null, null
	least := a.idleMillis()
	for p := d.Samples[digest.Pauses]; len(p) >= 3; p = p[3:] {
		if p[2] != 1 || p[1] < least {
			continue
		}
		row[reopened] = 1
		if a.now-(d.Start+p[0]*1e6) >= lasting {
			row[durable] = truth(p[1] >= lasting/1e6)
		}
		return
	}
	if row[ended] == 1 && row[digest.Autonomous] == 1 {
		row[reopened] = 0
		if row[olderThanWeek] == 1 {
			row[durable] = 1
		}
	}
}

// mayCallBack reports whether it can be said of a conversation if its user called back, and until when that counts.
func (a at) mayCallBack(d *digest.Digest, row *[columns]int64) (until int64, ok bool) {
	return d.Last + callBack, d.UserID != "" && row[ended] == 1 && a.now-d.Last >= callBack
}

func compareGroups(a, b *group) int {
	return cmp.Or(cmp.Compare(b.conversations, a.conversations), cmp.Compare(a.value, b.value))
}

package metrics

import (
	"context"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/openalign/align/collector/digest"
)

// Metrics of users over time: who wrote on which day. A day is a UTC day, counted since 1970. What is kept of a message is
// its day, so a window that cuts days has none of these numbers: a day would be in it and in the time before it as well.

const (
	week, month = 7, 30
	retentionOf = "retention_d"
)

// userNeeds says what is to be known of users.
type userNeeds struct {
	any, callBack bool
	activity      bool
	first         bool
	after         int64 // days after the window
}

func needsOf(wanted []*compiled, whole bool) (n userNeeds) {
	for _, c := range wanted {
		if c.WholeDays && !whole {
			continue
		}
		if strings.Contains(c.Where+c.Numerator, columnNames[calledBack]) {
			n.callBack = true
		}
		switch {
		case c.Statement == "":
			continue
		case c.Statement == "new_users" || c.Statement == "returning_users":
			n.first = true
		case c.Statement != "sessions_per_user":
			n.activity = true
		}
		n.any = true
		if d := retentionDays(c.Statement); d > 0 {
			n.first, n.after = true, max(n.after, d)
		}
	}
	return n
}

// retentionDays returns the n of D-n retention, 0 for another metric.
func retentionDays(statement string) int64 {
	text, ok := strings.CutPrefix(statement, retentionOf)
	n, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil {
		return 0
	}
	return n
}

// set is a set of users, by number.
type set []uint64

func (s *set) add(i int) {
	if need := i/64 + 1; need > len(*s) {
		*s = append(*s, make(set, need-len(*s))...)
	}
	(*s)[i/64] |= 1 << (i % 64)
}

func (s *set) join(o set) {
	if len(o) > len(*s) {
		*s = append(*s, make(set, len(o)-len(*s))...)
	}
	for i, word := range o {
		(*s)[i] |= word
	}
}

func (s set) has(i int) bool { return i/64 < len(s) && s[i/64]&(1<<(i%64)) != 0 }

func (s set) count() (n int) {
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

func (s set) each(yield func(i int)) {
	for at, word := range s {
		for ; word != 0; word &= word - 1 {
			yield(at*64 + bits.TrailingZeros64(word))
		}
	}
}

// crowd is the users of a group.
type crowd struct {
	conversations int
	members       set
	days          map[int64]*set // who wrote on a day
}

func newCrowd() *crowd { return &crowd{days: map[int64]*set{}} }

func (c *crowd) conversation(user int) {
	c.conversations++
	c.members.add(user)
}

func (c *crowd) active(user int, day int64) {
	on := c.days[day]
	if on == nil {
		on = new(set)
		c.days[day] = on
	}
	on.add(user)
}

func (c *crowd) join(o *crowd) {
	c.conversations += o.conversations
	c.members.join(o.members)
	for day, on := range o.days {
		if c.days[day] == nil {
			c.days[day] = new(set)
		}
		c.days[day].join(*on)
	}
}

// on returns who wrote on a day, and during are those of several days, first and last included.
func (c *crowd) on(day int64) set {
	if s := c.days[day]; s != nil {
		return *s
	}
	return nil
}

func (c *crowd) during(first, last int64) (all set) {
	for day := first; day <= last; day++ {
		all.join(c.on(day))
	}
	return all
}

// users is what is known of users in one computation.
type users struct {
	run      *run
	mu       sync.Mutex
	numbers  map[string]int // guarded by mu while counting; also of users who are in no conversation of the window
	starts   [][]int64      // of their conversations, where call-backs count
	loaded   int64          // until when starts are known
	first    []int64        // when the first conversation ever started, by number
	firstDay []int64
}

func newUsers(r *run) *users { return &users{run: r, numbers: map[string]int{}} }

func (u *users) number(id []byte) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if n, ok := u.numbers[string(id)]; ok {
		return n
	}
	n := len(u.numbers)
	u.numbers[string(id)] = n
	return n
}

// bounds are the days that count for activity.
func (u *users) bounds() (first, last int64) {
	q := &u.run.query
	return dayOf(q.From.UnixNano()) - (month - 1), dayOf(q.To.UnixNano()-1) + u.run.about.after
}

// load reads who was active when.
func (u *users) load(ctx context.Context, heavy bool) error {
	r := u.run
	if !r.about.activity && !r.about.callBack {
		return nil
	}
	first, last := u.bounds()
	from, to := time.Unix(first*86400, 0), time.Unix((last+1)*86400, 0)
	if !r.about.activity {
		from = r.query.From
	}
	plain := len(r.query.Filters) == 0 && (r.dim == nil || r.dim.name == "day") && !r.query.IncludeTest
	if r.about.callBack {
		u.loaded = r.query.To.UnixNano() + callBack
		to = time.Unix(0, max(to.UnixNano(), u.loaded))
	}
	if plain || r.about.callBack {
		// Some connections read, each a stretch of time; what they find is put together by one at a time.
		var gather sync.Mutex
		stretches, together := errgroup.WithContext(ctx)
		width := to.Sub(from) / mostParts
		for i := range mostParts {
			since, until := from.Add(width*time.Duration(i)), from.Add(width*time.Duration(i+1))
			if i == mostParts-1 {
				until = time.Time{} // also of what goes on beyond
			}
			stretches.Go(func() error {
				var days []int64
				return r.engine.Store.UserActivity(together, r.project, since, until, to, func(user []byte, start int64, text []byte) (err error) {
					if days = days[:0]; plain && r.about.activity {
						if days, err = digest.ParseList(days, text); err != nil {
							return err
						}
					}
					n := u.number(user)
					gather.Lock()
					defer gather.Unlock()
					if r.about.callBack {
						for n >= len(u.starts) {
							u.starts = append(u.starts, nil)
						}
						u.starts[n] = append(u.starts[n], start)
					}
					for _, day := range days {
						if first <= day && day <= last {
							r.total.users.active(n, day)
						}
					}
					return nil
				})
			})
		}
		if err := stretches.Wait(); err != nil {
			return err
		}
		for _, starts := range u.starts {
			slices.Sort(starts)
		}
	}
	if plain || !r.about.activity {
		return nil
	}
	// Filters and groups need all of the digests.
	return r.engine.Store.Digests(ctx, r.project, digest.Window{From: from, To: to, By: digest.ByActivity, Groups: heavy}, func(d *digest.Digest) error {
		if d.UserID == "" || d.Numbers[digest.TestMode] == 1 && !r.query.IncludeTest || !r.query.holdsButDay(d, r.places) {
			return nil
		}
		n := u.number([]byte(d.UserID))
		var in []int
		if r.dim != nil && r.dim.name != "day" {
			in = r.groupsOf(d)
		}
		for _, day := range d.Samples[digest.Days] {
			if first <= day && day <= last {
				r.total.users.active(n, day)
				for _, g := range in {
					r.groups[g].users.active(n, day)
				}
			}
		}
		return nil
	})
}

// holdsButDay is holds without a filter by day: activity is by days of its own.
func (s *Scope) holdsButDay(d *digest.Digest, places map[string]place) bool {
	rest := *s
	rest.Filters = slices.DeleteFunc(slices.Clone(s.Filters), func(f Filter) bool { return f.Dimension == "day" })
	return rest.holds(d, places)
}

// cameBack reports whether a user started a conversation after one moment and before another, which is not after loaded.
func (u *users) cameBack(user string, after, before int64) bool {
	u.mu.Lock()
	n, ok := u.numbers[user]
	u.mu.Unlock()
	if !ok || n >= len(u.starts) {
		return false
	}
	starts := u.starts[n]
	i, _ := slices.BinarySearch(starts, after+1)
	return i < len(starts) && starts[i] < before
}

// meet learns when each user of the project was first here.
func (u *users) meet(ctx context.Context) error {
	if !u.run.about.first {
		return nil
	}
	return u.run.engine.Store.FirstSeen(ctx, u.run.project, func(user []byte, start, day int64) error {
		n := u.number(user)
		u.reach(n + 1)
		u.first[n], u.firstDay[n] = start, day
		return nil
	})
}

// reach makes room for what meet learns of some number of users.
func (u *users) reach(count int) {
	for len(u.first) < count {
		u.first, u.firstDay = append(u.first, null), append(u.firstDay, null)
	}
}

// userValue makes the value of a metric about users: of a group or, where a day is given, of all as of that day.
func (r *run) userValue(d *Definition, g *group, onDay string) Value {
	if d.WholeDays && !r.query.WholeDays() {
		return Value{Name: d.Name}
	}
	from, to := r.query.From.UnixNano(), r.query.To.UnixNano()
	all := g.users
	if onDay != "" {
		t, _ := time.Parse(time.DateOnly, onDay) // it was made by dayName
		from, to = max(from, t.UnixNano()), min(to, t.Add(day).UnixNano())
		all = r.total.users
	}
	first, last := dayOf(from), dayOf(to-1)
	daily := func() (sum int) {
		for day := first; day <= last; day++ {
			sum += all.on(day).count()
		}
		return sum
	}
	days := float64(last - first + 1)
	switch d.Statement {
	case "active_users":
		return valueOf(d, float64(all.during(first, last).count()), 1)
	case "dau":
		return valueOf(d, float64(daily()), days)
	case "wau":
		return valueOf(d, float64(all.during(last-week+1, last).count()), 1)
	case "mau":
		return valueOf(d, float64(all.during(last-month+1, last).count()), 1)
	case "stickiness":
		return valueOf(d, float64(daily())/days, float64(all.during(last-month+1, last).count()))
	case "sessions_per_user":
		return valueOf(d, float64(g.users.conversations), float64(g.users.members.count()))
	case "new_users", "returning_users":
		n := 0
		g.users.members.each(func(user int) {
			if start := r.users.first[user]; start != null && (start >= from) == (d.Statement == "new_users") {
				n++
			}
		})
		return valueOf(d, float64(n), 1)
	}
	after := retentionDays(d.Statement)
	cohort, back := 0, 0
	for day := first; day <= last; day++ {
		if (day+after+1)*int64(24*time.Hour) > r.at.now {
			break // immature: unknown, and no zero
		}
		then := all.on(day + after)
		all.on(day).each(func(user int) {
			if r.users.firstDay[user] == day {
				cohort++
				back += int(truth(then.has(user)))
			}
		})
	}
	return valueOf(d, float64(back), float64(cohort))
}

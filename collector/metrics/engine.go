// Package metrics computes what is asked of a project's conversations, from their digests, and says how each number came
// about. What a metric is stands in definitions.go, as data; docs/metrics.md is made of it.
package metrics

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/digest"
	"github.com/openalign/align/collector/outcome"
)

// Store is what metrics are computed from; sqlite.Store does. What the methods promise stands there.
type Store interface {
	Digests(ctx context.Context, project string, window digest.Window, yield func(*digest.Digest) error) error
	UserActivity(ctx context.Context, project string, from, until, begun time.Time, yield func(user []byte, start int64, days []byte) error) error
	FirstSeen(ctx context.Context, project string, yield func(user []byte, start, day int64) error) error
	UserPlaces(ctx context.Context, project string, yield func(user, country, company string) error) error
	CameBack(ctx context.Context, project, user string, after, before int64) (bool, error)
	Select(ctx context.Context, statement string, args map[string]any, most int, yield func(columns []string, values []any) error) error
	Detector(ctx context.Context) (bool, error)
	Stats() collector.StoreStats
}

// Limits of groups.
const (
	DefaultGroups, MaxGroups = 50, 1000
	// keptGroups is how many groups are told apart while counting. What comes after them is in the group other.
	keptGroups = 10_000
)

// Engine computes metrics. It is safe for concurrent use.
type Engine struct {
	Store Store
	// Idle is the time without activity after which a conversation has ended. Zero means collector.DefaultIdleTimeout,
	// negative never.
	Idle time.Duration
	// Exports are the daily files that explanations are compared with; nil is none.
	Exports Exports

	now time.Time // zero is the clock
}

// AsOf is an engine that computes as of a time: what is open then has not ended.
func (e *Engine) AsOf(t time.Time) *Engine {
	then := *e
	then.now = t
	return &then
}

func (e *Engine) clock() time.Time {
	if e.now.IsZero() {
		return time.Now()
	}
	return e.now
}

// Query asks for metrics.
type Query struct {
	Scope
	Names     []string // none means all; of these, metrics that need whole days are unknown where the window is of other ones
	GroupBy   string   // a dimension, or empty
	MaxGroups int      // zero means DefaultGroups
	Compare   bool     // also with the time before
}

// Answer is what a query gives.
type Answer struct {
	Scope       // as understood
	Values      []Value
	Groups      []Group // largest first; days in order; other last
	OtherGroups int     // how many are together in the group other
}

// Group is the conversations that have one value of a dimension, empty for none; or, where Other is set, all that are in no
// other group.
type Group struct {
	Value         string
	Other         bool
	Conversations int
	Values        []Value
}

var (
	statusWords     = words(outcome.Statuses)
	resolutionWords = words(outcome.Resolutions)
)

func words[T ~string](list []T) (texts []string) {
	for _, one := range list {
		texts = append(texts, string(one))
	}
	return texts
}

// compiled is a definition whose expressions were read.
type compiled struct {
	*Definition
	numerator, denominator, where *expr
	list                          digest.Sample // of distributions of lists
	isList                        bool
}

var allCompiled = sync.OnceValue(func() (list []compiled) {
	for i := range Definitions {
		list = append(list, compile(&Definitions[i]))
	}
	return list
})

func compile(d *Definition) compiled {
	c := compiled{Definition: d}
	if n := slices.Index(digest.SampleNames[:], d.Numerator); n >= 0 {
		c.list, c.isList = digest.Sample(n), true
	} else if d.Statement == "" {
		c.numerator = mustParse(d.Numerator)
	}
	if d.Denominator != "" {
		c.denominator = mustParse(d.Denominator)
	}
	if d.Where != "" {
		c.where = mustParse(d.Where)
	}
	return c
}

func mustParse(text string) *expr {
	e, err := parse(text)
	if err != nil {
		panic(err) // a definition is wrong; a test reads them all
	}
	return e
}

func (e *Engine) at(now time.Time) at {
	idle := e.Idle
	if idle == 0 {
		idle = collector.DefaultIdleTimeout
	}
	return at{now.UnixNano(), int64(max(idle, 0))}
}

// Get computes metrics. Errors that wrap [ErrInvalid] say what cannot be asked.
func (e *Engine) Get(ctx context.Context, project string, q Query) (*Answer, error) {
	now := e.clock()
	scope, err := q.Scope.complete(now)
	if err != nil {
		return nil, err
	}
	q.Scope = scope
	wanted, err := choose(q.Names, &scope)
	if err != nil {
		return nil, err
	}
	if len(q.Names) > 0 && !scope.WholeDays() {
		for _, c := range wanted {
			if c.WholeDays {
				return nil, fmt.Errorf("%w: %s counts UTC days: from and to must be midnights in UTC", ErrInvalid, c.Name)
			}
		}
	}
	if q.GroupBy != "" && findDimension(q.GroupBy) == nil {
		return nil, fmt.Errorf("%w: group by: no such dimension; there are %v", ErrInvalid, Dimensions())
	}
	if q.MaxGroups == 0 {
		q.MaxGroups = DefaultGroups
	}
	if q.MaxGroups < 1 || q.MaxGroups > MaxGroups {
		return nil, fmt.Errorf("%w: groups can be 1 to %d", ErrInvalid, MaxGroups)
	}
	var then *run
	r := &run{engine: e, at: e.at(now), project: project, query: q, wanted: wanted}
	tasks, together := errgroup.WithContext(ctx)
	tasks.Go(func() error { return r.count(together) })
	if q.Compare {
		then = &run{engine: e, at: r.at, project: project, query: q, wanted: wanted}
		then.query.Scope, then.query.GroupBy = q.Scope.before(), ""
		tasks.Go(func() error { return then.count(together) })
	}
	if err := tasks.Wait(); err != nil {
		return nil, err
	}
	answer := r.answer()
	if then != nil {
		before := then.answer()
		for i := range answer.Values {
			answer.Values[i].against(wanted[i].Definition, &before.Values[i])
		}
	}
	return answer, nil
}

// choose returns the metrics of those names, all if there are none, as they are asked for.
func choose(names []string, scope *Scope) (list []*compiled, err error) {
	all := allCompiled()
	if len(names) == 0 {
		for i := range all {
			list = append(list, &all[i])
		}
	}
	for _, name := range names {
		i := slices.IndexFunc(all, func(c compiled) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%w: there is no metric of that name; ListMetrics and `align metrics --list` name them", ErrInvalid)
		}
		list = append(list, &all[i])
	}
	for i, c := range list {
		if d := c.in(scope); d != c.Definition {
			list[i] = new(compile(d))
		}
	}
	return list, nil
}

// sums are what is added up for a metric in a group.
type sums struct {
	numerator, denominator int64
	samples                []int64
}

// group is what is added up of a group.
type group struct {
	value         string
	conversations int
	sums          []sums // by metric
	users         *crowd // nil where no metric is about users
}

// run is one computation.
type run struct {
	engine  *Engine
	at      at
	project string
	query   Query
	wanted  []*compiled

	places map[string]place
	dim    *dimension
	about  userNeeds
	users  *users
	*part  // all of it, once counted
}

// part is what is added up of some conversations.
type part struct {
	run    *run
	total  *group
	groups []*group
	names  map[string]int // of groups
	spill  int            // groups that had no place of their own
	batch  batchOf
}

func (r *run) newPart() *part {
	p := &part{run: r, names: map[string]int{}}
	p.total = p.newGroup("")
	p.batch.columns = make([][]int64, columns)
	for i := range p.batch.columns {
		p.batch.columns[i] = make([]int64, batchSize)
	}
	return p
}

// join adds another part to p.
func (p *part) join(o *part) {
	p.total.join(o.total)
	p.spill += o.spill
	for _, g := range o.groups {
		p.groups[p.groupOf(g.value)].join(g)
	}
}

// batchSize is how many conversations are computed at a time.
const batchSize = 1024

// batchOf gathers conversations.
type batchOf struct {
	batch
	members []member
}

// member says that a conversation of the batch is in a group.
type member struct{ row, group int }

func (r *run) count(ctx context.Context) error {
	r.about = needsOf(r.wanted, r.query.WholeDays())
	r.dim = findDimension(r.query.GroupBy)
	r.users = newUsers(r)
	r.part = r.newPart()
	heavy := false
	for _, d := range r.usedDimensions() {
		if d.places && r.places == nil {
			r.places = map[string]place{}
			if err := r.engine.Store.UserPlaces(ctx, r.project, func(user, country, company string) error {
				r.places[user] = place{country, company}
				return nil
			}); err != nil {
				return err
			}
		}
		heavy = heavy || !d.light
	}
	// Several connections read, each a stretch of the window, while others look at who was active when, and who was first
	// here when. Only a call-back needs the former before.
	tasks, together := errgroup.WithContext(ctx)
	tasks.Go(func() error { return r.users.meet(together) })
	load := func() error { return r.users.load(together, heavy) }
	if r.about.callBack {
		if err := load(); err != nil {
			return cmp.Or(tasks.Wait(), err)
		}
	} else {
		tasks.Go(load)
	}
	parts := make([]*part, min(runtime.GOMAXPROCS(0), mostParts))
	width := r.query.To.Sub(r.query.From) / time.Duration(len(parts))
	for i := range parts {
		parts[i] = r.newPart()
		window := digest.Window{From: r.query.From.Add(width * time.Duration(i)), To: r.query.From.Add(width * time.Duration(i+1)), Groups: heavy}
		if i == len(parts)-1 {
			window.To = r.query.To
		}
		if r.query.ByEnd {
			window.By = digest.ByEnd
		}
		tasks.Go(func() error { return parts[i].count(together, window) })
	}
	if err := tasks.Wait(); err != nil {
		return err
	}
	for _, p := range parts {
		r.part.join(p)
	}
	r.users.reach(len(r.users.numbers))
	var sorts errgroup.Group
	for _, s := range r.part.total.sums { // the largest lists there are; whoever needs them in order finds them so
		sorts.Go(func() error { slices.Sort(s.samples); return nil })
	}
	return sorts.Wait()
}

// mostParts is how many connections read at a time for one question.
const mostParts = 4

// count adds up the conversations of a window.
func (p *part) count(ctx context.Context, window digest.Window) error {
	r := p.run
	var row [columns]int64
	var late []lateOne
	err := r.engine.Store.Digests(ctx, r.project, window, func(d *digest.Digest) error {
		if d.Numbers[digest.TestMode] == 1 && !r.query.IncludeTest || !r.query.holds(d, r.places) {
			return nil
		}
		r.at.derive(d, &row)
		if r.query.ByEnd && row[ended] == 0 {
			return nil
		}
		if r.about.callBack {
			if until, ok := r.at.mayCallBack(d, &row); ok {
				if until > r.users.loaded { // of a conversation that went on beyond the window
					late = append(late, lateOne{d.Clone(), row, until})
					return nil
				}
				row[calledBack] = truth(r.users.cameBack(d.UserID, d.Last, until))
			}
		}
		p.add(d, &row)
		return nil
	})
	for i := 0; i < len(late) && err == nil; i++ {
		one, back := &late[i], false
		back, err = r.engine.Store.CameBack(ctx, r.project, one.digest.UserID, one.digest.Last, one.until)
		one.row[calledBack] = truth(back)
		p.add(one.digest, &one.row)
	}
	p.flush()
	return err
}

// lateOne is a conversation about which the store has to be asked something more, which cannot be done while it is read: with
// as many readers as there are connections, each would wait for the others.
type lateOne struct {
	digest *digest.Digest
	row    [columns]int64
	until  int64
}

func (r *run) usedDimensions() (list []*dimension) {
	for _, f := range r.query.Filters {
		list = append(list, findDimension(f.Dimension))
	}
	if r.dim != nil {
		list = append(list, r.dim)
	}
	return list
}

func (p *part) newGroup(value string) *group {
	g := &group{value: strings.Clone(value), sums: make([]sums, len(p.run.wanted))}
	if p.run.about.any {
		g.users = newCrowd()
	}
	return g
}

// groupsOf returns the groups a conversation is in, besides the total.
func (p *part) groupsOf(d *digest.Digest) (list []int) {
	r := p.run
	if r.dim == nil {
		return nil
	}
	for _, value := range r.dim.of(d, r.places, r.query.ByEnd) {
		list = append(list, p.groupOf(value))
	}
	return list
}

const otherGroup = "\x00other" // no text has a NUL and this is no dimension's word

func (p *part) groupOf(value string) int {
	if i, ok := p.names[value]; ok {
		return i
	}
	if len(p.groups) >= keptGroups && value != otherGroup {
		p.spill++
		return p.groupOf(otherGroup)
	}
	g := p.newGroup(value)
	p.names[g.value] = len(p.groups)
	p.groups = append(p.groups, g)
	return len(p.groups) - 1
}

// add adds a conversation to the batch.
func (p *part) add(d *digest.Digest, row *[columns]int64) {
	r, b := p.run, &p.batch
	for i, n := range row {
		b.columns[i][b.n] = n
	}
	in := p.groupsOf(d)
	p.total.addLists(r.wanted, d)
	for _, g := range in {
		p.groups[g].conversations++
		p.groups[g].addLists(r.wanted, d)
		b.members = append(b.members, member{b.n, g})
	}
	if r.about.any && d.UserID != "" {
		user := r.users.number([]byte(d.UserID))
		p.total.users.conversation(user)
		for _, g := range in {
			p.groups[g].users.conversation(user)
		}
	}
	p.total.conversations++
	if b.n++; b.n == batchSize {
		p.flush()
	}
}

func (g *group) addLists(wanted []*compiled, d *digest.Digest) {
	for i, c := range wanted {
		if c.isList {
			g.sums[i].samples = append(g.sums[i].samples, d.Samples[c.list]...)
		}
	}
}

// flush adds up a batch and empties it.
func (p *part) flush() {
	b := &p.batch
	b.known = map[string][]int64{}
	for i, c := range p.run.wanted {
		if c.isList || c.Statement != "" {
			continue
		}
		numerator := c.numerator.eval(&b.batch)
		var denominator, where []int64
		if c.denominator != nil {
			denominator = c.denominator.eval(&b.batch)
		}
		if c.where != nil {
			where = c.where.eval(&b.batch)
		}
		take := func(s *sums, row int) {
			if where != nil && (where[row] == 0 || where[row] == null) {
				return
			}
			n := numerator[row]
			if c.Kind == Distribution {
				if n != null {
					s.samples = append(s.samples, n)
				}
				return
			}
			if n != null {
				s.numerator += n
			}
			if denominator[row] != null {
				s.denominator += denominator[row]
			}
		}
		for row := range b.n {
			take(&p.total.sums[i], row)
		}
		for _, m := range b.members {
			take(&p.groups[m.group].sums[i], m.row)
		}
	}
	b.n, b.members = 0, b.members[:0]
}

// answer makes values of what was added up.
func (r *run) answer() *Answer {
	a := &Answer{Scope: r.query.Scope, Values: r.values(r.total, "")}
	if r.dim == nil {
		return a
	}
	byDay := r.dim.name == "day"
	list := slices.DeleteFunc(slices.Clone(r.groups), func(g *group) bool { return g.value == otherGroup || g.conversations == 0 })
	slices.SortFunc(list, compareGroups)
	var other *group
	if i, ok := r.names[otherGroup]; ok {
		other = r.groups[i]
	}
	a.OtherGroups = r.spill
	if len(list) > r.query.MaxGroups {
		for _, g := range list[r.query.MaxGroups:] {
			if other == nil {
				other = r.newGroup(otherGroup)
			}
			other.join(g)
			a.OtherGroups++
		}
		list = list[:r.query.MaxGroups]
	}
	if byDay {
		slices.SortFunc(list, func(a, b *group) int { return strings.Compare(a.value, b.value) })
	}
	for _, g := range list {
		day := ""
		if byDay {
			day = g.value
		}
		a.Groups = append(a.Groups, Group{Value: g.value, Conversations: g.conversations, Values: r.values(g, day)})
	}
	if other != nil {
		a.Groups = append(a.Groups, Group{Other: true, Conversations: other.conversations, Values: r.values(other, "")})
	}
	return a
}

// join adds another group to g.
func (g *group) join(o *group) {
	g.conversations += o.conversations
	for i := range g.sums {
		g.sums[i].numerator += o.sums[i].numerator
		g.sums[i].denominator += o.sums[i].denominator
		g.sums[i].samples = append(g.sums[i].samples, o.sums[i].samples...)
	}
	if g.users != nil {
		g.users.join(o.users)
	}
}

// values are those of a group; of a day's, users are counted as of that day.
func (r *run) values(g *group, onDay string) (list []Value) {
	for i, c := range r.wanted {
		s := &g.sums[i]
		switch {
		case c.Statement != "":
			list = append(list, r.userValue(c.Definition, g, onDay))
		case c.Kind == Distribution:
			list = append(list, spreadOf(c.Definition, s.samples))
		default:
			list = append(list, valueOf(c.Definition, float64(s.numerator), float64(s.denominator)))
		}
	}
	return list
}

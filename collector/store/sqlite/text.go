package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"

	sqlitedriver "modernc.org/sqlite"

	"github.com/openalign/align/collector"
	"github.com/openalign/align/collector/search"
)

// Finding conversations by what their messages say. A conversation is found when one of its messages that are shown matches
// the whole query.
//
// Documents in the index are numbered by the start of their conversation, so the newest come out first without looking at the
// others: a page costs about as much as the messages that match on it, wherever it is in the list. Each is looked at before
// it is a hit, so nothing is found that is not there, however far the index is behind. Where a user, a tag or a time leaves only few
// messages, those are looked at, and the index is not asked.
//
// What is not cheap: words that nearly every message has, together with a filter that nearly no conversation passes. Such a
// query reads on until it has a page, or the time of a query is over.

const (
	// fewMessages is how many messages may be looked at instead of asking the index.
	fewMessages = 3000
	// maxSnippets is how many pieces a hit shows, of the first snippetMessages that match.
	maxSnippets     = 3
	snippetMessages = 20
	// broadMessages is how many messages are looked at one by one before the index is asked for a short prefix: it gathers all
	// messages with any such word before it shows the first, and mostly the next few messages have one.
	broadMessages = 4000
	// countMessages is where Count stops looking at messages that match.
	countMessages = 200_000
)

// openSearchers returns connections that read the store's file and the index.
func openSearchers(file, index string) (*sql.DB, error) {
	base, err := sqlitedriver.NewConnector(dsn(file, "query_only(1)", "cache_size(-16384)", "temp_store(memory)"))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(attaching{base, index})
	searchers := max(4, runtime.GOMAXPROCS(0))
	db.SetMaxOpenConns(searchers)
	db.SetMaxIdleConns(searchers)
	return db, nil
}

// attaching opens connections that have a second file under the name of found.
type attaching struct {
	driver.Connector
	file string
}

// Connect implements [driver.Connector].
func (a attaching) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := a.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	with, ok := conn.(driver.ExecerContext)
	if !ok {
		return nil, errors.Join(errors.New("the driver cannot attach"), conn.Close())
	}
	uri, _, _ := strings.Cut(dsn(a.file), "?") // as a name alone may begin like one
	_, err = with.ExecContext(ctx, "ATTACH ? AS found", []driver.NamedValue{{Ordinal: 1, Value: uri}})
	if err == nil {
		_, err = with.ExecContext(ctx, "PRAGMA found.cache_size = -16384", nil)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// textSearch is a search for what messages say.
type textSearch struct {
	store   *Store
	project string
	query   *collector.Query
	parsed  *search.Query
	matcher *search.Matcher
	where   *condition // but for the text
	space   string     // before the project's words; empty when the index has none of them
	few     bool       // messages are looked at instead of the index
	broad   bool       // the next broadMessages or some fewer are, and no others
}

// textSearch prepares a search.
func (s *Store) textSearch(ctx context.Context, project string, q *collector.Query) (*textSearch, error) {
	parsed, err := search.Parse(q.Text)
	if err != nil {
		return nil, err
	}
	t := &textSearch{store: s, project: project, query: q, parsed: parsed, matcher: parsed.Matcher(), where: wanted(project, q)}
	if t.few, err = t.fewLeft(ctx); err != nil || t.few {
		return t, err
	}
	var number int64
	switch err := s.search.QueryRowContext(ctx, `SELECT number FROM found.projects WHERE project = ?`, project).Scan(&number); {
	case err == nil:
		t.space = spaceOf(number)
	case !errors.Is(err, sql.ErrNoRows):
		return nil, err
	}
	return t, nil
}

// fewLeft reports whether what an index of the views can tell leaves only few messages.
func (t *textSearch) fewLeft(ctx context.Context) (bool, error) {
	q := t.query
	if q.UserID == "" && q.Tag == "" && q.From.IsZero() && q.To.IsZero() {
		return false, nil
	}
	w := wanted(t.project, &collector.Query{UserID: q.UserID, From: q.From, To: q.To})
	tables := "sessions s"
	if q.UserID == "" && q.Tag != "" {
		tables = "tags t CROSS JOIN sessions s ON s.project = t.project AND s.id = t.session_id"
		w.and("t.project = ? AND t.tag = ? AND t.present = 1 AND t.run_id = ''", t.project, q.Tag)
	}
	var sessions, messages int
	err := t.store.read.db.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(message_count + 1), 0) FROM
		(SELECT s.message_count FROM `+tables+` WHERE `+w.where.String()+` LIMIT ?)`, append(w.args, t.store.few)...).Scan(&sessions, &messages)
	return messages < t.store.few, err
}

// match is a message that matches, and where it is from.
type match struct {
	session int64
	position
	doc     int64
	message int64
	content string
}

// matches calls yield for each message that matches, those of one conversation in any order, and conversations by bucket of
// their start, in the order the query names, from a start on. It ends when yield returns false. Where the text is not asked
// for, it was not looked at either.
func (t *textSearch) matches(ctx context.Context, from int64, text bool, yield func(*match) bool) error {
	low, high := int64(math.MinInt64), int64(math.MaxInt64)
	if t.query.Reversed {
		low = bucketOf(from)
	} else {
		high = bucketOf(from) | (1<<bucketBits - 1)
	}
	if !t.query.From.IsZero() {
		low = max(low, bucketOf(unixNano(t.query.From)))
	}
	if !t.query.To.IsZero() {
		high = min(high, bucketOf(unixNano(t.query.To))|(1<<bucketBits-1))
	}
	if !t.few && t.space == "" {
		return nil
	}
	rows, err := t.ask(ctx, low, high, text)
	if err != nil {
		return err
	}
	defer rows.Close()
	var m match
	for rows.Next() {
		if err := rows.Scan(&m.doc, &m.session, &m.start, &m.id, &m.message, &m.content); err != nil {
			return err
		}
		// One whose start moved is found when the index knows of it, and until then nowhere, rather than in two places.
		if bucketOf(m.doc) != bucketOf(m.start) || text && !t.matcher.Match(m.content) {
			continue
		}
		if !yield(&m) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// ask returns messages that may match, by bucket.
func (t *textSearch) ask(ctx context.Context, low, high int64, text bool) (*sql.Rows, error) {
	direction := " DESC"
	if t.query.Reversed {
		direction = ""
	}
	content := "m.content"
	if !text {
		content = "''"
	}
	if t.few {
		return t.store.search.QueryContext(ctx, `SELECT s.start_time, s.seq, s.start_time, s.id, m.seq, m.content
			FROM sessions s CROSS JOIN messages m ON m.project = s.project AND m.session_id = s.id
			WHERE `+t.where.where.String()+` AND s.start_time BETWEEN ? AND ? AND m.hidden = 0 AND m.content <> ''
			ORDER BY s.start_time`+direction, append(slices.Clone(t.where.args), low, high)...)
	}
	if t.broad {
		var beyond int64
		err := t.store.search.QueryRowContext(ctx, `SELECT id FROM found.docs WHERE id BETWEEN ? AND ? ORDER BY id`+direction+` LIMIT 1 OFFSET ?`,
			low, high, broadMessages).Scan(&beyond)
		switch {
		case errors.Is(err, sql.ErrNoRows): // so few
		case err != nil:
			return nil, err
		case t.query.Reversed:
			high = bucketOf(beyond) - 1 // whole buckets, which are in order
		default:
			low = bucketOf(beyond) + 1<<bucketBits
		}
		return t.store.search.QueryContext(ctx, `SELECT d.id, s.seq, s.start_time, s.id, m.seq, m.content
			FROM found.docs d CROSS JOIN sessions s ON s.seq = d.session CROSS JOIN messages m ON m.seq = d.message
			WHERE d.id BETWEEN ? AND ? AND m.hidden = 0 AND `+t.where.where.String()+`
			ORDER BY d.id`+direction, append([]any{low, high}, t.where.args...)...)
	}
	return t.store.search.QueryContext(ctx, `SELECT w.rowid, s.seq, s.start_time, s.id, m.seq, `+content+`
		FROM found.words w CROSS JOIN found.docs d ON d.id = w.rowid CROSS JOIN sessions s ON s.seq = d.session
			CROSS JOIN messages m ON m.seq = d.message
		WHERE w.words MATCH ? AND w.rowid BETWEEN ? AND ? AND m.hidden = 0 AND `+t.where.where.String()+`
		ORDER BY w.rowid`+direction, append([]any{t.parsed.Expression(t.space), low, high}, t.where.args...)...)
}

// candidate is a conversation some of whose messages match. There may be thousands, so it does not hold their texts.
type candidate struct {
	position
	best    []int64 // messages, maxSnippets at most, the best first
	counts  [][]int // of the same, how often they have each phrase
	matched int
	score   float64 // of the best, where that is asked for
}

// add adds a message that matches, which is the one that the matcher looked at last.
func (f *candidate) add(m *match, matcher *search.Matcher) {
	if f.matched++; f.matched > snippetMessages {
		return
	}
	counts, _ := matcher.Counts()
	at := len(f.best)
	for at > 0 && cmp.Or(search.Better(counts, f.counts[at-1]), cmp.Compare(f.best[at-1], m.message)) > 0 {
		at--
	}
	if at == maxSnippets {
		return
	}
	f.best = slices.Insert(f.best, at, m.message)
	f.counts = slices.Insert(f.counts, at, slices.Clone(counts))
	f.best, f.counts = f.best[:min(len(f.best), maxSnippets)], f.counts[:min(len(f.counts), maxSnippets)]
}

// conversations calls yield for each conversation that is found after a position, in the order the query names, until it
// returns false, which it does before it was called more than most times.
func (t *textSearch) conversations(ctx context.Context, after position, most int, yield func(*candidate) bool) error {
	order := -1
	if t.query.Reversed {
		order = +1
	}
	var (
		bucket = map[int64]*candidate{} // by session, of those whose starts are nearly the same
		of     int64
		last   *position // in the bucket, beyond which there are enough before
		stop   bool
	)
	inOrder := func() []*candidate {
		return slices.SortedFunc(maps.Values(bucket), func(a, b *candidate) int { return order * comparePositions(a.position, b.position) })
	}
	flush := func() {
		for _, f := range inOrder() {
			if stop = stop || !yield(f); stop {
				return
			}
		}
		clear(bucket)
		last = nil
	}
	err := t.matches(ctx, after.start, true, func(m *match) bool {
		if b := bucketOf(m.start); b != of {
			flush()
			of = b
		}
		if stop || order*comparePositions(m.position, after) <= 0 || last != nil && order*comparePositions(m.position, *last) > 0 {
			return !stop
		}
		f := bucket[m.session]
		if f == nil {
			f = &candidate{position: m.position}
			bucket[m.session] = f
		}
		f.add(m, t.matcher)
		if len(bucket) >= 2*most+1000 { // as many as somebody imported with one start for all
			list := inOrder()
			last = &list[most-1].position
			maps.DeleteFunc(bucket, func(_ int64, f *candidate) bool { return order*comparePositions(f.position, *last) > 0 })
		}
		return true
	})
	if err == nil && !stop {
		flush()
	}
	return err
}

// searchText is Search for a query with a text.
func (s *Store) searchText(ctx context.Context, project string, q *collector.Query, page collector.Page, offset int) ([]collector.Hit, string, error) {
	t, err := s.textSearch(ctx, project, q)
	if err != nil {
		return nil, "", err
	}
	if q.Ranked {
		return t.ranked(ctx, page, offset)
	}
	after, err := parsePosition(page.Token, q.Reversed)
	if err != nil {
		return nil, "", err
	}
	size := pageSize(page)
	var list []*candidate
	if t.parsed.Broad() && !t.few && s.few > 0 {
		t.broad = true
		if list, err = t.page(ctx, after, offset, size); err != nil {
			return nil, "", err
		}
		t.broad = false
	}
	if len(list) <= size { // as far as is known
		if list, err = t.page(ctx, after, offset, size); err != nil {
			return nil, "", err
		}
	}
	hits, more, err := t.hits(ctx, list, size)
	if err != nil || !more {
		return hits, "", err
	}
	last := hits[len(hits)-1]
	return hits, position{unixNano(last.StartTime), last.ID}.token(q.Reversed), nil
}

// page returns the conversations of a page, and one more where there is one.
func (t *textSearch) page(ctx context.Context, after position, offset, size int) (list []*candidate, err error) {
	err = t.conversations(ctx, after, offset+size+1, func(f *candidate) bool {
		if offset > 0 {
			offset--
			return true
		}
		list = append(list, f)
		return len(list) <= size
	})
	return list, err
}

// hits shows what was found: as much as there is room for on a page. More says that there is more, on the list or beyond.
func (t *textSearch) hits(ctx context.Context, list []*candidate, size int) (hits []collector.Hit, more bool, err error) {
	sum := 0
	for _, f := range list {
		if len(hits) == size {
			return hits, true, nil
		}
		shown, bytes, err := t.show(ctx, f)
		if errors.Is(err, collector.ErrNotFound) {
			continue // gone since, in a replay
		}
		if err != nil {
			return nil, false, err
		}
		if sum += bytes; sum > collector.MaxPageBytes && len(hits) > 0 {
			return hits, true, nil
		}
		hits = append(hits, shown)
	}
	return hits, false, nil
}

// show reads a conversation, and cuts the snippets of it.
func (t *textSearch) show(ctx context.Context, f *candidate) (hit collector.Hit, bytes int, err error) {
	list, err := query(ctx, t.store.read.conversation, func(rows *sql.Rows) (c collector.Conversation, err error) {
		c, bytes, err = scanConversation(rows)
		return c, err
	}, t.project, f.id)
	if err != nil {
		return hit, 0, err
	}
	if len(list) == 0 {
		return hit, 0, collector.ErrNotFound
	}
	hit.Conversation = list[0]
	// As it was found, so that the token goes on from there.
	hit.StartTime = fromNanos(f.start)
	for _, message := range f.best {
		piece, err := t.snippet(ctx, f.id, message)
		if errors.Is(err, sql.ErrNoRows) {
			continue // it says something else by now
		}
		if err != nil {
			return hit, 0, err
		}
		bytes += len(piece.Text)
		hit.Snippets = append(hit.Snippets, piece)
	}
	return hit, bytes, nil
}

// snippet cuts a piece out of a message of a conversation. A message in a place has to be counted to know its index.
func (t *textSearch) snippet(ctx context.Context, conversation string, message int64) (piece collector.Snippet, err error) {
	var (
		idx     int64
		content string
	)
	if err := t.store.read.message.QueryRowContext(ctx, message, t.project, conversation).Scan(&idx, &piece.Role, &content); err != nil {
		return piece, err
	}
	if !t.matcher.Match(content) {
		return piece, sql.ErrNoRows
	}
	if idx >= collector.FirstPlace {
		if err := t.store.read.number.QueryRowContext(ctx, t.project, conversation, idx, int64(collector.FirstPlace)).Scan(&idx); err != nil {
			return piece, err
		}
	}
	piece.Index = int32(min(idx, math.MaxInt32))
	piece.Text, piece.Marks = search.Snippet(content, t.matcher.Marks())
	return piece, nil
}

// countText is Count for a query with a text.
func (s *Store) countText(ctx context.Context, project string, q *collector.Query) (n int, exact bool, err error) {
	t, err := s.textSearch(ctx, project, q)
	if err != nil {
		return 0, false, err
	}
	t.query.Reversed = false
	counted := map[int64]bool{}
	looked := 0
	err = t.matches(ctx, math.MaxInt64, t.few, func(m *match) bool {
		looked++
		counted[m.session] = true
		return len(counted) <= countLimit && looked < countMessages
	})
	return min(len(counted), countLimit), len(counted) <= countLimit && looked < countMessages, err
}

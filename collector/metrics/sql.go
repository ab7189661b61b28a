package metrics

import (
	"fmt"
	"strings"

	"github.com/openalign/align/collector/digest"
)

// Metrics in SQL: the same numbers as those of engine.go, in the words of the definitions, slower and for everybody to read.
// Statements run over the view digests; times are nanoseconds since 1970, and parameters have names.

// scopedSQL begins a statement with the conversations in scope, named conversations, and adds its parameters.
func (s *Scope) scopedSQL(a at, project string, args map[string]any) string {
	by := "start_time"
	if s.ByEnd {
		by = "last_activity"
	}
	where := "project = :project AND " + by + " >= :from AND " + by + " < :to"
	args["project"], args["from"], args["to"] = project, s.From.UnixNano(), s.To.UnixNano()
	args["now"], args["idle"], args["idle_ms"] = a.now, a.idle, a.idleMillis()
	where += s.sharedSQL(args, true)
	end := ""
	if s.ByEnd {
		end = "\n  WHERE closed OR timed_out"
	}
	return `WITH scoped AS (
  SELECT *,
    close_time IS NOT NULL AND close_time >= last_activity AS closed,
    :idle > 0 AND :now - last_activity >= :idle AS timed_out,
    (SELECT min(p.key) FROM json_each(digests.pauses) p
      WHERE p.key % 3 = 2 AND p.value = 1 AND digests.pauses ->> ('$[' || (p.key - 1) || ']') >= :idle_ms) AS resolved_pause
  FROM digests
  WHERE ` + where + `
), conversations AS (
  SELECT *,
    user_messages > 0 AS engaged,
    closed OR timed_out AS ended,
    iif(closed, close_reason = 'idle', timed_out) AS closed_idle,
    user_messages > 0 AND iif(closed, close_reason = 'idle', timed_out) AND unfinished AND NOT transferred AS abandoned,
    (last_activity - start_time) / 1000000 AS duration,
    CASE WHEN user_id <> '' AND (closed OR timed_out) AND :now - last_activity >= 86400000000000 THEN EXISTS (
      SELECT 1 FROM session_digests n WHERE n.project = scoped.project AND n.user_id = scoped.user_id AND n.user_id <> '' AND n.test = 0
        AND n.start_time > scoped.last_activity AND n.start_time < scoped.last_activity + 86400000000000) END AS called_back,
    CASE WHEN resolved_pause IS NOT NULL THEN 1 WHEN (closed OR timed_out) AND autonomous THEN 0 END AS reopened,
    CASE
      WHEN resolved_pause IS NOT NULL THEN
        iif(:now - start_time - 1000000 * (pauses ->> ('$[' || (resolved_pause - 2) || ']')) >= 604800000000000,
          (pauses ->> ('$[' || (resolved_pause - 1) || ']')) >= 604800000, NULL)
      WHEN (closed OR timed_out) AND autonomous AND :now - last_activity >= 604800000000000 THEN 1
    END AS durable,
    :now - last_activity >= 604800000000000 AS older_than_week
  FROM scoped` + end + `
)`
}

// sharedSQL is the part of the condition that windows have nothing to do with. A day is one of the window's.
func (s *Scope) sharedSQL(args map[string]any, days bool) string {
	var b strings.Builder
	if !s.IncludeTest {
		b.WriteString(" AND test_mode = 0")
	}
	for i, f := range s.Filters {
		name := fmt.Sprintf("filter%d", i+1)
		d := findDimension(f.Dimension)
		value := d.sql
		if d.name == "day" {
			if !days {
				continue
			}
			value = "date(start_time / 1000000000, 'unixepoch')"
			if s.ByEnd {
				value = "date(last_activity / 1000000000, 'unixepoch')"
			}
		}
		args[name] = f.Value
		if d.contains != "" && f.Value != "" {
			fmt.Fprintf(&b, " AND "+d.contains, ":"+name)
			continue
		}
		fmt.Fprintf(&b, " AND coalesce(%s, '') = :%s", value, name)
		if d.contains != "" {
			b.WriteString(" AND labels = '[]'")
		}
	}
	return b.String()
}

// isList reports whether the sample of a distribution is a list.
func (d *Definition) isList() bool {
	for _, name := range digest.SampleNames {
		if d.Numerator == name {
			return true
		}
	}
	return false
}

func (d *Definition) whereSQL() string {
	if d.Where == "" {
		return ""
	}
	return "\nWHERE " + d.Where
}

// statement returns the SQL that computes a metric, with its parameters. Its row has numerator and denominator; of a
// distribution n, mean, and percentiles.
func (d *Definition) statement(s *Scope, a at, project string) (sql string, args map[string]any) {
	args = map[string]any{}
	switch {
	case d.Statement != "":
		return d.usersSQL(s, a, project, args), args
	case d.Kind == Distribution:
		from := "SELECT " + d.Numerator + " AS value FROM conversations" + d.whereSQL()
		if d.isList() {
			from = "SELECT j.value FROM conversations, json_each(conversations." + d.Numerator + ") j" + d.whereSQL()
		}
		return s.scopedSQL(a, project, args) + `, samples AS (
  ` + strings.ReplaceAll(from, "\n", "\n  ") + `
), ranked AS (
  SELECT value, row_number() OVER (ORDER BY value) AS rank, count(*) OVER () AS n FROM samples WHERE value IS NOT NULL
)
SELECT coalesce(sum(value), 0) AS numerator, count(*) AS denominator, avg(value) AS mean,
  max(iif(rank = (50 * n + 99) / 100, value, NULL)) AS p50,
  max(iif(rank = (90 * n + 99) / 100, value, NULL)) AS p90,
  max(iif(rank = (95 * n + 99) / 100, value, NULL)) AS p95,
  max(iif(rank = (99 * n + 99) / 100, value, NULL)) AS p99
FROM ranked`, args
	case d.Kind == Count:
		return s.scopedSQL(a, project, args) + "\nSELECT coalesce(sum(" + d.Numerator + "), 0) AS numerator, 1 AS denominator\nFROM conversations" + d.whereSQL(), args
	}
	return s.scopedSQL(a, project, args) + "\nSELECT coalesce(sum(" + d.Numerator + "), 0) AS numerator, coalesce(sum(" + d.Denominator + "), 0) AS denominator\nFROM conversations" + d.whereSQL(), args
}

// usersSQL is the statement of a metric about users.
func (d *Definition) usersSQL(s *Scope, a at, project string, args map[string]any) string {
	first, last := dayOf(s.From.UnixNano()), dayOf(s.To.UnixNano()-1)
	active := func(from, to int64) string {
		args["first_day"], args["last_day"], args["from_day"], args["to_day"], args["project"] = first, last, from, to, project
		return `WITH active AS (
  SELECT DISTINCT user_id, j.value AS day FROM digests, json_each(digests.days) j
  WHERE project = :project AND user_id <> ''` + s.sharedSQL(args, false) + `
    AND last_activity >= :from_day * 86400000000000 AND start_time < (:to_day + 1) * 86400000000000
    AND j.value BETWEEN :from_day AND :to_day
)`
	}
	seen := `, seen AS (
  SELECT user_id, min(start_time) AS start_time FROM session_digests
  WHERE project = :project AND user_id <> '' AND test = 0 GROUP BY user_id
)`
	const dailySQL = "(SELECT count(*) FROM active WHERE day BETWEEN :first_day AND :last_day)"
	switch d.Statement {
	case "active_users":
		return active(first, last) + "\nSELECT count(DISTINCT user_id) AS numerator, 1 AS denominator FROM active"
	case "dau":
		return active(first, last) + "\nSELECT count(*) AS numerator, :last_day - :first_day + 1 AS denominator FROM active"
	case "wau":
		return active(last-week+1, last) + "\nSELECT count(DISTINCT user_id) AS numerator, 1 AS denominator FROM active"
	case "mau":
		return active(last-month+1, last) + "\nSELECT count(DISTINCT user_id) AS numerator, 1 AS denominator FROM active"
	case "stickiness":
		return active(min(first, last-month+1), last) + "\nSELECT " + dailySQL + " * 1.0 / (:last_day - :first_day + 1) AS numerator,\n" +
			"  (SELECT count(DISTINCT user_id) FROM active WHERE day > :last_day - 30) AS denominator"
	case "sessions_per_user":
		return s.scopedSQL(a, project, args) + "\nSELECT count(*) AS numerator, count(DISTINCT user_id) AS denominator FROM conversations WHERE user_id <> ''"
	case "new_users":
		return s.scopedSQL(a, project, args) + seen + "\nSELECT count(*) AS numerator, 1 AS denominator FROM seen\n" +
			"WHERE start_time >= :from AND user_id IN (SELECT user_id FROM conversations)"
	case "returning_users":
		return s.scopedSQL(a, project, args) + seen + "\nSELECT count(*) AS numerator, 1 AS denominator FROM seen\n" +
			"WHERE start_time < :from AND user_id IN (SELECT user_id FROM conversations)"
	}
	n := retentionDays(d.Statement)
	sql := active(first, last+n) + `, first AS (
  SELECT user_id, min(first_day) AS day FROM session_digests
  WHERE project = :project AND user_id <> '' AND test = 0 GROUP BY user_id
)
SELECT coalesce(sum(EXISTS (SELECT 1 FROM active b WHERE b.user_id = a.user_id AND b.day = a.day + :after)), 0) AS numerator, count(*) AS denominator
FROM active a JOIN first f ON f.user_id = a.user_id AND f.day = a.day
WHERE a.day BETWEEN :first_day AND :last_day AND (a.day + :after + 1) * 86400000000000 <= :now`
	args["after"], args["now"] = n, a.now
	return sql
}

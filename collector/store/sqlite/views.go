package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// View is what people may ask of the data in SQL; docs/sql.md says more.
type View struct {
	Name, About string
	query       string
}

// Views are all there are. Times are nanoseconds since 1970 UTC.
var Views = []View{
	{"conversations", "a session: who, when, where, and what the app said of it",
		`SELECT project, id, state ->> '$.first.user_id.v' AS user_id, state ->> '$.last.assistant_id.v' AS assistant_id, state ->> '$.last.title.v' AS title,
			state ->> '$.last.channel.v' AS channel, state ->> '$.last.source.v' AS source, state ->> '$.last.language.v' AS language,
			state ->> '$.last.status.v' AS status, state ->> '$.last.resolution.v' AS resolution,
			start_time, last_activity, state ->> '$.close.time' AS close_time, state ->> '$.close.reason' AS close_reason,
			message_count, state ->> '$.last.test_mode.v' IS NOT NULL AS test_mode FROM main.sessions`},
	{"messages", "the current message at each index; idx orders them",
		`SELECT project, session_id, idx, role, content, time, properties, detail, versions FROM main.messages WHERE hidden = 0`},
	{"votes", "the current vote of each voter: idx 0 on the session, above on that message, below 0 on a turn; vote 1 up, 2 down",
		`SELECT project, session_id, idx, voter, vote, score, score_min, score_max, comment, reasons, event_time AS time FROM main.votes WHERE vote <> 0`},
	{"users", "a user",
		`SELECT project, id, state ->> '$.last.display_name.v' AS display_name, state ->> '$.last.email.v' AS email, state ->> '$.last.country_code.v' AS country,
			state ->> '$.last.city.v' AS city, state ->> '$.last.company_id.v' AS company_id, state ->> '$.last.company_name.v' AS company_name FROM main.users`},
	{"tags", "a tag of a session, or of a run of it", `SELECT project, session_id, run_id, tag FROM main.tags WHERE present = 1`},
	{"digests", "a session in numbers: what metrics are computed from", `SELECT * FROM main.digests`},
}

// behindViews are the tables that views may read.
var behindViews = []string{"sessions", "messages", "votes", "users", "tags", "session_digests"}

// ErrRefused says that a statement is not one that may be run. Errors that wrap it say why.
var ErrRefused = errors.New("sqlite: statement refused")

// QueryLimits bound what [QueryViews] gives. Zero fields are 10 seconds and 1000 rows.
type QueryLimits struct {
	Time time.Duration
	Rows int
}

// QueryViews runs one SELECT over [Views], in file, on a connection of its own that cannot write. It calls head once, unless
// that is nil, with the names of the columns, and yield for each row. more says that there were more rows than may be. It reads nothing else: not keys, not facts, not other files.
func QueryViews(ctx context.Context, file, statement string, limits QueryLimits, head func(columns []string) error, yield func(columns []string, values []any) error) (more bool, err error) {
	if limits.Time == 0 {
		limits.Time = queryTimeout
	}
	if limits.Rows == 0 {
		limits.Rows = 1000
	}
	ctx, cancel := context.WithTimeout(ctx, limits.Time)
	defer cancel()
	db, err := sql.Open("sqlite", dsn(file, "temp_store(memory)"))
	if err != nil {
		return false, fmt.Errorf("sqlite: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		return false, fmt.Errorf("sqlite: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	for _, v := range Views {
		if _, err := conn.ExecContext(ctx, "CREATE TEMP VIEW "+v.Name+" AS "+v.query); err != nil {
			return false, fmt.Errorf("sqlite: %w", err)
		}
	}
	if _, err := conn.ExecContext(ctx, "PRAGMA query_only(1)"); err != nil {
		return false, fmt.Errorf("sqlite: %w", err)
	}
	if err := mayRun(ctx, conn, statement); err != nil {
		return false, err
	}
	rows, err := conn.QueryContext(ctx, statement)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded): // it runs up to its first row here
		return false, fmt.Errorf("sqlite: the statement took longer than %s", limits.Time)
	case err != nil:
		return false, fmt.Errorf("sqlite: %w", err)
	}
	defer rows.Close()
	if head != nil {
		columns, err := rows.Columns()
		if err != nil {
			return false, fmt.Errorf("sqlite: %w", err)
		}
		if err := head(columns); err != nil {
			return false, err
		}
	}
	more, err = eachRow(rows, limits.Rows, yield)
	if errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil && err != nil {
		return more, fmt.Errorf("sqlite: the statement took longer than %s", limits.Time)
	}
	return more, err
}

// mayRun refuses what is not one statement that selects from views. It asks SQLite for the program that it would run:
// every table that is opened stands in it, however it is named.
func mayRun(ctx context.Context, conn *sql.Conn, statement string) error {
	first := strings.ToUpper(strings.TrimLeft(statement, " \t\r\n("))
	if !strings.HasPrefix(first, "SELECT") && !strings.HasPrefix(first, "WITH") && !strings.HasPrefix(first, "VALUES") {
		return fmt.Errorf("%w: it must begin with SELECT, WITH or VALUES", ErrRefused)
	}
	if !single(statement) {
		return fmt.Errorf("%w: it must be one statement", ErrRefused)
	}
	allowed := map[int64]bool{1: false}
	rows, err := conn.QueryContext(ctx, "SELECT name, tbl_name, rootpage FROM main.sqlite_schema WHERE rootpage > 0")
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	_, err = eachRow(rows, 10_000, func(_ []string, values []any) error {
		table, _ := values[1].(string)
		page, _ := values[2].(int64)
		allowed[page] = slices.Contains(behindViews, table)
		return nil
	})
	if err := errors.Join(err, rows.Close()); err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	functions, err := tablesOfFunctions(ctx, conn)
	if err != nil {
		return err
	}
	rows, err = conn.QueryContext(ctx, "EXPLAIN "+statement)
	if err != nil {
		return fmt.Errorf("sqlite: %w", err)
	}
	_, err = eachRow(rows, 1_000_000, func(_ []string, values []any) error {
		op, _ := values[1].(string)
		page, _ := values[3].(int64)
		database, _ := values[4].(int64)
		switch op {
		case "VOpen": // sqlite_dbpage, for one, is every page of the file: keys, facts and what was erased
			if table, _ := values[5].(string); !functions[table] {
				return fmt.Errorf("%w: of virtual tables it may read %s", ErrRefused, strings.Join(mayCall, " and "))
			}
		case "OpenRead", "ReopenIdx":
			if database != 0 || !allowed[page] {
				return fmt.Errorf("%w: it reads what is no view; there are %s", ErrRefused, strings.Join(viewNames(), ", "))
			}
		case "OpenWrite", "Vacuum", "AutoCommit", "Clear", "Destroy", "ParseSchema", "JournalMode", "VUpdate":
			return fmt.Errorf("%w: it does more than read", ErrRefused)
		}
		return nil
	})
	return errors.Join(err, rows.Close())
}

// mayCall are the functions whose rows may be selected from.
var mayCall = []string{"json_each", "json_tree"}

// tablesOfFunctions returns how programs on a connection name the virtual tables of those functions: by an address, which
// is the same for as long as the connection lives. A name that is none of them is refused.
func tablesOfFunctions(ctx context.Context, conn *sql.Conn) (map[string]bool, error) {
	names := map[string]bool{}
	for _, function := range mayCall {
		rows, err := conn.QueryContext(ctx, "EXPLAIN SELECT * FROM "+function+"('[]')")
		if err != nil {
			return nil, fmt.Errorf("sqlite: %w", err)
		}
		_, err = eachRow(rows, 1000, func(_ []string, values []any) error {
			if op, _ := values[1].(string); op == "VOpen" {
				if name, _ := values[5].(string); name != "" {
					names[name] = true
				}
			}
			return nil
		})
		if err := errors.Join(err, rows.Close()); err != nil {
			return nil, fmt.Errorf("sqlite: %w", err)
		}
	}
	return names, nil
}

// single reports whether there is nothing behind the first semicolon that ends a statement.
func single(statement string) bool {
	ended := false
	for i := 0; i < len(statement); i++ {
		rest := statement[i:]
		until := ""
		switch c := statement[i]; {
		case strings.HasPrefix(rest, "--"):
			until = "\n"
		case strings.HasPrefix(rest, "/*"):
			until, i = "*/", i+1
		case strings.ContainsRune(" \t\r\n\f", rune(c)):
			continue
		case c == ';':
			ended = true
			continue
		case ended:
			return false
		case c == '\'' || c == '"' || c == '`':
			until = string(c)
		case c == '[':
			until = "]"
		default:
			continue
		}
		end := strings.Index(statement[i+1:], until)
		if end < 0 {
			return true // it has no end, and so nothing behind it
		}
		i += end + len(until)
	}
	return true
}

func viewNames() (names []string) {
	for _, v := range Views {
		names = append(names, v.Name)
	}
	return names
}

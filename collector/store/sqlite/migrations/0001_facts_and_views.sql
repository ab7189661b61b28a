-- Facts, and the views derived from them. Times are nanoseconds since 1970-01-01 UTC.

-- Every event, once. Rows are ordered by arrival; ids live in an index, because a table clustered by ids that are not in
-- order of time inserts several times slower.
CREATE TABLE facts (
	seq          INTEGER PRIMARY KEY,
	project      TEXT NOT NULL,
	id           TEXT NOT NULL,
	type         TEXT NOT NULL,
	time         INTEGER NOT NULL,
	receive_time INTEGER NOT NULL,
	event        BLOB NOT NULL    -- ingestion.v1alpha.Event
) STRICT;
CREATE UNIQUE INDEX facts_id ON facts (project, id);

-- Events that were not good enough to be facts. The digest makes a repeated request add nothing.
CREATE TABLE set_aside (
	seq          INTEGER PRIMARY KEY,
	project      TEXT NOT NULL,
	digest       BLOB NOT NULL,
	event_id     TEXT NOT NULL,
	reason       TEXT NOT NULL,
	receive_time INTEGER NOT NULL,
	raw          BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX set_aside_digest ON set_aside (project, digest);

-- The state is all that later facts join with (derive.go); the columns after it are read off it.
CREATE TABLE sessions (
	seq           INTEGER PRIMARY KEY,
	project       TEXT NOT NULL,
	id            TEXT NOT NULL,
	start_time    INTEGER NOT NULL,
	last_activity INTEGER NOT NULL,
	message_count INTEGER NOT NULL,
	state         TEXT NOT NULL,
	user_id       TEXT AS (state ->> '$.first.user_id.v'),
	assistant_id  TEXT AS (state ->> '$.last.assistant_id.v'),
	title         TEXT AS (state ->> '$.last.title.v'),
	close_time    INTEGER AS (state ->> '$.close.time'),
	close_reason  TEXT AS (state ->> '$.close.reason')
) STRICT;
CREATE UNIQUE INDEX sessions_id ON sessions (project, id);
CREATE INDEX sessions_start ON sessions (project, start_time, id);

CREATE TABLE users (
	seq          INTEGER PRIMARY KEY,
	project      TEXT NOT NULL,
	id           TEXT NOT NULL,
	state        TEXT NOT NULL,
	display_name TEXT AS (state ->> '$.last.display_name.v'),
	email        TEXT AS (state ->> '$.last.email.v'),
	country_code TEXT AS (state ->> '$.last.country_code.v')
) STRICT;
CREATE UNIQUE INDEX users_id ON users (project, id);

-- The current message at each index. Content is TEXT: LIKE never matches a BLOB.
CREATE TABLE messages (
	seq          INTEGER PRIMARY KEY,
	project      TEXT NOT NULL,
	session_id   TEXT NOT NULL,
	idx          INTEGER NOT NULL,
	role         TEXT NOT NULL,
	content      TEXT NOT NULL,
	time         INTEGER NOT NULL,
	properties   TEXT NOT NULL,   -- a JSON object of strings, or empty
	versions     INTEGER NOT NULL,
	event_time   INTEGER NOT NULL, -- with event_id, the order of the event this row shows
	event_id     TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX messages_index ON messages (project, session_id, idx);

-- Only for indexes that more than one event speaks for: the versions there, each a distinct role and content.
CREATE TABLE versions (
	project    TEXT NOT NULL,
	session_id TEXT NOT NULL,
	idx        INTEGER NOT NULL,
	digest     BLOB NOT NULL,      -- of role and content
	state      TEXT NOT NULL,
	PRIMARY KEY (project, session_id, idx, digest)
) STRICT, WITHOUT ROWID;

-- The current vote of each voter on each target. idx is 0 for the session as a whole: messages count from 1.
CREATE TABLE votes (
	project    TEXT NOT NULL,
	session_id TEXT NOT NULL,
	idx        INTEGER NOT NULL,
	voter      TEXT NOT NULL,
	vote       INTEGER NOT NULL,   -- 1 up, 2 down, 0 taken back
	comment    TEXT NOT NULL,
	event_time INTEGER NOT NULL,
	event_id   TEXT NOT NULL,
	PRIMARY KEY (project, session_id, idx, voter)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
	hash        BLOB PRIMARY KEY, -- SHA-256 of the key
	hint        TEXT NOT NULL,
	project     TEXT NOT NULL,
	scope       TEXT NOT NULL,
	create_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row that Ready rewrites, to know that the disk takes writes.
CREATE TABLE ready (
	id   INTEGER PRIMARY KEY CHECK (id = 1),
	time INTEGER NOT NULL
) STRICT;

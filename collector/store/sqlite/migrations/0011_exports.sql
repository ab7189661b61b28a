-- The daily export: what is frozen of each day, and how to know what changed since. Days count from 1970-01-01 UTC.

-- Conversations that facts spoke of since they were last looked at for a file. seq is of the last such fact, received when it
-- came; ends is the last activity as of it; told is 1 for those that files tell of already.
CREATE TABLE export_news (
	project    TEXT NOT NULL,
	session_id TEXT NOT NULL,
	seq        INTEGER NOT NULL,
	received   INTEGER NOT NULL,
	ends       INTEGER NOT NULL,
	told       INTEGER NOT NULL,
	PRIMARY KEY (project, session_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX export_news_ends ON export_news (project, ends, session_id);
CREATE INDEX export_news_told ON export_news (project, ends, session_id) WHERE told = 1;

-- Up to which fact that was noted.
CREATE TABLE export_scan (
	id  INTEGER PRIMARY KEY CHECK (id = 1),
	seq INTEGER NOT NULL
) STRICT;
INSERT INTO export_scan (id, seq) VALUES (1, 0);

-- One row a day and project. Until it is final, what the tables below have of the day counts for nothing; once it is, none
-- of it changes. build names the attempt, so that of two only one can finish; beat is when it was last seen at work; seq is
-- the fact up to which news were noted when it began.
CREATE TABLE export_days (
	project  TEXT NOT NULL,
	day      INTEGER NOT NULL,
	build    BLOB NOT NULL,
	beat     INTEGER NOT NULL,
	seq      INTEGER NOT NULL,
	final    INTEGER NOT NULL,
	manifest TEXT NOT NULL,          -- JSON, empty until it is final
	PRIMARY KEY (project, day)
) STRICT, WITHOUT ROWID;

-- The files: zstd frames, each of whole lines of NDJSON. Late ones hold what became known of days that were final.
CREATE TABLE export_chunks (
	seq     INTEGER PRIMARY KEY,
	project TEXT NOT NULL,
	day     INTEGER NOT NULL,
	late    INTEGER NOT NULL,
	n       INTEGER NOT NULL,        -- from 0
	data    BLOB NOT NULL
) STRICT;
CREATE UNIQUE INDEX export_chunks_n ON export_chunks (project, day, late, n);

-- The episodes that files tell of. day is that of the file, which may be a late one; upto is the day the episode ended on.
-- Of the same episode the greatest day is current. The digest tells what it was told to be, without saying it.
CREATE TABLE export_episodes (
	project    TEXT NOT NULL,
	session_id TEXT NOT NULL,
	episode    INTEGER NOT NULL,
	day        INTEGER NOT NULL,
	upto       INTEGER NOT NULL,
	end_time   INTEGER NOT NULL,
	status     TEXT NOT NULL,
	resolution TEXT NOT NULL,
	digest     BLOB NOT NULL,
	PRIMARY KEY (project, session_id, episode, day)
) STRICT, WITHOUT ROWID;

-- What opens what is sealed of a conversation in files. Erasing it is what erases that; NULL is gone.
CREATE TABLE export_keys (
	project    TEXT NOT NULL,
	session_id TEXT NOT NULL,
	end_time   INTEGER NOT NULL,     -- of the conversation, for retention
	labels     BLOB,
	content    BLOB,
	PRIMARY KEY (project, session_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX export_keys_age ON export_keys (end_time) WHERE content IS NOT NULL;

-- What links to files are signed with.
CREATE TABLE export_secret (
	id     INTEGER PRIMARY KEY CHECK (id = 1),
	secret BLOB NOT NULL
) STRICT;
INSERT INTO export_secret (id, secret) VALUES (1, randomblob(32));

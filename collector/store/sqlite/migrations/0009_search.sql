-- What conversations are found by, beside their start.
ALTER TABLE sessions ADD COLUMN user_id TEXT AS (state ->> '$.first.user_id.v') VIRTUAL;
CREATE INDEX sessions_user ON sessions (project, user_id, start_time, id) WHERE user_id IS NOT NULL;

-- The index of words is a file of its own, filled from messages in the order of seq (words.go). Here is what it has to look at
-- again: a message whose text or whether it is shown changed, or a session whose start moved, with all its messages.
CREATE TABLE reindex (
	seq     INTEGER PRIMARY KEY AUTOINCREMENT,
	message INTEGER, -- messages.seq
	session INTEGER  -- sessions.seq
) STRICT;
CREATE TRIGGER messages_reindex AFTER UPDATE OF content, hidden ON messages
	WHEN old.content <> new.content OR old.hidden <> new.hidden
	BEGIN INSERT INTO reindex (message) VALUES (new.seq); END;
CREATE TRIGGER sessions_reindex AFTER UPDATE OF start_time ON sessions
	WHEN old.start_time <> new.start_time
	BEGIN INSERT INTO reindex (session) VALUES (new.seq); END;

-- By this name the index knows that it is of these messages. A new name makes it fill itself anew.
CREATE TABLE words_of (
	id   INTEGER PRIMARY KEY CHECK (id = 1),
	name BLOB NOT NULL
) STRICT;
INSERT INTO words_of (id, name) VALUES (1, randomblob(16));

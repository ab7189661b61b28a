-- What Ready writes beside the time while appends fail: as much as the disk refused, because a full one has room for a row
-- of a few bytes for long.
ALTER TABLE ready ADD COLUMN ballast BLOB;

-- Custom properties of sessions, which can be large, on their own: a message changes its session's row, but never these.
CREATE TABLE session_properties (
	seq        INTEGER PRIMARY KEY,
	project    TEXT NOT NULL,
	session_id TEXT NOT NULL,
	state      TEXT NOT NULL       -- as later facts join with it (derive.go)
) STRICT;
CREATE UNIQUE INDEX session_properties_id ON session_properties (project, session_id);
INSERT INTO session_properties (project, session_id, state)
	SELECT project, id, state ->> '$.properties' FROM sessions WHERE state ->> '$.properties' IS NOT NULL;
UPDATE sessions SET state = json_remove(state, '$.properties') WHERE state ->> '$.properties' IS NOT NULL;

-- Nothing reads these.
ALTER TABLE sessions DROP COLUMN user_id;
ALTER TABLE sessions DROP COLUMN assistant_id;
ALTER TABLE sessions DROP COLUMN title;
ALTER TABLE sessions DROP COLUMN close_time;
ALTER TABLE sessions DROP COLUMN close_reason;
ALTER TABLE users DROP COLUMN display_name;
ALTER TABLE users DROP COLUMN email;
ALTER TABLE users DROP COLUMN country_code;

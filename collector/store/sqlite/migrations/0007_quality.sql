-- What is odd, found without looking at everything. Rows from before have to be replayed to be found.
ALTER TABLE sessions ADD COLUMN odd INTEGER NOT NULL DEFAULT 0;    -- 1 never opened, 2 conflicting users, 3 both
CREATE INDEX sessions_odd ON sessions (project, id, odd) WHERE odd <> 0;
CREATE INDEX messages_versions ON messages (project, session_id, idx, versions) WHERE versions > 1;
ALTER TABLE facts ADD COLUMN clock INTEGER NOT NULL DEFAULT 0;     -- 1 ahead, 2 refused
CREATE INDEX facts_clock ON facts (project, clock) WHERE clock <> 0;
CREATE INDEX set_aside_reason ON set_aside (project, reason, size);
CREATE INDEX set_aside_list ON set_aside (project, seq);

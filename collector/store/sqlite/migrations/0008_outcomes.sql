-- How a message came about, as JSON (collector.Detail), or empty; with the event that told it, which need not be the one
-- that is shown: another may have told the same text again and nothing else.
ALTER TABLE messages ADD COLUMN detail TEXT NOT NULL DEFAULT '';

-- What an app says about a session at any length, beside the state for the reason custom properties are: data and labels.
ALTER TABLE session_properties ADD COLUMN texts TEXT NOT NULL DEFAULT '{}';

-- The last word on each tag of a session, or of a run where run_id is not empty.
CREATE TABLE tags (
	project    TEXT NOT NULL,
	session_id TEXT NOT NULL,
	run_id     TEXT NOT NULL,
	tag        TEXT NOT NULL,
	present    INTEGER NOT NULL,   -- 1 added, 0 removed
	event_time INTEGER NOT NULL,
	event_id   TEXT NOT NULL,
	PRIMARY KEY (project, session_id, run_id, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_present ON tags (project, tag, session_id) WHERE present = 1 AND run_id = '';

-- A rating beside the thumb, on its scale, and what was ticked.
ALTER TABLE votes ADD COLUMN score REAL;
ALTER TABLE votes ADD COLUMN score_min REAL;
ALTER TABLE votes ADD COLUMN score_max REAL;
ALTER TABLE votes ADD COLUMN reasons TEXT NOT NULL DEFAULT ''; -- a JSON array of strings, or empty

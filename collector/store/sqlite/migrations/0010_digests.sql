-- Sessions in numbers, for metrics (package digest), made behind ingest: a session's digest is due while changed <> digested.
-- changed takes a new random value with everything that is said of the session.
ALTER TABLE sessions ADD COLUMN changed INTEGER NOT NULL DEFAULT 1;
ALTER TABLE sessions ADD COLUMN digested INTEGER NOT NULL DEFAULT 0;
CREATE INDEX sessions_changed ON sessions (seq) WHERE changed <> digested;

-- Rows lie in order of time, as metrics read them.
CREATE TABLE session_digests (
	project       TEXT NOT NULL,
	start_time    INTEGER NOT NULL,
	session_id    TEXT NOT NULL,
	last_activity INTEGER NOT NULL,
	user_id       TEXT NOT NULL,    -- empty where unknown
	test          INTEGER NOT NULL, -- 1 in test mode
	first_day     INTEGER,          -- on which the user wrote, in days since 1970 UTC; NULL for none
	days          TEXT NOT NULL,    -- all of them, a JSON array
	numbers       TEXT NOT NULL,    -- a JSON array of arrays of numbers
	texts         TEXT NOT NULL,    -- what sessions are grouped by, a JSON object
	signs         TEXT NOT NULL,    -- what was seen in texts that may be gone, by message; a JSON object, or empty
	version       INTEGER NOT NULL, -- of the rules
	PRIMARY KEY (project, start_time, session_id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX session_digests_id ON session_digests (project, session_id);
CREATE INDEX session_digests_end ON session_digests (project, last_activity);
-- When users were here, and first; without the rest of the row.
CREATE INDEX session_digests_user ON session_digests (project, user_id, start_time, first_day) WHERE user_id <> '' AND test = 0;
CREATE INDEX session_digests_active ON session_digests (project, last_activity, start_time, user_id, days) WHERE user_id <> '' AND test = 0;
CREATE INDEX session_digests_version ON session_digests (version);

-- One row once the detector of misunderstandings was switched: 1 on, 0 off.
CREATE TABLE digest_rules (
	id       INTEGER PRIMARY KEY CHECK (id = 1),
	detector INTEGER NOT NULL
) STRICT;

-- The same with names. Times are nanoseconds since 1970 UTC; what is not known is NULL.
CREATE VIEW digests AS SELECT
	project, session_id, user_id, start_time, last_activity,
	numbers ->> '$[0][0]' AS user_messages,
	numbers ->> '$[0][1]' AS assistant_messages,
	numbers ->> '$[0][2]' AS human_messages,
	numbers ->> '$[0][3]' AS not_understood,
	numbers ->> '$[0][4]' AS detected,
	numbers ->> '$[0][5]' AS fallbacks,
	numbers ->> '$[0][6]' AS llm_not_understood,
	numbers ->> '$[0][7]' AS llm_response_generated,
	numbers ->> '$[0][8]' AS llm_error_occurred,
	numbers ->> '$[0][9]' AS llm_escalation_required,
	numbers ->> '$[0][10]' AS llm_fallback,
	numbers ->> '$[0][11]' AS is_llm,
	CASE numbers ->> '$[0][12]' WHEN 0 THEN 'noStatus' WHEN 1 THEN 'botHandled' WHEN 2 THEN 'email' WHEN 3 THEN 'agent' WHEN 4 THEN 'customEscalation' WHEN 5 THEN 'failedEscalation' END AS status,
	CASE numbers ->> '$[0][13]' WHEN 0 THEN 'undefined' WHEN 1 THEN 'informed' WHEN 2 THEN 'resolved' WHEN 3 THEN 'escalated' END AS resolution,
	numbers ->> '$[0][14]' AS status_recorded,
	numbers ->> '$[0][15]' AS resolution_recorded,
	numbers ->> '$[0][16]' AS meaningful,
	numbers ->> '$[0][17]' AS answered,
	numbers ->> '$[0][18]' AS asked_human,
	numbers ->> '$[0][19]' AS transferred,
	numbers ->> '$[0][20]' AS unfinished,
	numbers ->> '$[0][21]' AS confirmed,
	numbers ->> '$[0][22]' AS assumed,
	numbers ->> '$[0][23]' AS autonomous,
	numbers ->> '$[0][24]' AS votes_up,
	numbers ->> '$[0][25]' AS votes_down,
	numbers ->> '$[0][26]' AS rated,
	numbers ->> '$[0][27]' AS session_votes,
	numbers ->> '$[0][28]' AS session_positive,
	numbers ->> '$[0][29]' AS known_turns,
	numbers ->> '$[0][30]' AS failed_turns,
	numbers ->> '$[0][31]' AS regenerated,
	numbers ->> '$[0][32]' AS edited,
	numbers ->> '$[0][33]' AS rephrased,
	numbers ->> '$[0][34]' AS rephrasable,
	numbers ->> '$[0][35]' AS cost,
	numbers ->> '$[0][36]' AS input_tokens,
	numbers ->> '$[0][37]' AS output_tokens,
	numbers ->> '$[0][38]' AS first_response,
	numbers ->> '$[0][39]' AS close_time,
	CASE numbers ->> '$[0][40]' WHEN 0 THEN '' WHEN 1 THEN 'explicit' WHEN 2 THEN 'idle' WHEN 3 THEN 'shutdown' WHEN 4 THEN 'transfer' END AS close_reason,
	numbers ->> '$[0][41]' AS test_mode,
	numbers ->> '$[0][42]' AS intents,
	numbers ->> '$[0][43]' AS meaningful_intent,
	numbers ->> '$[0][44]' AS understood_share,
	numbers -> '$[1]' AS latencies,
	numbers -> '$[2]' AS failed_latencies,
	numbers -> '$[3]' AS human_latencies,
	numbers -> '$[4]' AS ttfts,
	numbers -> '$[5]' AS days,
	numbers -> '$[6]' AS pauses,
	coalesce(texts ->> '$.assistant', '') AS assistant,
	coalesce(texts ->> '$.version', '') AS version,
	coalesce(texts ->> '$.channel', '') AS channel,
	coalesce(texts ->> '$.source', '') AS source,
	coalesce(texts ->> '$.language', '') AS language,
	coalesce(texts -> '$.labels', '[]') AS labels,
	texts ->> '$.first_intent' AS first_intent,
	texts ->> '$.last_intent' AS last_intent,
	texts ->> '$.first_meaningful_intent' AS first_meaningful_intent,
	texts ->> '$.last_meaningful_intent' AS last_meaningful_intent
FROM session_digests;

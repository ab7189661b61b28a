-- What is gone of an event: 0 nothing, 1 its content, 2 everything but that it was here. Its id stays, so that the same
-- event is known when it comes again.
ALTER TABLE facts ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
-- By what versions are told apart once the content of a message is gone.
ALTER TABLE facts ADD COLUMN version BLOB;
ALTER TABLE messages ADD COLUMN version BLOB;
CREATE INDEX facts_age ON facts (gone, time);

-- How many bytes raw had, which may be gone.
ALTER TABLE set_aside ADD COLUMN size INTEGER NOT NULL DEFAULT 0;
UPDATE set_aside SET size = length(raw);
CREATE INDEX set_aside_age ON set_aside (receive_time) WHERE raw <> x'';

-- What was done to the data by hand, without content or identity.
CREATE TABLE audit (
	seq     INTEGER PRIMARY KEY,
	time    INTEGER NOT NULL,
	project TEXT NOT NULL,
	action  TEXT NOT NULL,
	actor   TEXT NOT NULL,
	detail  TEXT NOT NULL
) STRICT;

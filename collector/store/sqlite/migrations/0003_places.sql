-- The turn that feedback may name instead of an index, as a number (derive.go); 0 where there is none.
ALTER TABLE messages ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;

-- 1 for a message behind the end of the transcript that was told last.
ALTER TABLE messages ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0;
CREATE INDEX messages_hidden ON messages (project) WHERE hidden = 1; -- few, and counted with all the others

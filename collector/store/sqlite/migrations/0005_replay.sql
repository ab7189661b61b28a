-- Whether facts that spoke of it are gone. Such a row cannot be made again from facts, so a replay starts from it.
ALTER TABLE sessions ADD COLUMN based INTEGER NOT NULL DEFAULT 0;
ALTER TABLE users ADD COLUMN based INTEGER NOT NULL DEFAULT 0;
ALTER TABLE votes ADD COLUMN based INTEGER NOT NULL DEFAULT 0;

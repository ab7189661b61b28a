-- When a key stops working, and when it last was of use, to the hour. 0 is never.
ALTER TABLE keys ADD COLUMN expire_time INTEGER NOT NULL DEFAULT 0;
ALTER TABLE keys ADD COLUMN last_used INTEGER NOT NULL DEFAULT 0;

-- Browsers that are signed in, and links that sign one in. Only hashes of secrets are kept.
CREATE TABLE logins (
	hash        BLOB PRIMARY KEY, -- SHA-256
	project     TEXT NOT NULL,    -- empty for all
	scope       TEXT NOT NULL,
	key         BLOB NOT NULL,    -- hash of the key it was signed in with, or empty
	create_time INTEGER NOT NULL,
	expire_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE links (
	hash        BLOB PRIMARY KEY, -- SHA-256
	project     TEXT NOT NULL,    -- empty for all
	scope       TEXT NOT NULL,
	expire_time INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What somebody wanted now is fired once, however often it is asked for under this key.

ALTER TABLE firings ADD COLUMN key TEXT;
CREATE UNIQUE INDEX firings_by_key ON firings (key) WHERE key IS NOT NULL;

-- A message that goes out may have a file: JSON {name, group, path, spool, media_type, bytes}; NULL when it has none. Its text is
-- the caption then, and may be empty.
ALTER TABLE outbox ADD COLUMN file TEXT;
-- Which files of the spool are still needed is asked every hour, and looked up.
CREATE INDEX outbox_files_needed ON outbox (id)
    WHERE file IS NOT NULL AND state IN ('pending', 'sending', 'failed', 'unknown');

-- Since when a folder is no group any more, so that what was kept for it can go some time after that.

CREATE TABLE removed_groups (
    folder        TEXT   PRIMARY KEY,
    removed_at_ms BIGINT NOT NULL
);
-- Of those that were removed before this was noted, from now on.
INSERT INTO removed_groups (folder, removed_at_ms)
SELECT DISTINCT group_folder, CAST(strftime('%s', 'now') AS INTEGER) * 1000
FROM runs WHERE group_folder NOT IN (SELECT folder FROM groups);

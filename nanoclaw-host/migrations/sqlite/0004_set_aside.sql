CREATE TABLE set_aside (
    -- Messages that a group went on without, a row for each time. Rows are never deleted.
    place        INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they were set aside
    group_folder TEXT    NOT NULL,                  -- with last_seq the name people use: family/17
    chat         TEXT    NOT NULL,
    first_seq    BIGINT  NOT NULL,                  -- both included; every message of the chat between them
    last_seq     BIGINT  NOT NULL,
    reason       TEXT    NOT NULL,
    run_number   BIGINT,                            -- the run that failed last; NULL when none was to blame
    at_ms        BIGINT  NOT NULL,
    state        TEXT    NOT NULL,                  -- 'kept', 'retried', 'dropped'
    resolved_at_ms BIGINT,                          -- NULL while it is kept
    UNIQUE (group_folder, last_seq)
);
CREATE INDEX set_aside_kept ON set_aside (place) WHERE state = 'kept';

-- What was given up before there was this table: what was given up together has the same moment.
INSERT INTO set_aside (group_folder, chat, first_seq, last_seq, reason, run_number, at_ms, state)
SELECT g.folder, m.chat, MIN(m.seq), MAX(m.seq), 'was given up by an earlier version', NULL, m.given_up_at_ms, 'kept'
FROM messages m JOIN groups g ON g.chat = m.chat
WHERE m.given_up_at_ms IS NOT NULL
GROUP BY g.folder, m.chat, m.given_up_at_ms
ORDER BY MAX(m.seq);

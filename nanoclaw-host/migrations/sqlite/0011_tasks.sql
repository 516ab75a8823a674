-- What is scheduled, and what became of each due time.

CREATE TABLE tasks (
    -- Rows are never deleted: the record of a task outlives it.
    place          INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they were made
    id             TEXT    NOT NULL UNIQUE,           -- 'task-' and the place
    key            TEXT    NOT NULL UNIQUE,           -- of the request for it: the same again is the same task
    group_folder   TEXT    NOT NULL,                  -- whose; the group may be removed since
    created_by     TEXT    NOT NULL,                  -- the folder of the group that asked for it
    prompt         TEXT    NOT NULL,
    script         TEXT,                              -- what runs before the agent
    kind           TEXT    NOT NULL,                  -- 'cron', 'interval', 'once'
    value          TEXT    NOT NULL,                  -- the expression, milliseconds, or the local time
    zone           TEXT    NOT NULL,                  -- the name of the zone in which that is meant
    anchor_ms      BIGINT  NOT NULL,                  -- from when an interval counts
    context        TEXT    NOT NULL,                  -- 'group', 'isolated', 'own'
    catch_up       TEXT    NOT NULL,                  -- 'skip', 'once', 'all'
    overlap        TEXT    NOT NULL,                  -- 'skip', 'queue'
    silent         INTEGER NOT NULL,                  -- 1: results are not sent to the chat
    status         TEXT    NOT NULL,                  -- 'active', 'paused', 'completed', 'cancelled'
    paused_why     TEXT,                              -- when the host put it to rest
    next_due_ms    BIGINT,                            -- NULL when it is not due again
    failures       BIGINT  NOT NULL DEFAULT 0,        -- firings in a row that failed
    wrong_since_ms BIGINT,                            -- due time of the first that went wrong since one went well
    created_at_ms  BIGINT  NOT NULL
);
-- So that the next due time is one step away, however many tasks there are.
CREATE INDEX tasks_due ON tasks (next_due_ms) WHERE status = 'active' AND next_due_ms IS NOT NULL;
CREATE INDEX tasks_by_group ON tasks (group_folder, place);

CREATE TABLE firings (
    -- A due time that was claimed: one row, whatever dies, since no time of a task is claimed twice.
    id            INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id       TEXT    NOT NULL REFERENCES tasks (id),
    due_ms        BIGINT  NOT NULL,
    state         TEXT    NOT NULL,                   -- 'waiting', 'running', 'done', 'failed', 'skipped', 'cancelled'
    not_before_ms BIGINT  NOT NULL,                   -- it is not begun before this
    tries         BIGINT  NOT NULL DEFAULT 0,         -- runs that were begun for it
    faults        BIGINT  NOT NULL DEFAULT 0,         -- how many of those count against it
    run_number    BIGINT,                             -- the last of them, of the task's group
    started_at_ms BIGINT,
    ended_at_ms   BIGINT,
    answered      INTEGER NOT NULL DEFAULT 0,         -- 1: its agent has said that it is done; it is not run again
    text          TEXT,                               -- what the agent said
    remark        TEXT,
    cost_micros   BIGINT,                             -- millionths of a dollar
    UNIQUE (task_id, due_ms)
);
CREATE INDEX firings_open ON firings (state, id) WHERE state IN ('waiting', 'running');
CREATE INDEX firings_by_task ON firings (task_id, id);

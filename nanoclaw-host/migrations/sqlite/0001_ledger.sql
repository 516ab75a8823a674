-- Everything the host must not forget. Moments are UTC milliseconds since 1970 (`…_ms`); order is never taken from them.
-- The comments are inside the tables so that `.schema` shows them.

CREATE TABLE meta (
    -- Facts about the installation itself: 'install_id'.
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);

CREATE TABLE chats (
    -- Every chat ever seen, registered or not; never what was said in it.
    chat         TEXT PRIMARY KEY NOT NULL,
    channel      TEXT   NOT NULL,
    name         TEXT,
    kind         TEXT,                -- 'group', 'private'; NULL when the service did not tell
    last_seen_ms BIGINT NOT NULL
);

CREATE TABLE groups (
    -- Registered chats. A row is never replaced: one chat a group, one group a chat, one main group.
    place            INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they were registered
    folder           TEXT    NOT NULL UNIQUE,
    chat             TEXT    NOT NULL UNIQUE,
    name             TEXT    NOT NULL,
    trigger_kind     TEXT    NOT NULL,                  -- 'always', 'assistant_name', 'words'
    trigger_words    TEXT,                              -- for 'words'
    role             TEXT    NOT NULL,                  -- 'main', 'ordinary'
    added_at_ms      BIGINT  NOT NULL,
    answered_through BIGINT  NOT NULL,                  -- the cursor: messages up to this seq are answered or given up
    failures         BIGINT  NOT NULL DEFAULT 0         -- failed runs since the last block or giving up
);
CREATE UNIQUE INDEX groups_one_main ON groups (role) WHERE role = 'main';

CREATE TABLE messages (
    -- The inbox: what was said in registered chats. Rows are never deleted.
    seq               INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of arrival, over all chats
    chat              TEXT    NOT NULL REFERENCES chats (chat),
    id                TEXT    NOT NULL,                  -- the service's; unique within the chat
    channel           TEXT    NOT NULL,
    chat_kind         TEXT,                              -- as in chats
    sender            TEXT    NOT NULL,
    sender_name       TEXT    NOT NULL,
    author            TEXT    NOT NULL,                  -- 'person', 'owner'
    text              TEXT    NOT NULL,
    sent_at_ms        BIGINT  NOT NULL,                  -- the service's clock
    quote_id          TEXT,                              -- of the message it replies to; NULL when to none
    quote_sender_name TEXT,
    quote_text        TEXT,
    attachments       TEXT    NOT NULL,                  -- JSON array of {kind, path, name}
    wakes             INTEGER NOT NULL,                  -- 1: it wakes the agent; 0: context for a later one
    accepted_at_ms    BIGINT  NOT NULL,
    given_up_at_ms    BIGINT,                            -- set when it was given up after the last retry
    UNIQUE (chat, id)
);
CREATE INDEX messages_by_chat ON messages (chat, seq);
-- So that the host's start looks at one row a group, however long the inbox is.
CREATE INDEX messages_that_wake ON messages (chat, seq) WHERE wakes = 1;
CREATE INDEX messages_given_up ON messages (chat, seq) WHERE given_up_at_ms IS NOT NULL;

CREATE TABLE sessions (
    -- The conversation to resume, of the chat and of each task of a group.
    group_folder TEXT NOT NULL REFERENCES groups (folder) ON DELETE CASCADE,
    context      TEXT NOT NULL,       -- 'chat', or 'task:' and the task's id
    session_id   TEXT NOT NULL,
    PRIMARY KEY (group_folder, context)
);

CREATE TABLE runs (
    -- One container's life each. They outlive their group's registration, so that numbers are never reused.
    place         INTEGER PRIMARY KEY AUTOINCREMENT, -- the order in which they were opened
    group_folder  TEXT    NOT NULL,
    number        BIGINT  NOT NULL,                  -- rises within the group
    kind          TEXT    NOT NULL,                  -- 'chat', 'task'
    task_id       TEXT,                              -- for 'task'
    runtime       TEXT    NOT NULL,                  -- 'docker', 'podman', 'sandbox'
    started_at_ms BIGINT  NOT NULL,
    ended_at_ms   BIGINT,                            -- NULL while it is open
    ending        TEXT,                              -- the word for how it ended
    detail        TEXT,                              -- the sentence for how it ended
    UNIQUE (group_folder, number)
);
CREATE UNIQUE INDEX runs_one_open ON runs (group_folder) WHERE ended_at_ms IS NULL;

CREATE TABLE turns (
    -- What was handed to a run, one row a prompt.
    group_folder TEXT   NOT NULL,
    run_number   BIGINT NOT NULL,
    number       BIGINT NOT NULL,     -- its place in the run, from 1
    first_seq    BIGINT NOT NULL,     -- both included; every message of the chat between them
    last_seq     BIGINT NOT NULL,
    handed_at_ms BIGINT NOT NULL,
    state        TEXT   NOT NULL,     -- 'open', 'answered', 'unanswered'
    ended_at_ms  BIGINT,              -- NULL while it is open
    PRIMARY KEY (group_folder, run_number, number),
    FOREIGN KEY (group_folder, run_number) REFERENCES runs (group_folder, number)
);

CREATE TABLE outbox (
    -- What goes out. A row is sent with its key, so that no retry shows it twice where the service can tell.
    id            INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of delivery within a chat
    key           TEXT    NOT NULL UNIQUE,
    chat          TEXT    NOT NULL,
    text          TEXT    NOT NULL,
    state         TEXT    NOT NULL,                  -- 'pending', 'sent', 'failed'
    attempts      BIGINT  NOT NULL DEFAULT 0,
    not_before_ms BIGINT  NOT NULL,
    last_error    TEXT,
    posted_at_ms  BIGINT  NOT NULL,
    sent_at_ms    BIGINT,
    platform_id   TEXT                               -- the service's id of the sent message, when it told one
);
CREATE INDEX outbox_pending ON outbox (id) WHERE state = 'pending';
CREATE INDEX outbox_pending_by_chat ON outbox (chat, id) WHERE state = 'pending';

CREATE TABLE blocks (
    -- The blocks of runs that were committed; the same block by another way (stream, journal) is recognised here.
    group_folder    TEXT   NOT NULL,
    run_number      BIGINT NOT NULL,
    number          BIGINT NOT NULL,  -- its place in the run's output, from 1
    answers         BIGINT,           -- the cursor it justified; NULL when it answered nothing
    outbox_id       BIGINT REFERENCES outbox (id),
    committed_at_ms BIGINT NOT NULL,
    PRIMARY KEY (group_folder, run_number, number),
    FOREIGN KEY (group_folder, run_number) REFERENCES runs (group_folder, number)
);

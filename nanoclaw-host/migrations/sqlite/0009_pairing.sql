CREATE TABLE pairing (
    -- The last pairing, also when it is over: a code that somebody writes in a private chat registers that chat. Its code is
    -- nowhere but with whoever asked for it.
    place      INTEGER PRIMARY KEY CHECK (place = 1), -- one row
    id         TEXT   NOT NULL,                       -- salts the hash
    hash       TEXT   NOT NULL,                       -- of the code
    registers  TEXT   NOT NULL,                       -- JSON {folder, name, trigger, role}: the group, but for its chat
    ends_at_ms BIGINT NOT NULL,
    tried      TEXT   NOT NULL,                       -- JSON array of {chat, message}: wrong codes
    ended      TEXT                                   -- JSON: how it ended before its time; NULL when it did not
);

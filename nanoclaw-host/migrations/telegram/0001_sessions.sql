-- What the client of Telegram has to remember, for each bot that was used here. Bots are told apart by their ids, so that another
-- bot's token begins anew and finds its own things again when it comes back.

CREATE TABLE bots (
    bot      INTEGER NOT NULL PRIMARY KEY,
    -- The data center that the bot's account is kept in.
    home_dc  INTEGER NOT NULL,
    -- Of the token with which it signed in: eight digits by which another one is told. NULL: it did not yet.
    token    TEXT,
    -- Up to where its updates were taken in: pts, qts, date and seq of core.telegram.org/api/updates.
    pts      INTEGER NOT NULL,
    qts      INTEGER NOT NULL,
    date     INTEGER NOT NULL,
    seq      INTEGER NOT NULL
) STRICT;

-- Up to where the updates of its supergroups were taken in.
CREATE TABLE channels (
    bot  INTEGER NOT NULL,
    id   INTEGER NOT NULL,
    pts  INTEGER NOT NULL,
    PRIMARY KEY (bot, id)
) STRICT, WITHOUT ROWID;

-- Where Telegram's data centers are. The key is a full credential of the bot's.
CREATE TABLE data_centers (
    bot       INTEGER NOT NULL,
    id        INTEGER NOT NULL,
    ipv4      TEXT    NOT NULL,
    ipv6      TEXT    NOT NULL,
    auth_key  BLOB,
    PRIMARY KEY (bot, id)
) STRICT, WITHOUT ROWID;

-- The people and supergroups that it met; without its hash none can be written to. The id is that of the Bot API.
CREATE TABLE peers (
    bot     INTEGER NOT NULL,
    id      INTEGER NOT NULL,
    hash    INTEGER,
    -- Of people: whether it is a bot, and whether it is this one. Of supergroups: NULL.
    is_bot  INTEGER,
    is_self INTEGER,
    PRIMARY KEY (bot, id)
) STRICT, WITHOUT ROWID;

-- What the client library has to remember of one linked account. All of it is as good as a password: keys, and sessions that change with
-- every message. Values that are blobs are the library's, unread here. Times are seconds since 1970-01-01 UTC, as the library has them.

-- The account itself, one row. `refused` is why WhatsApp does not know it any more, and since when (in milliseconds); the row
-- stays then, until somebody links again.
CREATE TABLE device (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    device          TEXT    NOT NULL,
    refused         TEXT,
    refused_at_ms   INTEGER
) STRICT;

CREATE TABLE identities    (address TEXT PRIMARY KEY, key BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE sessions      (address TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE prekeys       (id INTEGER PRIMARY KEY, record BLOB NOT NULL, uploaded INTEGER NOT NULL) STRICT;
CREATE TABLE signed_prekeys (id INTEGER PRIMARY KEY, record BLOB NOT NULL) STRICT;
CREATE TABLE sender_keys   (address TEXT PRIMARY KEY, record BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- `stored` rises: the key with the highest is the latest.
CREATE TABLE sync_keys     (stored INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, key TEXT NOT NULL) STRICT;
CREATE TABLE sync_versions (name TEXT PRIMARY KEY, state TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE mutation_macs (name TEXT NOT NULL, index_mac BLOB NOT NULL, value_mac BLOB NOT NULL,
                            PRIMARY KEY (name, index_mac)) STRICT, WITHOUT ROWID;

CREATE TABLE sender_key_devices (chat TEXT NOT NULL, device TEXT NOT NULL, has_key INTEGER NOT NULL,
                            PRIMARY KEY (chat, device)) STRICT, WITHOUT ROWID;
CREATE TABLE lid_mappings  (lid TEXT PRIMARY KEY, mapping TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- The latest LID of a phone number.
CREATE TABLE phone_lids    (phone TEXT PRIMARY KEY, lid TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE base_keys     (address TEXT NOT NULL, message TEXT NOT NULL, key BLOB NOT NULL,
                            PRIMARY KEY (address, message)) STRICT, WITHOUT ROWID;
CREATE TABLE device_lists  (user TEXT PRIMARY KEY, list TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE group_metadata (chat TEXT PRIMARY KEY, metadata BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE trust_tokens  (contact TEXT PRIMARY KEY, token BLOB NOT NULL, token_at INTEGER NOT NULL,
                            sender_at INTEGER) STRICT, WITHOUT ROWID;
CREATE TABLE sent_messages (chat TEXT NOT NULL, id TEXT NOT NULL, message BLOB NOT NULL, at INTEGER NOT NULL,
                            PRIMARY KEY (chat, id)) STRICT, WITHOUT ROWID;
-- Messages that are decrypted and not taken in by the host yet.
CREATE TABLE pending_inbound (chat TEXT NOT NULL, sender TEXT NOT NULL, id TEXT NOT NULL, message BLOB NOT NULL, at INTEGER NOT NULL,
                            PRIMARY KEY (chat, sender, id)) STRICT, WITHOUT ROWID;
CREATE TABLE message_secrets (chat TEXT NOT NULL, sender TEXT NOT NULL, id TEXT NOT NULL, secret BLOB NOT NULL,
                            expires_at INTEGER NOT NULL, message_at INTEGER NOT NULL,
                            PRIMARY KEY (chat, sender, id)) STRICT, WITHOUT ROWID;
CREATE INDEX sent_messages_by_age ON sent_messages (at);
CREATE INDEX message_secrets_by_age ON message_secrets (expires_at);

-- What something in the outbox is an answer to: a message of the inbox by its place (which is the original's, when it was said again),
-- or one that is not kept there, such as a command.
ALTER TABLE outbox ADD COLUMN answers_seq BIGINT;   -- NULL when it is an answer to nothing in the inbox
ALTER TABLE outbox ADD COLUMN answers_message TEXT; -- JSON {reply_to, thread}; NULL when it is an answer to nothing else
CREATE INDEX outbox_answers ON outbox (answers_seq, id) WHERE answers_seq IS NOT NULL;

-- The thread or topic that it was written in, by the service's id of that; NULL in the chat's main stream.
ALTER TABLE messages ADD COLUMN thread TEXT;

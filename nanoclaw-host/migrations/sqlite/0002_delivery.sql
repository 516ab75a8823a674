-- What is known of a message between the beginning of its sending and the record of its end; see docs/delivery.md.
--
-- outbox.state is 'pending', 'sending' (it was sent, or was not, should its host have died), 'sent', 'failed', 'unknown'
-- (nobody can tell whether it was sent; a person decides) or 'dropped' (a person decided that it need not be sent).

-- How often a person decided about the message.
ALTER TABLE outbox ADD COLUMN decisions BIGINT NOT NULL DEFAULT 0;

-- What is to be sent is looked up by these.
DROP INDEX outbox_pending;
DROP INDEX outbox_pending_by_chat;
CREATE INDEX outbox_to_be_sent ON outbox (id) WHERE state IN ('pending', 'sending');
CREATE INDEX outbox_to_be_sent_by_chat ON outbox (chat, id) WHERE state IN ('pending', 'sending');

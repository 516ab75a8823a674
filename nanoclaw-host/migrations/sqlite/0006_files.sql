-- Which files of the spool are still needed is asked every hour, and looked up: a message without attachments is in no part of
-- this index.
CREATE INDEX messages_with_files ON messages (chat, seq) WHERE attachments <> '[]';

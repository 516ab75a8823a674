-- A chat has conversations by name. Those that are put aside are in `sessions` as 'aside:' and their name; the one that the chat goes on with
-- stays 'chat'.

ALTER TABLE groups ADD COLUMN session_name TEXT NOT NULL DEFAULT 'default'; -- what the chat's conversation is called
ALTER TABLE runs ADD COLUMN session_aside TEXT; -- under which name the conversation of the open run was put aside meanwhile

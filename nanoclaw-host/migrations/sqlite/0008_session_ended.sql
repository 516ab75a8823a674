-- Whether somebody ended the run's conversation while it ran (the command /new): it answers what it has, and the session that its
-- blocks name is not kept.
ALTER TABLE runs ADD COLUMN session_ended INTEGER NOT NULL DEFAULT 0;

-- What a host must know of runs that it did not start itself: how far each turn got, and how to read the agent's blocks.
-- The states of a turn are now 'handed', 'taken', 'answered', 'unanswered'; 'open' was the first two in one.

ALTER TABLE turns ADD COLUMN taken_at_ms BIGINT;     -- NULL when it was never seen that the agent has it
UPDATE turns SET taken_at_ms = ended_at_ms WHERE state = 'answered';
UPDATE turns SET state = 'handed' WHERE state = 'open';

ALTER TABLE runs ADD COLUMN names_messages INTEGER;  -- 1: its blocks say what they answer; 0: they do not; NULL: no block yet

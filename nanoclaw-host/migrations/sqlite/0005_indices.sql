-- What is asked at each start, and what people list, is looked up and not searched for, however long the history is. Both
-- indices are partial: a row that takes its usual way is never in the first, and in the second only while its run is open.
CREATE INDEX outbox_in_trouble ON outbox (id) WHERE state IN ('failed', 'unknown', 'dropped');
CREATE INDEX runs_open ON runs (place) WHERE ended_at_ms IS NULL;

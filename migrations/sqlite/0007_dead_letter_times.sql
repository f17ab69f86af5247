-- When an event was put aside, in milliseconds since the Unix epoch; 0 for what was put aside
-- before this was kept.
ALTER TABLE dead_letters ADD COLUMN at INTEGER NOT NULL DEFAULT 0;

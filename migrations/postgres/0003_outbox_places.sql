-- After a loss the rows whose events stood above a position are looked for.

CREATE INDEX outbox_places ON outbox (merchant_id, group_id, seq) WHERE seq IS NOT NULL;

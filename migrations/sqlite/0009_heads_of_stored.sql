-- The head of a log that is gone is its newest stored event.
DROP TABLE durable_heads;

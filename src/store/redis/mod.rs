//! The production log: Redis Streams. The only folder that names its driver.

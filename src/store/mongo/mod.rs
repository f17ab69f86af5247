//! The production message store: MongoDB. The only folder that names its driver.

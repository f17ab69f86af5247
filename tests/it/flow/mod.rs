//! What the whole product does, one file per behaviour.

mod faults;

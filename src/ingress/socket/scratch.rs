//! The read buffer that all connections of a thread share.
//!
//! A connection needs a buffer only while it decodes what it just read, which never waits; so one
//! buffer per thread serves any number of connections. Its content is garbage before and after each
//! use.

use std::{cell::Cell, mem};

/// Read at most at once, in bytes. More would gain little: a message of a chat is far shorter, and
/// a flood is to be interrupted after each read.
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the buffer of this thread. A call inside `f` gets a buffer of its own.
pub(super) fn with<R>(f: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut scratch = SCRATCH.take();
    if scratch.is_empty() {
        scratch = vec![0; SCRATCH_BYTES];
    }
    let result = f(&mut scratch);
    SCRATCH.set(mem::take(&mut scratch));
    result
}

#[cfg(test)]
mod tests {
    use super::{SCRATCH_BYTES, with};

    #[test]
    fn buffer_is_the_same_each_time() {
        let first = with(|scratch| scratch.as_ptr().addr());
        let second = with(|scratch| scratch.as_ptr().addr());
        assert_eq!(first, second);
    }

    #[test]
    fn inner_call_gets_its_own_buffer() {
        with(|outer| {
            outer[0] = 1;
            with(|inner| assert_eq!((inner.len(), inner[0]), (SCRATCH_BYTES, 0)));
            assert_eq!(outer[0], 1);
        });
    }
}

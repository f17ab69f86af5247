//! Which piece of work something belongs to, across tasks, processes and stores: a place in a trace
//! (W3C Trace Context). Its id is the one thing by which a request, its line in the log of each
//! process and its spans elsewhere are found together.

use std::fmt;

/// A place in a trace: the trace, and the span under which what follows belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// The trace's id.
    pub id: TraceId,
    /// The span's id.
    pub span: [u8; 8],
    /// Whether spans of it are exported.
    pub is_sampled: bool,
}

/// The id of a trace; not all zero. Shown as 32 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(pub [u8; 16]);

impl Trace {
    /// The bytes that a log keeps with an entry.
    pub const BYTES: usize = 25;

    /// Id, span and whether it is sampled.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.id.0);
        bytes[16..24].copy_from_slice(&self.span);
        bytes[24] = u8::from(self.is_sampled);
        bytes
    }

    /// What [`Trace::to_bytes`] made; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (id, rest) = bytes.split_first_chunk()?;
        let (span, rest) = rest.split_first_chunk()?;
        let is_sampled = match rest {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        Some(Self {
            id: TraceId(*id),
            span: *span,
            is_sampled,
        })
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_reads_back_and_nothing_else_is_one() {
        for is_sampled in [false, true] {
            let trace = Trace {
                id: TraceId([0xab; 16]),
                span: [7; 8],
                is_sampled,
            };
            let bytes = trace.to_bytes();
            assert_eq!(Trace::from_bytes(&bytes), Some(trace));
            assert_eq!(Trace::from_bytes(&bytes[..24]), None);
        }
        assert_eq!(Trace::from_bytes(&[2; Trace::BYTES]), None);
        assert_eq!(TraceId([0xab; 16]).to_string(), "ab".repeat(16));
    }
}

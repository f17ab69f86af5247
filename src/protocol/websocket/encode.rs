//! Whole frames from server to client, ready for the wire.
//!
//! Server frames are not masked (RFC 6455 5.1), so one encoded frame is the same for every session
//! and is shared by reference count. Each function makes one allocation of the exact size.

use bytes::Bytes;

use crate::protocol::websocket::{
    close::{CloseReason, REASON_BYTES_MAX},
    header::{CONTROL_BYTES_MAX, HEADER_BYTES_MAX, Header, Opcode},
};

/// A whole text message in one frame. `text` must be UTF-8: it is taken as bytes because encoders
/// of JSON give bytes.
pub fn text_frame(text: &[u8]) -> Bytes {
    frame(Opcode::Text, text)
}

/// A whole binary message in one frame.
pub fn binary_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Binary, payload)
}

/// Asks the peer for a pong; `payload` beyond 125 bytes is cut off.
pub fn ping_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Ping, cut(payload))
}

/// Answers a ping with its payload; beyond 125 bytes, which no ping has, it is cut off.
pub fn pong_frame(payload: &[u8]) -> Bytes {
    frame(Opcode::Pong, cut(payload))
}

/// Begins or answers the closing handshake. A reason beyond 123 bytes is cut at the last whole
/// character; without a reason the frame is empty, as the answer to an empty one must be.
pub fn close_frame(reason: Option<CloseReason<'_>>) -> Bytes {
    let Some(CloseReason { code, reason }) = reason else {
        return frame(Opcode::Close, b"");
    };
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    let mut payload = Vec::with_capacity(CONTROL_BYTES_MAX);
    payload.extend(code.get().to_be_bytes());
    payload.extend(reason.as_bytes());
    frame(Opcode::Close, &payload)
}

fn cut(payload: &[u8]) -> &[u8] {
    &payload[..payload.len().min(CONTROL_BYTES_MAX)]
}

fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let payload_bytes = u64::try_from(payload.len()).expect("usize has at most 64 bits");
    let header = Header {
        fin: true,
        opcode,
        mask: None,
        payload_bytes,
    };
    let mut out = Vec::with_capacity(header_bytes(payload.len()) + payload.len());
    header.encode(&mut out);
    out.extend_from_slice(payload);
    Bytes::from(out)
}

/// Length of an unmasked header, so that the vector is full and becomes `Bytes` without a copy.
const fn header_bytes(payload_bytes: usize) -> usize {
    match payload_bytes {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => HEADER_BYTES_MAX - 4,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::{close_frame, header_bytes, ping_frame, pong_frame, text_frame};
    use crate::protocol::websocket::{
        close::{self, CloseCode, CloseReason},
        header::{Header, Opcode},
    };

    #[test]
    fn unmasked_hello_is_the_example_of_rfc_6455() {
        assert_eq!(text_frame(b"Hello"), b"\x81\x05Hello".as_slice());
        assert_eq!(ping_frame(b"Hello"), b"\x89\x05Hello".as_slice());
        assert_eq!(pong_frame(b"Hello"), b"\x8a\x05Hello".as_slice());
    }

    #[test]
    fn close_without_a_reason_is_empty() {
        assert_eq!(close_frame(None), b"\x88\x00".as_slice());
    }

    #[test]
    fn long_reason_is_cut_between_characters() {
        let long = "群".repeat(60);
        let reason = CloseReason {
            code: CloseCode::new(4408),
            reason: &long,
        };
        let frame = close_frame(Some(reason));
        let parsed = close::parse(&frame[2..]).unwrap().unwrap();
        assert_eq!(parsed.code.get(), 4408);
        assert_eq!(parsed.reason, "群".repeat(41));
    }

    #[test]
    fn frame_fills_its_allocation() {
        for length in [0, 125, 126, 0xFFFF, 0x10000] {
            let frame = text_frame(&vec![b'x'; length]);
            assert_eq!(frame.len(), header_bytes(length) + length);
        }
    }

    proptest! {
        #[test]
        fn text_frame_parses_back(text: String) {
            let frame = text_frame(text.as_bytes());
            let (header, header_bytes) = Header::parse(&frame).unwrap().unwrap();
            assert_eq!((header.fin, header.opcode, header.mask), (true, Opcode::Text, None));
            assert_eq!(&frame[header_bytes..], text.as_bytes());
        }
    }
}

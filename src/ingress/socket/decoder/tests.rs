use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};

use super::{Decoder, Item, Limits};
use crate::{
    ingress::socket::fault::ProtocolError,
    protocol::websocket::{
        close::CloseCode,
        header::{Header, Opcode},
        mask,
    },
};

const LIMITS: Limits = Limits {
    message_bytes_max: 160 * 1024,
    fragments_max: 1024,
    text_only: true,
};

/// An [`Item`] that outlives its chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
}

impl From<Item<'_>> for Seen {
    fn from(item: Item<'_>) -> Self {
        match item {
            Item::Text(text) => Self::Text(text.to_owned()),
            Item::Binary(payload) => Self::Binary(payload.to_vec()),
            Item::Ping(payload) => Self::Ping(payload.to_vec()),
            Item::Pong(payload) => Self::Pong(payload.to_vec()),
            Item::Close(reason) => Self::Close(reason.map(|r| (r.code.get(), r.reason.to_owned()))),
        }
    }
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

fn frame(fin: bool, opcode: Opcode, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let payload_bytes = u64::try_from(payload.len()).unwrap();
    let mut bytes = Vec::new();
    Header {
        fin,
        opcode,
        mask: Some(key),
        payload_bytes,
    }
    .encode(&mut bytes);
    let start = bytes.len();
    bytes.extend(payload);
    mask::apply(&mut bytes[start..], key);
    bytes
}

/// Feeds `stream` in chunks of `sizes` bytes, over and over; returns what came out and how it
/// ended.
fn decode_in(
    limits: Limits,
    stream: &[u8],
    sizes: &[usize],
) -> (Vec<Seen>, Result<(), ProtocolError>) {
    let mut decoder = Decoder::new(limits);
    let mut seen = Vec::new();
    let mut rest = stream.to_vec();
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() {
        let size = sizes
            .next()
            .map_or(rest.len(), |size| (*size).min(rest.len()));
        let later = rest.split_off(size);
        let fed = decoder.feed(&mut rest, |item| seen.push(item.into()));
        if fed.is_err() {
            assert_eq!(decoder.held_bytes(), 0);
            return (seen, fed);
        }
        rest = later;
    }
    (seen, Ok(()))
}

fn decode(stream: &[u8]) -> (Vec<Seen>, Result<(), ProtocolError>) {
    decode_in(LIMITS, stream, &[])
}

fn fault(stream: &[u8]) -> ProtocolError {
    decode(stream).1.unwrap_err()
}

#[test]
fn decoder_is_small() {
    assert!(size_of::<Decoder>() <= 96, "{}", size_of::<Decoder>());
}

#[test]
fn whole_frame_is_not_copied() {
    let mut chunk = frame(true, Opcode::Text, "在吗".as_bytes());
    let range = chunk.as_ptr_range();
    let mut decoder = Decoder::new(LIMITS);
    let mut seen = 0;
    decoder
        .feed(&mut chunk, |item| {
            let Item::Text(text) = item else {
                panic!("not text")
            };
            assert!(range.contains(&text.as_ptr()) && text == "在吗");
            seen += 1;
        })
        .unwrap();
    assert_eq!((seen, decoder.held_bytes()), (1, 0));
}

#[test]
fn many_frames_in_one_chunk_come_in_order() {
    let frames = [
        frame(true, Opcode::Text, b"one"),
        frame(true, Opcode::Ping, b"two"),
        frame(true, Opcode::Pong, b""),
        frame(true, Opcode::Text, b""),
    ];
    let seen = vec![
        text("one"),
        Seen::Ping(b"two".into()),
        Seen::Pong(vec![]),
        text(""),
    ];
    assert_eq!(decode(&frames.concat()), (seen, Ok(())));
}

#[test]
fn empty_frame_at_the_end_of_a_chunk_needs_no_further_byte() {
    assert_eq!(
        decode(&frame(true, Opcode::Text, b"")),
        (vec![text("")], Ok(()))
    );
}

#[test]
fn control_frames_may_stand_between_fragments() {
    let frames = [
        frame(false, Opcode::Text, "群".as_bytes()),
        frame(true, Opcode::Ping, b"?"),
        frame(false, Opcode::Continuation, b""),
        frame(true, Opcode::Pong, b""),
        frame(true, Opcode::Continuation, "流".as_bytes()),
    ];
    let seen = vec![Seen::Ping(b"?".into()), Seen::Pong(vec![]), text("群流")];
    assert_eq!(decode(&frames.concat()), (seen, Ok(())));
}

#[test]
fn nothing_follows_a_close_frame() {
    let frames = [
        frame(false, Opcode::Text, b"unfinished"),
        frame(true, Opcode::Close, b"\x03\xe8bye"),
        frame(true, Opcode::Text, b"late"),
        vec![0xFF; 20],
    ];
    let closed = vec![Seen::Close(Some((1000, "bye".to_owned())))];
    assert_eq!(decode_in(LIMITS, &frames.concat(), &[1]), (closed, Ok(())));
}

#[test]
fn close_may_be_empty() {
    assert_eq!(
        decode(&frame(true, Opcode::Close, b"")),
        (vec![Seen::Close(None)], Ok(()))
    );
}

#[test]
fn items_before_a_fault_are_handed_out_and_none_after() {
    let mut stream = frame(true, Opcode::Text, b"good");
    stream.extend([0xFF, 0x80]);
    let mut decoder = Decoder::new(LIMITS);
    let mut seen: Vec<Seen> = Vec::new();
    assert!(
        decoder
            .feed(&mut stream, |item| seen.push(item.into()))
            .is_err()
    );
    let mut later = frame(true, Opcode::Text, b"late");
    assert!(
        decoder
            .feed(&mut later, |item| seen.push(item.into()))
            .is_ok()
    );
    assert_eq!(seen, [text("good")]);
}

#[test]
fn unmasked_frame_is_refused() {
    assert_eq!(fault(b"\x81\x02hi"), ProtocolError::Unmasked);
}

#[test]
fn fragments_must_belong_together() {
    let stray = frame(true, Opcode::Continuation, b"x");
    assert_eq!(fault(&stray), ProtocolError::NothingToContinue);
    let nested = [
        frame(false, Opcode::Text, b"a"),
        frame(true, Opcode::Text, b"b"),
    ];
    assert_eq!(fault(&nested.concat()), ProtocolError::MessageInsideMessage);
    let after_whole = [frame(true, Opcode::Text, b"a"), stray];
    assert_eq!(
        fault(&after_whole.concat()),
        ProtocolError::NothingToContinue
    );
}

#[test]
fn binary_is_refused_by_its_header() {
    let stream = frame(true, Opcode::Binary, b"x");
    let error = fault(&stream[..6]);
    assert_eq!(error, ProtocolError::BinaryRefused);
    assert_eq!(error.close_code(), CloseCode::UNSUPPORTED);
}

#[test]
fn binary_passes_where_it_is_taken() {
    let limits = Limits {
        text_only: false,
        ..LIMITS
    };
    let frames = [
        frame(false, Opcode::Binary, b"\xff"),
        frame(true, Opcode::Continuation, b"\0"),
    ];
    let seen = vec![Seen::Binary(b"\xff\0".into())];
    assert_eq!(decode_in(limits, &frames.concat(), &[3]), (seen, Ok(())));
}

#[test]
fn longest_message_passes_and_one_byte_more_is_refused_by_its_header() {
    let longest = "x".repeat(160 * 1024);
    let stream = frame(true, Opcode::Text, longest.as_bytes());
    assert_eq!(
        decode_in(LIMITS, &stream, &[65536]),
        (vec![text(&longest)], Ok(()))
    );
    let header = &frame(true, Opcode::Text, &vec![b'x'; 160 * 1024 + 1])[..14];
    let error = fault(header);
    assert_eq!(error, ProtocolError::MessageTooBig(160 * 1024));
    assert_eq!(error.close_code(), CloseCode::TOO_BIG);
}

#[test]
fn text_that_is_not_utf8_is_refused_before_its_frame_ends() {
    let stream = frame(true, Opcode::Text, b"\xce\xba\xf4\x90\x80\x80edited");
    for end in [6 + 4, stream.len()] {
        let (seen, result) = decode_in(LIMITS, &stream[..end], &[1]);
        assert!(matches!(result, Err(ProtocolError::InvalidText(_))) && seen.is_empty());
    }
    assert!(decode_in(LIMITS, &stream[..6 + 3], &[1]).1.is_ok());
}

#[test]
fn text_may_not_end_inside_a_character() {
    let error = fault(&frame(true, Opcode::Text, &"群".as_bytes()[..2]));
    assert_eq!(error.close_code(), CloseCode::INVALID_PAYLOAD);
}

#[test]
fn close_codes_tell_protocol_from_text_faults() {
    let code = |payload: &[u8]| fault(&frame(true, Opcode::Close, payload)).close_code();
    assert_eq!(code(b"\x03"), CloseCode::PROTOCOL);
    assert_eq!(code(b"\x03\xed"), CloseCode::PROTOCOL);
    assert_eq!(code(b"\x03\xe8\xff"), CloseCode::INVALID_PAYLOAD);
    assert_eq!(fault(b"\xc1\x80").close_code(), CloseCode::PROTOCOL);
}

/// The frames of one message, cut anywhere, with control frames between them.
fn message() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
    let control = prop_oneof![Just(Opcode::Ping), Just(Opcode::Pong)];
    let between = (control, prop::collection::vec(any::<u8>(), 0..125));
    let cut = (any::<prop::sample::Index>(), prop::option::of(between));
    (any::<String>(), prop::collection::vec(cut, 0..5)).prop_map(|(content, cuts)| {
        let (mut stream, mut seen) = (Vec::new(), Vec::new());
        let mut rest = content.as_bytes();
        let mut opcode = Opcode::Text;
        for (at, between) in cuts {
            let (fragment, later) = rest.split_at(at.index(rest.len() + 1));
            stream.extend(frame(false, opcode, fragment));
            (opcode, rest) = (Opcode::Continuation, later);
            if let Some((control, payload)) = between {
                stream.extend(frame(true, control, &payload));
                let ping = control == Opcode::Ping;
                seen.push(if ping {
                    Seen::Ping(payload)
                } else {
                    Seen::Pong(payload)
                });
            }
        }
        stream.extend(frame(true, opcode, rest));
        seen.push(Seen::Text(content));
        (stream, seen)
    })
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..200_usize, 1..20)
}

proptest! {
    #[test]
    fn any_chunking_of_a_valid_stream_gives_the_same_items(
        messages in prop::collection::vec(message(), 0..6),
        sizes in sizes(),
    ) {
        let (streams, seen): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        let decoded = decode_in(LIMITS, &streams.concat(), &sizes);
        assert_eq!(decoded, (seen.concat(), Ok(())));
    }

    #[test]
    fn arbitrary_bytes_end_alike_in_any_chunking(
        start in prop_oneof![Just(vec![]), Just(vec![0x81, 0xFE]), Just(vec![0x01, 0x90])],
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        sizes in sizes(),
        text_only: bool,
    ) {
        let limits = Limits { text_only, message_bytes_max: 300, ..LIMITS };
        let stream = [start, bytes].concat();
        let (whole, whole_end) = decode_in(limits, &stream, &[]);
        let (pieces, pieces_end) = decode_in(limits, &stream, &sizes);
        assert_eq!(pieces, whole);
        let code = |end: Result<(), ProtocolError>| end.map_err(|error| error.close_code());
        assert_eq!(code(pieces_end), code(whole_end));
    }
}

use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};

use super::{HEADER_BYTES_MAX, Header, HeaderError, Opcode};

fn opcode() -> impl Strategy<Value = Opcode> {
    prop_oneof![
        Just(Opcode::Continuation),
        Just(Opcode::Text),
        Just(Opcode::Binary),
        Just(Opcode::Close),
        Just(Opcode::Ping),
        Just(Opcode::Pong),
    ]
}

fn header() -> impl Strategy<Value = Header> {
    let length = prop_oneof![0..126_u64, 126..0x10000_u64, 0x10000..1_u64 << 63];
    (any::<bool>(), opcode(), any::<Option<[u8; 4]>>(), length).prop_map(
        |(fin, opcode, mask, length)| {
            let control = opcode.is_control();
            let payload_bytes = if control { length % 126 } else { length };
            Header {
                fin: fin || control,
                opcode,
                mask,
                payload_bytes,
            }
        },
    )
}

#[test]
fn reserved_bits_are_refused() {
    for bit in [0x40, 0x20, 0x10] {
        assert_eq!(
            Header::parse(&[0x81 | bit, 0x80]),
            Err(HeaderError::ReservedBits)
        );
    }
}

#[test]
fn reserved_opcodes_are_refused() {
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        assert_eq!(
            Header::parse(&[0x80 | opcode, 0x80]),
            Err(HeaderError::ReservedOpcode)
        );
    }
}

#[test]
fn fragmented_control_is_refused() {
    for opcode in [0x8, 0x9, 0xA] {
        assert_eq!(
            Header::parse(&[opcode, 0x80]),
            Err(HeaderError::FragmentedControl)
        );
    }
}

#[test]
fn control_over_125_bytes_is_refused_at_its_second_byte() {
    for length in [126, 127] {
        assert_eq!(
            Header::parse(&[0x89, 0x80 | length]),
            Err(HeaderError::LongControl)
        );
    }
}

#[test]
fn length_of_2_to_the_63_is_refused() {
    let bytes = [0x82, 0x7F, 0x80, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(Header::parse(&bytes), Err(HeaderError::LengthOverflow));
}

#[test]
fn length_in_a_longer_form_is_taken() {
    let (header, bytes) = Header::parse(&[0x81, 126, 0, 5]).unwrap().unwrap();
    assert_eq!((header.payload_bytes, bytes), (5, 4));
    let (header, bytes) = Header::parse(&[0x81, 127, 0, 0, 0, 0, 0, 0, 0, 5])
        .unwrap()
        .unwrap();
    assert_eq!((header.payload_bytes, bytes), (5, 10));
}

proptest! {
    #[test]
    fn header_survives_a_round_trip(header in header(), payload: Vec<u8>) {
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        let header_bytes = bytes.len();
        assert!(header_bytes <= HEADER_BYTES_MAX);
        bytes.extend(payload);
        assert_eq!(Header::parse(&bytes), Ok(Some((header, header_bytes))));
    }

    #[test]
    fn every_prefix_of_a_header_asks_for_more(header in header()) {
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        for end in 0..bytes.len() {
            assert_eq!(Header::parse(&bytes[..end]), Ok(None));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let parsed = Header::parse(&bytes);
        if let Ok(Some((_, header_bytes))) = parsed {
            assert!(header_bytes <= bytes.len());
        }
    }
}

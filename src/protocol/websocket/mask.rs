//! Masking (RFC 6455 5.3): the XOR that every client applies to its payloads.
//!
//! The same function masks and unmasks. It works in place, eight bytes at a time.

/// XORs `payload` in place with `key`, whose first byte belongs to the first byte of `payload`, and
/// returns the key turned so that it fits the bytes that follow: a payload may arrive in pieces.
pub fn apply(payload: &mut [u8], key: [u8; 4]) -> [u8; 4] {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, tail) = payload.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
    let mut turned = key;
    turned.rotate_left(tail.len() % 4);
    turned
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::apply;

    #[test]
    fn masked_hello_is_the_example_of_rfc_6455() {
        let mut payload = *b"Hello";
        apply(&mut payload, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(payload, [0x7f, 0x9f, 0x4d, 0x51, 0x58]);
    }

    proptest! {
        #[test]
        fn masking_equals_the_formula_of_the_rfc(payload: Vec<u8>, key: [u8; 4]) {
            let mut masked = payload.clone();
            apply(&mut masked, key);
            for (i, byte) in masked.iter().enumerate() {
                assert_eq!(*byte, payload[i] ^ key[i % 4]);
            }
        }

        #[test]
        fn pieces_are_masked_like_the_whole(
            payload: Vec<u8>,
            key: [u8; 4],
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut whole = payload.clone();
            apply(&mut whole, key);
            let mut pieces = payload;
            let at = cut.index(pieces.len() + 1);
            let (left, right) = pieces.split_at_mut(at);
            let turned = apply(left, key);
            apply(right, turned);
            assert_eq!(pieces, whole);
        }
    }
}

//! The frame header of RFC 6455 5.2: parsed from and encoded to bytes.
//!
//! Owns the layout of the header and the rules that a single header can break. Bytes flow in, a
//! [`Header`] flows out, and back. It never looks at a payload, knows no limits, and leaves the
//! rules between frames (fragmentation) and between roles (who must mask) to the decoder.

use thiserror::Error;

/// Longest header: 2 bytes, a 64-bit length and a masking key.
pub const HEADER_BYTES_MAX: usize = 14;

/// Longest payload of a control frame (RFC 6455 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0F;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// What a frame carries (RFC 6455 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further part of the message that an earlier frame began.
    Continuation,
    /// Begins a message of UTF-8 text.
    Text,
    /// Begins a message of bytes.
    Binary,
    /// Begins the closing handshake.
    Close,
    /// Asks for a pong with the same payload.
    Ping,
    /// Answers a ping, or is sent unasked as a sign of life.
    Pong,
}

impl Opcode {
    /// True for close, ping and pong: short, never fragmented, allowed between fragments.
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    const fn parse(bits: u8) -> Result<Self, HeaderError> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return Err(HeaderError::ReservedOpcode),
        })
    }

    const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }
}

/// Everything that stands before the payload of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The last frame of its message.
    pub fin: bool,
    /// What the payload is.
    pub opcode: Opcode,
    /// The masking key: always from a client, never from a server (5.1).
    pub mask: Option<[u8; 4]>,
    /// Length of the payload that follows; below 2^63.
    pub payload_bytes: u64,
}

/// A header that no conforming peer sends; the connection is to be failed with 1002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// A bit is set that only an extension could give a meaning to, and none was negotiated.
    #[error("a reserved bit is set")]
    ReservedBits,
    /// Opcodes 3-7 and B-F have no meaning yet.
    #[error("the opcode is reserved")]
    ReservedOpcode,
    /// A control frame must be whole (5.4).
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A control frame carries at most 125 bytes (5.5).
    #[error("a control frame is longer than 125 bytes")]
    LongControl,
    /// The most significant bit of a 64-bit length must be 0 (5.2).
    #[error("the payload length is 2^63 or more")]
    LengthOverflow,
}

impl Header {
    /// Reads the header at the start of `input` and returns it with its length in bytes, or `None`
    /// when `input` ends before the header does.
    ///
    /// A length need not be in its shortest form: 5.2 asks that of senders, and refusing it gains a
    /// receiver nothing.
    ///
    /// # Errors
    /// As soon as the bytes at hand break a rule, even if the header is not complete yet.
    pub fn parse(input: &[u8]) -> Result<Option<(Self, usize)>, HeaderError> {
        let [first, second, rest @ ..] = input else {
            return Ok(None);
        };
        let opcode = parse_first(*first)?;
        let fin = first & FIN != 0;
        let length = second & LENGTH;
        check_control(opcode, fin, length)?;
        let Some((payload_bytes, rest)) = parse_length(length, rest)? else {
            return Ok(None);
        };
        let Some((mask, rest)) = parse_mask(second & MASKED != 0, rest) else {
            return Ok(None);
        };
        let header = Self {
            fin,
            opcode,
            mask,
            payload_bytes,
        };
        Ok(Some((header, input.len() - rest.len())))
    }

    /// Appends the header to `out`, with the length in its shortest form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let fin = if self.fin { FIN } else { 0 };
        out.push(fin | self.opcode.bits());
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        encode_length(self.payload_bytes, masked, out);
        out.extend(self.mask.into_iter().flatten());
    }
}

const fn parse_first(first: u8) -> Result<Opcode, HeaderError> {
    if first & RESERVED != 0 {
        return Err(HeaderError::ReservedBits);
    }
    Opcode::parse(first & OPCODE)
}

fn check_control(opcode: Opcode, fin: bool, length: u8) -> Result<(), HeaderError> {
    if !opcode.is_control() {
        return Ok(());
    }
    if !fin {
        return Err(HeaderError::FragmentedControl);
    }
    if usize::from(length) > CONTROL_BYTES_MAX {
        return Err(HeaderError::LongControl);
    }
    Ok(())
}

type Parsed<'a, T> = Option<(T, &'a [u8])>;

fn parse_length(length: u8, rest: &[u8]) -> Result<Parsed<'_, u64>, HeaderError> {
    let parsed = match length {
        LENGTH_16 => rest
            .split_first_chunk()
            .map(|(bytes, rest)| (u64::from(u16::from_be_bytes(*bytes)), rest)),
        LENGTH_64 => rest
            .split_first_chunk()
            .map(|(bytes, rest)| (u64::from_be_bytes(*bytes), rest)),
        short => Some((u64::from(short), rest)),
    };
    match parsed {
        Some((long, _)) if long >> 63 == 1 => Err(HeaderError::LengthOverflow),
        parsed => Ok(parsed),
    }
}

fn parse_mask(masked: bool, rest: &[u8]) -> Parsed<'_, Option<[u8; 4]>> {
    if !masked {
        return Some((None, rest));
    }
    let (key, rest) = rest.split_first_chunk()?;
    Some((Some(*key), rest))
}

fn encode_length(payload_bytes: u64, masked: u8, out: &mut Vec<u8>) {
    match (u8::try_from(payload_bytes), u16::try_from(payload_bytes)) {
        (Ok(short), _) if short < LENGTH_16 => out.push(masked | short),
        (_, Ok(medium)) => {
            out.push(masked | LENGTH_16);
            out.extend(medium.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(masked | LENGTH_64);
            out.extend(payload_bytes.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests;

//! Keys whose bytes sort as they do.

use nano_currency::BlockHash;

use crate::protocol::{EventId, JobId, OfferId, PublicKey, Timestamp};

/// Something that can be a key, or a part of one.
///
/// Bytes must sort as the keys do, and every kind but a text has a fixed length, so that parts can
/// follow each other; a text may only come last.
pub trait Key: Sized {
    /// Appends its bytes.
    fn encode(&self, bytes: &mut Vec<u8>);
    /// Takes its bytes from the front.
    fn decode(bytes: &mut &[u8]) -> Option<Self>;
}

impl Key for () {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Key for String {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.as_bytes());
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.to_owned();
        *bytes = &[];
        Some(text)
    }
}

impl<const N: usize> Key for [u8; N] {
    fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first_chunk::<N>()?;
        *bytes = rest;
        Some(*first)
    }
}

macro_rules! as_big_endian {
    ($($kind:ty),*) => {$(
        impl Key for $kind {
            fn encode(&self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_be_bytes());
            }

            fn decode(bytes: &mut &[u8]) -> Option<Self> {
                Key::decode(bytes).map(Self::from_be_bytes)
            }
        }
    )*};
}

as_big_endian!(u8, u16, u32, u64);

macro_rules! as_bytes {
    ($($kind:ty),*) => {$(
        impl Key for $kind {
            fn encode(&self, bytes: &mut Vec<u8>) {
                self.as_bytes().encode(bytes);
            }

            fn decode(bytes: &mut &[u8]) -> Option<Self> {
                Key::decode(bytes).map(Self::from_bytes)
            }
        }
    )*};
}

as_bytes!(JobId, OfferId, PublicKey, BlockHash);

impl Key for EventId {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.0.encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Key::decode(bytes).map(Self)
    }
}

/// Timestamps are never negative, so their bits sort as they do.
impl Key for Timestamp {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.micros().cast_unsigned().encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        let micros = u64::decode(bytes)?.cast_signed();
        // A moment outside the calendar would be moved into it, and be another key.
        Some(Self::from_micros(micros)).filter(|moment| moment.micros() == micros)
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.0.encode(bytes);
        self.1.encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::decode(bytes)?, B::decode(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn encode(&self, bytes: &mut Vec<u8>) {
        self.0.encode(bytes);
        self.1.encode(bytes);
        self.2.encode(bytes);
    }

    fn decode(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::decode(bytes)?, B::decode(bytes)?, C::decode(bytes)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_outside_the_calendar_is_no_key() {
        let mut beyond: &[u8] = &[0xff; 8];
        assert_eq!(Timestamp::decode(&mut beyond), None);
        let last = Timestamp::from_micros(i64::MAX);
        let mut bytes = Vec::new();
        last.encode(&mut bytes);
        assert_eq!(Timestamp::decode(&mut bytes.as_slice()), Some(last));
    }
}

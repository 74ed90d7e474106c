//! The delivery id.

use serde::{Deserialize, Serialize};
use std::fmt;

/// 128 random bits, made with the first intent and kept for every attempt. It is the outgoing
/// `Idempotency-Key`, the marker, and the API's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DeliveryId([u8; 16]);

impl DeliveryId {
    /// The id made of these random bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads 32 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 32 || !text.is_ascii() {
            return None;
        }
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The id as 32 hexadecimal digits. The same as its `to_string`, without the detour by a formatter: an id is
    /// written several times for each delivery.
    pub fn text(&self) -> String {
        self.digits().as_str().to_owned()
    }

    /// The same, in place.
    pub fn digits(&self) -> Digits {
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
        let mut digits = [0; 32];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(self.0) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        Digits(digits)
    }

    /// A seed for this delivery's own random stream, so that no two deliveries wait in step.
    pub fn seed(&self) -> u64 {
        self.0.iter().fold(0u64, |seed, byte| seed.rotate_left(8) ^ u64::from(*byte))
    }
}

/// The hexadecimal digits of an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits([u8; 32]);

impl Digits {
    /// The digits as text.
    pub fn as_str(&self) -> &str {
        // Digits are always text.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Where delivery ids come from. It is handed in, so that a simulation can own it.
pub trait Ids: Send + Sync {
    /// 128 fresh random bits.
    ///
    /// # Errors
    /// When there is no randomness to be had; the text is for people.
    fn fresh(&self) -> Result<DeliveryId, String>;
}

impl fmt::Display for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits().as_str())
    }
}

impl fmt::Debug for DeliveryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl From<DeliveryId> for String {
    fn from(id: DeliveryId) -> Self {
        id.text()
    }
}

impl TryFrom<String> for DeliveryId {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("a delivery id has 32 hexadecimal digits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_are_the_same_id() {
        let id = DeliveryId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string(), "000102030405060708090a0b0c0d0eff");
        assert_eq!(DeliveryId::parse(&id.to_string()), Some(id));
        for bad in ["", "00", "zz0102030405060708090a0b0c0d0eff", "é00102030405060708090a0b0c0d0ef"] {
            assert_eq!(DeliveryId::parse(bad), None);
        }
    }
}

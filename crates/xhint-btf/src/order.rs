//! Byte order, and reading words in it.

use std::fmt;

/// The order in which the bytes of a word stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl fmt::Display for ByteOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ByteOrder::Little => "little-endian",
            ByteOrder::Big => "big-endian",
        })
    }
}

impl ByteOrder {
    /// The order of the machine this runs on.
    pub const NATIVE: ByteOrder = if cfg!(target_endian = "big") { ByteOrder::Big } else { ByteOrder::Little };

    /// The `u16` at byte `at`, or `None` if it does not lie within `data`.
    #[inline]
    pub fn u16(self, data: &[u8], at: usize) -> Option<u16> {
        let raw = *data.get(at..)?.first_chunk()?;
        Some(match self {
            ByteOrder::Little => u16::from_le_bytes(raw),
            ByteOrder::Big => u16::from_be_bytes(raw),
        })
    }

    /// The `u32` at byte `at`, or `None` if it does not lie within `data`.
    #[inline]
    pub fn u32(self, data: &[u8], at: usize) -> Option<u32> {
        Some(self.word(*data.get(at..)?.first_chunk()?))
    }

    /// The number that these four bytes are.
    #[inline]
    pub fn word(self, bytes: [u8; 4]) -> u32 {
        match self {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
    }

    /// The bytes of `value` in this order.
    #[inline]
    pub fn bytes(self, value: u32) -> [u8; 4] {
        match self {
            ByteOrder::Little => value.to_le_bytes(),
            ByteOrder::Big => value.to_be_bytes(),
        }
    }
}

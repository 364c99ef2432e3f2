//! How large a layout may be.

/// Most fields with a hint that one layout may have.
pub const MAX_FIELDS: usize = 64;

/// Most bytes that the kernel lets a packet carry (net/core/xdp.c counts them in words up to 252). A
/// device may have room for fewer.
pub const MAX_SIZE: u32 = 252;

/// The same in bits.
pub(crate) const MAX_BITS: u64 = bits(MAX_SIZE);

/// Bits of so many bytes.
pub(crate) const fn bits(bytes: u32) -> u64 {
    (bytes as u64) << 3
}

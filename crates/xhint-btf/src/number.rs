//! Numbers of the format as the machine's.

/// A number of the format, which has 32 bits, as an index.
#[inline(always)]
pub(crate) const fn index(number: u32) -> usize {
    const { assert!(usize::BITS >= u32::BITS) };
    number as usize
}

/// Bytes of so many words, of which there are no more than a file can have.
#[inline(always)]
pub(crate) const fn bytes(words: usize) -> usize {
    words << 2
}

/// Bits of so many bytes.
#[inline(always)]
pub(crate) const fn bits(bytes: u32) -> u64 {
    (bytes as u64) << 3
}

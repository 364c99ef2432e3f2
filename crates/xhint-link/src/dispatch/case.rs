//! How packets of a layout are told from others.

use xhint_btf::ByteOrder;

/// Where a layout has its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdAt {
    /// Bytes from the start of the metadata to the word the id is in.
    pub offset: u32,
    /// Bytes of that word: 1, 2, 4 or 8.
    pub bytes: u32,
    /// Whether the word is in the other byte order than the program.
    pub swapped: bool,
    /// Bits to shift the word down by.
    pub shift: u32,
    /// Bits of the id.
    pub bits: u32,
}

/// A layout as dispatch sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Case {
    /// Bytes of metadata in front of the packet.
    pub size: u32,
    pub at: IdAt,
    pub id: u32,
    /// How soon it is tried, where packets can pass for several.
    pub rank: usize,
}

impl IdAt {
    /// The id that is the field at `bit` (from the start of the metadata, as BTF counts in `order`) of so many `bits`,
    /// in the byte order `field`. `None` if no single load can read it.
    pub fn field(bit: u32, bits: u32, field: ByteOrder, order: ByteOrder) -> Option<IdAt> {
        // One byte has no order.
        let swapped = |bytes: u32| bytes > 1 && field != order;
        for bytes in [1u32, 2, 4, 8] {
            let width = bytes.checked_mul(8)?;
            let start = bit.checked_sub(bit.checked_rem(width)?)?;
            let in_word = bit.checked_sub(start)?;
            let end = in_word.checked_add(bits)?;
            if end <= width {
                // BTF counts bits from the low end on little-endian targets, from the high end on big-endian ones.
                let shift = if field == ByteOrder::Little { in_word } else { width.checked_sub(end)? };
                return Some(IdAt { offset: start / 8, bytes, swapped: swapped(bytes), shift, bits });
            }
        }
        // A word that lies across its natural places, at whole bytes.
        let bytes = bits / 8;
        let whole = bit.is_multiple_of(8) && bits.is_multiple_of(8) && matches!(bytes, 2 | 4 | 8);
        whole.then_some(IdAt { offset: bit / 8, bytes, swapped: swapped(bytes), shift: 0, bits })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_word_is_read_as_such() {
        let at = IdAt::field(96, 32, ByteOrder::Little, ByteOrder::Little).unwrap();
        assert_eq!(at, IdAt { offset: 12, bytes: 4, swapped: false, shift: 0, bits: 32 });
        let at = IdAt::field(48, 32, ByteOrder::Big, ByteOrder::Little).unwrap();
        assert_eq!((at.offset, at.bytes, at.swapped, at.shift), (6, 4, true, 0));
        let at = IdAt::field(24, 8, ByteOrder::Big, ByteOrder::Little).unwrap();
        assert_eq!((at.offset, at.bytes, at.swapped, at.shift), (3, 1, false, 0));
    }

    #[test]
    fn bits_are_read_from_the_smallest_word_that_holds_them() {
        let at = IdAt::field(11, 3, ByteOrder::Little, ByteOrder::Little).unwrap();
        assert_eq!(at, IdAt { offset: 1, bytes: 1, swapped: false, shift: 3, bits: 3 });
        let at = IdAt::field(6, 4, ByteOrder::Little, ByteOrder::Little).unwrap();
        assert_eq!(at, IdAt { offset: 0, bytes: 2, swapped: false, shift: 6, bits: 4 });
        let at = IdAt::field(6, 4, ByteOrder::Big, ByteOrder::Big).unwrap();
        assert_eq!(at, IdAt { offset: 0, bytes: 2, swapped: false, shift: 6, bits: 4 });
    }
}

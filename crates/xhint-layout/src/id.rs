//! A layout's id in text.

use std::fmt;

use crate::hint::number_from;

/// An id as it is shown: `0x` and eight digits, everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayoutId(pub u32);

impl fmt::Display for LayoutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As text, so that a width can be asked for.
        f.pad(&format!("{:#010x}", self.0))
    }
}

impl LayoutId {
    /// An id as somebody types it: decimal, or hexadecimal behind `0x`, with or without zeroes in front.
    pub fn read(text: &str) -> Option<LayoutId> {
        number_from(text).and_then(|id| u32::try_from(id).ok()).map(LayoutId)
    }

    /// Whether `text` means it.
    pub fn is(self, text: &str) -> bool {
        LayoutId::read(text) == Some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::LayoutId;

    #[test]
    fn shown_in_one_form_and_read_in_all() {
        assert_eq!(LayoutId(0x11).to_string(), "0x00000011");
        assert_eq!(format!("{:>12}|", LayoutId(0x11)), "  0x00000011|");
        for text in ["0x11", "0X11", "0x00000011", "17", "0x000000000011"] {
            assert_eq!(LayoutId::read(text), Some(LayoutId(0x11)), "{text}");
        }
        for text in ["", "0x", "11x", "0x100000000", "+17", "0x+11", "-1", "nic_meta"] {
            assert_eq!(LayoutId::read(text), None, "{text}");
        }
    }
}

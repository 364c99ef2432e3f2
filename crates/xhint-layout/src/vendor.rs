//! Words that a vendor has for itself.

use std::fmt;

/// A vendor's own word for what the vocabulary has none for: `VENDOR.WORD`, in small letters, digits and underscores.
/// Nobody but who knows the vendor knows what it means; fields that bear the same one mean the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct VendorWord {
    /// Zeroes follow it.
    text: [u8; VendorWord::MAX],
}

impl VendorWord {
    /// Most letters.
    pub const MAX: usize = 31;

    /// Reads one; `None` if it is not formed so, or is too long.
    pub fn read(text: &str) -> Option<VendorWord> {
        let fits = |part: &str| {
            let letter = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
            part.starts_with(|first: char| first.is_ascii_lowercase()) && part.bytes().all(letter)
        };
        let (vendor, word) = text.split_once('.')?;
        if !fits(vendor) || !fits(word) {
            return None;
        }
        let mut own = [0; VendorWord::MAX];
        own.get_mut(..text.len())?.copy_from_slice(text.as_bytes());
        Some(VendorWord { text: own })
    }
}

impl fmt::Display for VendorWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = self.text.iter().take_while(|byte| **byte != 0);
        letters.map(|byte| char::from(*byte)).collect::<String>().fmt(f)
    }
}

impl fmt::Debug for VendorWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VendorWord({self})")
    }
}

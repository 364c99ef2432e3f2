//! What a field of a layout can mean.
//!
//! A field has the hint its `xhint:hint=NAME` tag names, or else the one its own name is. `NAME` is a word of the
//! [vocabulary](mod@crate::vocabulary), or a vendor's own, `VENDOR.WORD`. Values are numbers: an IPv4 address 10.0.0.1 is
//! 0x0a000001, and a field declared `__be32` stores it most significant byte first.

use std::fmt;

use crate::class::Class;
use crate::vendor::VendorWord;
pub use crate::vocabulary::{Hint, WORDS};

/// A value of an enumeration of ours: its name, its number, the name it falls back to, and the number
/// that fields get which are no enumeration.
pub type NamedValue = (&'static str, u64, Option<&'static str>, u64);

/// Values of [`Hint::PktType`], finest first known. A field that is an enumeration gets its own
/// values for them: the enumerator whose name ends in the name here (`MY_PKT_IPV4_TCP`), or else in
/// that of the row named by the third column, and so on to 0. Any other field gets the last column.
pub const PKT_TYPES: &[NamedValue] = &[
    ("unknown", 0, None, 0),
    ("ipv4", 1, Some("unknown"), 1),
    ("ipv6", 2, Some("unknown"), 2),
    ("arp", 3, Some("unknown"), 3),
    ("ipv4_tcp", 4, Some("ipv4"), 1),
    ("ipv4_udp", 5, Some("ipv4"), 1),
    ("ipv4_icmp", 6, Some("ipv4"), 1),
    ("ipv6_tcp", 7, Some("ipv6"), 2),
    ("ipv6_udp", 8, Some("ipv6"), 2),
    ("ipv6_icmp", 9, Some("ipv6"), 2),
];

/// Values of [`Hint::CsumState`], in the same way: not checked (a fragment, another protocol, UDP
/// without a checksum), all good, or bad.
pub const CSUM_STATES: &[NamedValue] = &[("none", 0, None, 0), ("ok", 1, Some("none"), 1), ("bad", 2, Some("none"), 2)];

impl Hint {
    /// The kind of packet that has it, if it is one kind only.
    pub fn class(self) -> Option<Class> {
        self.word()?.class
    }

    /// Reads a tag's `NAME`: a word, `const=N` with N decimal or 0x hexadecimal, or a vendor's word.
    pub fn from_name(name: &str) -> Option<Hint> {
        if let Some(number) = name.strip_prefix("const=") {
            return number_from(number).map(Hint::Const);
        }
        let known = WORDS.iter().find(|w| w.name == name && w.name != "const").map(|w| w.hint);
        known.or_else(|| VendorWord::read(name).map(Hint::Vendor))
    }

    /// The names that its values have, if they are an enumeration of ours.
    pub fn values(self) -> Option<&'static [NamedValue]> {
        match self {
            Hint::PktType => Some(PKT_TYPES),
            Hint::CsumState => Some(CSUM_STATES),
            _ => None,
        }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self, self.word()) {
            (Hint::Const(n), _) => write!(f, "const={n:#x}"),
            (Hint::Vendor(word), _) => word.fmt(f),
            (_, word) => word.map_or("", |word| word.name).fmt(f),
        }
    }
}

/// A number as tags write them: decimal, or hexadecimal with 0x.
pub(crate) fn number_from(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u64::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Unit;

    #[test]
    fn names_and_bits_are_unique_and_lead_back() {
        for (i, w) in WORDS.iter().enumerate() {
            for other in &WORDS[i + 1..] {
                assert_ne!(w.name, other.name);
                assert_ne!(w.bit, other.bit);
            }
            assert!(w.bit < 64 && (1..=w.bits).contains(&w.least), "{}", w.name);
            assert_eq!(w.hint.word().unwrap().name, w.name);
            assert_eq!(w.hint.values().is_some(), w.unit == Unit::Values, "{}", w.name);
            if w.name != "const" {
                assert_eq!(Hint::from_name(w.name), Some(w.hint));
                assert_eq!(w.hint.to_string(), w.name);
            }
        }
    }

    #[test]
    fn constants_carry_their_number() {
        assert_eq!(Hint::from_name("const=0x2a"), Some(Hint::Const(42)));
        assert_eq!(Hint::from_name("const=42"), Some(Hint::Const(42)));
        assert_eq!(Hint::Const(42).to_string(), "const=0x2a");
        for wrong in ["const", "const=", "const=-1", "const=0x", "const=0x+1", "const=18446744073709551616"] {
            assert_eq!(Hint::from_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_vendor_has_words_of_its_own() {
        for name in ["acme.lane", "p4.x", "a.b_2", "vendor0.a2345678901234567890123"] {
            let hint = Hint::from_name(name).unwrap();
            assert_eq!((hint.to_string().as_str(), hint.word().is_none()), (name, true));
            assert_eq!(Hint::from_name(name), Some(hint));
        }
        assert_ne!(Hint::from_name("acme.lane"), Hint::from_name("acme.lanes"));
        let long = format!("acme.{}", "x".repeat(27));
        for wrong in ["lane", ".lane", "acme.", "acme.Lane", "acme.la-ne", "a.b.c", "acme.1", "\u{e4}.b", &long] {
            assert_eq!(Hint::from_name(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn fallbacks_name_rows() {
        for table in [PKT_TYPES, CSUM_STATES] {
            for (i, row) in table.iter().enumerate() {
                assert_eq!(row.1, i as u64);
                if let Some(next) = row.2 {
                    assert!(table.iter().any(|r| r.0 == next));
                }
            }
        }
    }
}

//! Declaration tags of ours: which there are.

use crate::class::{CLASSES, Class};
use crate::hint::{Hint, WORDS};

/// How a tag of ours begins.
pub const PREFIX: &str = "xhint:";
/// What goes on a struct, union or typedef.
const ON_TYPES: [&str; 3] = ["xhint:layout", "xhint:id=NUMBER", "xhint:as=NAME"];
/// What goes on a field.
const ON_FIELDS: [&str; 4] = ["xhint:selector", "xhint:hint=NAME", "xhint:as=NAME", "xhint:when=KIND"];
/// So many of the vocabulary's words are offered for one that is not in it.
const OFFERED: usize = 4;

/// A tag on a field, understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldTag<'t> {
    /// `xhint:selector`.
    Selector,
    /// `xhint:as=`: another name that programs may call it by.
    As(&'t str),
    /// `xhint:hint=`.
    Hint(Hint),
    /// `xhint:when=`.
    When(Class),
}

/// Why a tag is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TagFault {
    /// No tag for such a place begins so.
    #[error("not known; {place} {}", known.join(", "))]
    Unknown {
        /// Where it stands, as the beginning of a sentence.
        place: &'static str,
        /// The tags there are, the nearest first.
        known: Vec<&'static str>,
    },
    /// No name that C has.
    #[error("a name must follow the '=', of letters, digits and underscores, that begins with no digit")]
    NoName,
    /// It belongs somewhere else.
    #[error("goes on {0}")]
    Elsewhere(&'static str),
    /// No such word in the vocabulary.
    #[error("no such hint; the nearest are {}; a word of your own is VENDOR.WORD", near.join(", "))]
    NoHint {
        /// Words that look alike.
        near: Vec<&'static str>,
    },
    /// No such kind of packets.
    #[error("no such kind of packet; there are {}", known.join(", "))]
    NoClass {
        /// All, the nearest first.
        known: Vec<&'static str>,
    },
}

impl<'t> FieldTag<'t> {
    /// Reads a tag that stands on a field, and begins with [`PREFIX`].
    ///
    /// # Errors
    /// [`TagFault`].
    pub fn parse(tag: &'t str) -> Result<FieldTag<'t>, TagFault> {
        if tag == "xhint:selector" {
            return Ok(FieldTag::Selector);
        }
        if let Some(name) = tag.strip_prefix("xhint:as=") {
            return Some(name).filter(|name| is_identifier(name)).map(FieldTag::As).ok_or(TagFault::NoName);
        }
        if let Some(name) = tag.strip_prefix("xhint:hint=") {
            let near = || nearest(name, WORDS.iter().map(|w| w.name)).into_iter().take(OFFERED).collect();
            return Hint::from_name(name).map(FieldTag::Hint).ok_or_else(|| TagFault::NoHint { near: near() });
        }
        if let Some(name) = tag.strip_prefix("xhint:when=") {
            let known = || nearest(name, CLASSES.iter().map(|class| class.name()));
            return Class::from_name(name).map(FieldTag::When).ok_or_else(|| TagFault::NoClass { known: known() });
        }
        if ON_TYPES.iter().any(|known| is(tag, known)) {
            return Err(TagFault::Elsewhere("a struct, union or typedef"));
        }
        Err(TagFault::Unknown { place: "on a field go", known: nearest(tag, ON_FIELDS.into_iter()) })
    }
}

/// Why `tag`, which is none of those that go on a type, is not understood there.
pub fn unknown_on_type(tag: &str) -> TagFault {
    if ON_FIELDS.iter().any(|known| is(tag, known)) {
        return TagFault::Elsewhere("a field");
    }
    TagFault::Unknown { place: "on a struct go", known: nearest(tag, ON_TYPES.into_iter()) }
}

/// Whether C takes it for a name.
fn is_identifier(name: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    name.starts_with(letter) && name.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// Whether `tag` is `known`, whatever stands behind the `=`.
fn is(tag: &str, known: &str) -> bool {
    match known.split_once('=') {
        Some((word, _)) => tag.split_once('=').is_some_and(|(own, _)| own == word),
        None => tag == known,
    }
}

/// The words, those first that differ from `wanted` by the fewest letters.
fn nearest<'n>(wanted: &str, words: impl Iterator<Item = &'n str>) -> Vec<&'n str> {
    let own = |word: &'n str| word.split_once('=').map_or(word, |(own, _)| own);
    let wanted = own_word(wanted);
    let mut words: Vec<_> = words.map(|word| (strsim::damerau_levenshtein(wanted, own(word)), word)).collect();
    words.sort_by_key(|(distance, _)| *distance);
    words.into_iter().map(|(_, word)| word).collect()
}

/// What stands in front of the `=`. A tag can be of any length, and comparing takes time by its square.
fn own_word(tag: &str) -> &str {
    let word = tag.split_once('=').map_or(tag, |(own, _)| own);
    word.char_indices().nth(64).and_then(|(end, _)| word.get(..end)).unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_offered_first() {
        let said = |tag: &str| FieldTag::parse(tag).unwrap_err().to_string();
        assert_eq!(
            said("xhint:selecter"),
            "not known; on a field go xhint:selector, xhint:hint=NAME, xhint:when=KIND, xhint:as=NAME"
        );
        assert!(said("xhint:hnit=rx_hash").contains("on a field go xhint:hint=NAME, "));
        assert!(said("xhint:hint=rx_hsah").starts_with("no such hint; the nearest are rx_hash, "));
        assert!(said("xhint:when=ipv5").starts_with("no such kind of packet; there are ipv4, ipv6, "));
        assert_eq!(FieldTag::parse("xhint:as=flow_2"), Ok(FieldTag::As("flow_2")));
        for wrong in ["xhint:as=", "xhint:as=2", "xhint:as=a.b", "xhint:as=a b"] {
            assert!(said(wrong).starts_with("a name must follow"), "{wrong}");
        }
        assert_eq!(said("xhint:id=7"), "goes on a struct, union or typedef");
        assert_eq!(unknown_on_type("xhint:when=ipv4").to_string(), "goes on a field");
        assert!(unknown_on_type("xhint:laoyut").to_string().contains("on a struct go xhint:layout, "));
        assert_eq!(FieldTag::parse("xhint:hint=const=7"), Ok(FieldTag::Hint(Hint::Const(7))));
        // No time out of proportion.
        assert!(said(&format!("xhint:{}", "x".repeat(1 << 20))).len() < 100);
    }
}

//! The checking pass.
//!
//! It looks at every type once, in file order, and notes where each starts:
//!
//! 1. The string section begins and ends with a zero byte and is UTF-8, so every offset within it is a whole string.
//! 2. Each type lies within the type section, by its kind's size and its number of elements; the sizes of unknown
//!    kinds come from the layout section.
//! 3. While walking, only the largest type id and string offset are kept, and whether a member starts beyond its
//!    struct. They are judged once at the end, when the number of types is known: forward references are legal.
//! 4. Chains of typedefs, modifiers and arrays end, and soon. They are followed when all types are known.
//! 5. A split BTF may have been made for another base, so of its names and references more is asked (`references.rs`): of
//!    names while walking, of references when all types are known.
//! 6. Only when step 3 or 5 finds a fault are references looked at one by one, to say which is to blame.
//!
//! Steps 2 to 4 are the file `walk.rs`, monomorphic in the byte order.

use std::ops::Range;

use crate::btf::Checked;
use crate::header::Header;
use crate::number::index;
pub use crate::pass::MAX_CHAIN;
use crate::pass::{Pass, Word};
use crate::references::{Begins, Limits};
use crate::{Btf, ByteOrder, Error};

/// Checks `raw`.
pub(crate) fn check(raw: &[u8], header: &Header, base: Option<&Btf>) -> Result<Checked, Error> {
    let section = |range: &Range<usize>| raw.get(range.clone()).unwrap_or_default();
    let strings = section(&header.strings);
    let ascii = check_strings(strings, header, base)? && base.is_none_or(Btf::is_ascii);
    let (types, rest) = section(&header.types).as_chunks::<4>();
    let (first_id, first_string, layouts) = match base {
        Some(base) => (base.end_id(), base.end_string(), base.layouts()),
        None => (1, 0, &[][..]),
    };
    let layouts = if header.layouts.is_empty() { layouts } else { section(&header.layouts) };
    let (section, over, order) = (header.types.start, rest.len(), header.order);
    let pass = Pass { types, layouts, section, over, first_id, order };
    let offsets = first_string..count(strings.len(), first_string, "the string section")?;
    let strings = Strings { own: strings, offsets, ascii };
    match order {
        ByteOrder::Little => pass.check(u32::from_le_bytes, &strings, base),
        ByteOrder::Big => pass.check(u32::from_be_bytes, &strings, base),
    }
}

/// Where so many, counted from `first` on, end.
fn count(len: usize, first: u32, what: &'static str) -> Result<u32, Error> {
    u32::try_from(len).ok().and_then(|len| first.checked_add(len)).ok_or(Error::TooLarge { what })
}

/// Says whether the strings are ASCII.
fn check_strings(strings: &[u8], header: &Header, base: Option<&Btf>) -> Result<bool, Error> {
    let at = header.strings.start;
    match strings {
        // A split BTF may add no string of its own.
        [] if base.is_some() => return Ok(true),
        [0, ..] => {}
        // The strings of a split BTF go on where the base's end, so the first need not be the empty one.
        _ if base.is_some() => {}
        _ => return Err(Error::Strings { what: "begin", at }),
    }
    if strings.last() != Some(&0) {
        return Err(Error::Strings { what: "end", at });
    }
    // Names are ASCII nearly always, and that is faster to see.
    let ascii = strings.is_ascii();
    match std::str::from_utf8(if ascii { &[] } else { strings }) {
        Ok(_) => Ok(ascii),
        // Within the file.
        Err(e) => Err(Error::NotUtf8 { at: at.wrapping_add(e.valid_up_to()) }),
    }
}

/// The strings of a BTF.
struct Strings<'a> {
    own: &'a [u8],
    /// At which offsets those stand.
    offsets: Range<u32>,
    ascii: bool,
}

impl Pass<'_> {
    fn check(
        &self,
        read: impl Fn(Word) -> u32 + Copy,
        strings: &Strings,
        base: Option<&Btf>,
    ) -> Result<Checked, Error> {
        let mut seen = match base {
            None => self.walk(read, ())?,
            Some(base) => self.walk(read, Begins::new(strings.own, &strings.offsets, base))?,
        };
        let end_id = count(seen.offsets.len(), self.first_id, "the number of types")?;
        if self.over != 0 {
            return Err(self.no_record(self.types.len(), end_id));
        }
        // Offset 0 means no name, also where there are no strings.
        let end_string = strings.offsets.end.max(1);
        let limits = Limits {
            end_id,
            end_string,
            first_string: strings.offsets.start,
            strings: strings.own,
            offsets: &seen.offsets,
            base,
        };
        let exist = seen.id < end_id.into() && seen.string < end_string.into() && !seen.outside;
        let sound = || match base {
            None => strings.ascii,
            Some(_) => seen.named && self.right_kinds(read, &limits) && self.names_own(&limits),
        };
        if !exist || !sound() {
            self.check_references(&limits)?;
        } else {
            debug_assert_eq!(self.check_references(&limits), Ok(()), "what is quick finds as much as what is careful");
        }
        self.follow(read, &mut seen);
        let first = seen.links.first().map(|link| link.number);
        match first.and_then(|number| (self.first_id..).zip(&seen.offsets).nth(index(number))) {
            Some((id, offset)) => Err(self.endless(id, index(offset >> 2))),
            None => Ok(Checked {
                offsets: seen.offsets,
                ids: self.first_id..end_id,
                string_offsets: strings.offsets.clone(),
                ascii: strings.ascii,
            }),
        }
    }
}

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

use crate::header::Header;
pub use crate::pass::MAX_CHAIN;
use crate::pass::{Pass, Word};
use crate::references::{Begins, Limits};
use crate::{Btf, ByteOrder, Error};

/// What the pass yields.
pub(crate) struct Checked {
    /// The offset of each type within the type section, and the marks of its kind.
    pub(crate) offsets: Vec<u32>,
    /// All strings are ASCII, the base's too, so every offset is that of a character.
    pub(crate) ascii: bool,
}

/// Checks `raw`.
pub(crate) fn check(raw: &[u8], header: &Header, base: Option<&Btf>) -> Result<Checked, Error> {
    let strings = raw.get(header.strings.clone()).unwrap_or_default();
    let ascii = check_strings(strings, header, base)? && base.is_none_or(Btf::is_ascii);
    let (types, rest) = raw.get(header.types.clone()).unwrap_or_default().as_chunks::<4>();
    let pass = Pass {
        types,
        layouts: match raw.get(header.layouts.clone()) {
            Some(own) if !own.is_empty() => own,
            _ => base.map_or(&[], Btf::layouts),
        },
        section: header.types.start,
        over: rest.len(),
        first_id: base.map_or(1, Btf::end_id),
        order: header.order,
    };
    let strings = Strings { own: strings, first: base.map_or(0, Btf::end_string), ascii };
    let offsets = match header.order {
        ByteOrder::Little => pass.check(u32::from_le_bytes, &strings, base)?,
        ByteOrder::Big => pass.check(u32::from_be_bytes, &strings, base)?,
    };
    Ok(Checked { offsets, ascii })
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
        Err(e) => Err(Error::NotUtf8 { at: at.saturating_add(e.valid_up_to()) }),
    }
}

/// The strings of a BTF.
struct Strings<'a> {
    own: &'a [u8],
    /// The offset of its own first.
    first: u32,
    ascii: bool,
}

impl Pass<'_> {
    /// Where each type starts.
    fn check(
        &self,
        read: impl Fn(Word) -> u32 + Copy,
        strings: &Strings,
        base: Option<&Btf>,
    ) -> Result<Vec<u32>, Error> {
        let mut seen = match base {
            None => self.walk(read, ())?,
            Some(base) => self.walk(read, Begins::new(strings.own, base))?,
        };
        let count = |len: usize, first: u32, what| {
            u32::try_from(len).ok().and_then(|len| first.checked_add(len)).ok_or(Error::TooLarge { what })
        };
        let end_id = count(seen.offsets.len(), self.first_id, "the number of types")?;
        if self.over != 0 {
            return Err(self.no_record(self.types.len(), end_id));
        }
        // Offset 0 means no name, also where there are no strings.
        let end_string = count(strings.own.len(), strings.first, "the string section")?.max(1);
        let limits = Limits {
            end_id,
            end_string,
            first_string: strings.first,
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
        match seen.links.first() {
            Some(link) => Err(self.endless(&seen.offsets, link.number)),
            None => Ok(seen.offsets),
        }
    }
}

//! Where a layout holds its id.

use xhint_btf::Btf;

use crate::order::FieldOrder;
use crate::tags::Tags;
use crate::walk::{Go, Visit, Visited, WalkFault, What, walk};

/// The field that is the selector where none is tagged so.
const BY_NAME: &str = "btf_id";

/// The field by which packets say which layout they carry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// The field's path.
    pub field: String,
    /// Bits from the first byte of the metadata, counted as BTF counts them.
    pub bit_offset: u32,
    /// Width in bits, at most 32.
    pub bits: u32,
    /// Byte order of the field.
    pub order: FieldOrder,
}

/// A `btf_id` that is no selector, and why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Almost {
    /// Nothing but padding follows.
    #[error("{bytes} bytes of padding follow btf_id; put them before it as a field, so that btf_id ends the struct")]
    Padding {
        /// How much of it.
        bytes: u64,
    },
    /// A field follows.
    #[error("{field} comes after btf_id; btf_id has to be the last field")]
    Followed {
        /// The first that does.
        field: String,
    },
    /// It ends behind the struct.
    #[error("btf_id ends behind the struct's last byte")]
    Beyond,
    /// It is no number of 32 bits.
    #[error("btf_id is not an integer of 32 bits")]
    Width,
}

/// What holds a layout's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// This field.
    Field(Selector),
    /// None does; why the `btf_id` that there may be is none.
    None(Option<Almost>),
}

/// Why a struct's selector cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorFault {
    /// The struct cannot be walked through.
    #[error(transparent)]
    Walk(#[from] WalkFault),
    /// More than one is tagged.
    #[error("it has two selectors, '{0}' and '{1}'")]
    Two(String, String),
    /// Not a number that could hold an id.
    #[error("its selector '{0}' is not a number of 1 to 32 bits")]
    NoNumber(String),
}

/// The selector of the struct `type_id`: the tagged field, else a `btf_id` of 32 bits that ends the struct.
///
/// # Errors
/// [`SelectorFault`].
pub fn selector(btf: &Btf, tags: &Tags<'_>, type_id: u32) -> Result<Selection, SelectorFault> {
    let ty = btf.skip_mods_and_typedefs(type_id);
    let mut find = Find { tags, end: ty.bits(), tagged: Vec::new(), by_name: None, behind: None };
    walk(btf, ty, &mut find)?;
    find.found()
}

/// Whether the struct `type_id` ends in a `btf_id` that holds its id if no tag says otherwise.
pub fn ends_in_id(btf: &Btf, type_id: u32) -> bool {
    // Few structs have a field of that name, and the others need not be walked through.
    let named = btf.skip_mods_and_typedefs(type_id).members().any(|m| m.name == BY_NAME);
    named && matches!(selector(btf, &Tags::default(), type_id), Ok(Selection::Field(_)))
}

struct Find<'a, 't> {
    tags: &'t Tags<'a>,
    /// One past the struct's last bit.
    end: u64,
    tagged: Vec<IdField>,
    /// The `btf_id` of the struct itself: the one that ends it, or else the first.
    by_name: Option<IdField>,
    /// The first field that ends behind it.
    behind: Option<String>,
}

/// A field that may hold the id.
struct IdField {
    path: String,
    bit_offset: u64,
    bit_end: u64,
    bits: u64,
    order: FieldOrder,
    number: bool,
}

impl<'a> Visit<'a> for Find<'a, '_> {
    type Error = WalkFault;

    fn enter(&mut self, field: &Visited<'a>) -> Result<Go, WalkFault> {
        let place = || IdField {
            path: field.path.clone(),
            bit_offset: field.bit_offset,
            bit_end: field.bit_end(),
            bits: field.bits,
            order: field.order,
            number: matches!(field.what, What::Int { .. } | What::Enum { .. }),
        };
        if let Some(id) = &self.by_name
            && !field.what.is_composite()
            && self.behind.is_none()
            && field.bit_offset >= id.bit_end
        {
            self.behind = Some(field.path.clone());
        }
        // In arrays there is none that could select.
        if !field.in_array {
            if self.tags.meaning(field)?.selector {
                self.tagged.push(place());
                return Ok(Go::Past);
            }
            let better = |old: &IdField| !old.ends(self.end) && place().ends(self.end);
            if field.path == BY_NAME && self.by_name.as_ref().is_none_or(better) {
                self.by_name = Some(place());
            }
        }
        Ok(Go::Once)
    }
}

impl Find<'_, '_> {
    fn found(self) -> Result<Selection, SelectorFault> {
        let Find { tagged, by_name, behind, end, .. } = self;
        if let [first, second, ..] = tagged.as_slice() {
            return Err(SelectorFault::Two(first.path.clone(), second.path.clone()));
        }
        match (tagged.into_iter().next(), by_name) {
            (Some(tagged), _) => tagged.selector(end),
            (None, Some(named)) if named.ends(end) => named.selector(end),
            (None, named) => Ok(Selection::None(named.map(|named| match behind {
                _ if named.bits != 32 || !named.number => Almost::Width,
                Some(field) => Almost::Followed { field },
                None => {
                    end.checked_sub(named.bit_end).map_or(Almost::Beyond, |bits| Almost::Padding { bytes: bits / 8 })
                }
            }))),
        }
    }
}

impl IdField {
    /// Whether it is the last four bytes of a struct that ends there.
    fn ends(&self, end: u64) -> bool {
        self.bits == 32 && self.bit_end == end
    }

    fn selector(self, end: u64) -> Result<Selection, SelectorFault> {
        match (u32::try_from(self.bit_offset), u32::try_from(self.bits)) {
            (Ok(bit_offset), Ok(bits @ 1..=32)) if self.number && self.bit_end <= end => {
                Ok(Selection::Field(Selector { field: self.path, bit_offset, bits, order: self.order }))
            }
            _ => Err(SelectorFault::NoNumber(self.path)),
        }
    }
}

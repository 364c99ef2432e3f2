//! What is known of a NIC BTF that was linked for, so that one more is held against it without reading it again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use xhint_link::{LinkOptions, Object, names_in};
use xhint_universe::{FieldOrder, KnownLayout, Selector, SourceId, Universe};

/// What a NIC BTF has that matters to one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Described {
    /// All its layouts, also those that the program does not ask for.
    layouts: Vec<WrittenLayout>,
    /// Names that the program asks for and it has a type for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub names: BTreeSet<String>,
}

/// A [`KnownLayout`], written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct WrittenLayout {
    name: String,
    id: u32,
    size: u32,
    answers_to: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    selector: Option<KnownSelector>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_name: bool,
    content: String,
}

/// A [`Selector`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KnownSelector {
    field: String,
    bit_offset: u32,
    bits: u32,
    #[serde(with = "KnownOrder")]
    order: FieldOrder,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "FieldOrder", rename_all = "lowercase")]
enum KnownOrder {
    Host,
    Little,
    Big,
}

impl Described {
    /// What `source` of `universe` has for `object`.
    pub fn of(universe: &Universe, source: SourceId, object: &Object, options: &LinkOptions) -> Described {
        let layouts = universe.known(source).into_iter().map(WrittenLayout::from).collect();
        Described { layouts, names: names_in(object, universe, source, options) }
    }

    /// Whether its layout with this id is declared `as` that.
    pub fn answers(&self, id: u32, name: &str) -> bool {
        self.layouts.iter().any(|l| l.id == id && l.answers_to.iter().any(|own| own == name))
    }

    /// What tells the content of its layout with this id from others'.
    pub fn content(&self, id: u32) -> Option<&str> {
        self.layouts.iter().find(|l| l.id == id).map(|l| l.content.as_str())
    }

    /// Its layouts.
    pub fn layouts(&self) -> impl Iterator<Item = KnownLayout> {
        self.layouts.iter().cloned().map(KnownLayout::from)
    }
}

impl From<KnownLayout> for WrittenLayout {
    fn from(known: KnownLayout) -> WrittenLayout {
        let KnownLayout { name, id, size, answers_to, selector, by_name, content } = known;
        let place =
            |s: Selector| KnownSelector { field: s.field, bit_offset: s.bit_offset, bits: s.bits, order: s.order };
        WrittenLayout {
            name,
            id,
            size,
            answers_to,
            selector: selector.map(place),
            by_name,
            content: content.to_string(),
        }
    }
}

impl From<WrittenLayout> for KnownLayout {
    fn from(layout: WrittenLayout) -> KnownLayout {
        let WrittenLayout { name, id, size, answers_to, selector, by_name, content } = layout;
        let place =
            |p: KnownSelector| Selector { field: p.field, bit_offset: p.bit_offset, bits: p.bits, order: p.order };
        KnownLayout { name, id, size, answers_to, selector: selector.map(place), by_name, content: content.into() }
    }
}

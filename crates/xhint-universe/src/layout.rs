//! Layouts: what is known of a struct that describes metadata.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use xhint_layout::Selector;

use crate::SourceId;

/// The most metadata a packet can carry: `xdp_buff` counts it in words of 4 up to 252 bytes (kernel net/core/xdp.c).
pub const MAX_SIZE: u32 = xhint_layout::MAX_SIZE;

/// One struct that describes all the metadata in front of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The struct's name, flavour included; the typedef's, if the struct is anonymous.
    pub name: String,
    /// The id that packets carry, never 0.
    pub id: u32,
    /// Whether the BTF declares the id; otherwise it was derived from the content.
    pub declared: bool,
    /// The BTF it stands in; the first, if several have it.
    pub source: SourceId,
    /// Other BTFs that have the same layout.
    pub also: Vec<SourceId>,
    /// Its type there: the struct, or the typedef of an anonymous one.
    pub type_id: u32,
    /// Bytes of metadata.
    pub size: u32,
    /// Essential names that local types may call it by: its own first, then those it is declared `as`.
    pub answers_to: Vec<String>,
    /// Where the id stands; `None` if packets carry none.
    pub selector: Option<Selector>,
    /// Whether no tag or union makes it one, but that it was named ([`crate::Universe::add_layout`]).
    pub by_name: bool,
    /// What tells it from others of its name.
    pub(crate) content: Content,
}

/// The content of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// As text; its BTF is at hand.
    Text(Arc<str>),
    /// SHA-256 of the text, where the BTF is not at hand.
    Digest(Arc<str>),
}

impl Content {
    fn digest(&self) -> Arc<str> {
        match self {
            Content::Text(text) => {
                Sha256::digest(&**text).iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
            }
            Content::Digest(digest) => Arc::clone(digest),
        }
    }

    fn is(&self, other: &Content) -> bool {
        match (self, other) {
            (Content::Text(a), Content::Text(b)) => a == b,
            _ => self.digest() == other.digest(),
        }
    }
}

/// A layout whose BTF is not at hand: what tells whether others can stand beside it. It cannot be linked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLayout {
    /// As [`Layout::name`], and so on.
    pub name: String,
    /// By which packets say that they carry it.
    pub id: u32,
    /// Bytes of metadata.
    pub size: u32,
    /// Names that local types may call it by.
    pub answers_to: Vec<String>,
    /// Where the id stands.
    pub selector: Option<Selector>,
    /// Whether it is one because it was named so.
    pub by_name: bool,
    /// What tells its content from others': SHA-256 of the content's text.
    pub content: Arc<str>,
}

impl Layout {
    /// Whether its BTF is at hand.
    pub fn is_at_hand(&self) -> bool {
        matches!(self.content, Content::Text(_))
    }

    /// What is to be known of it where its BTF is not at hand.
    pub(crate) fn known(&self) -> KnownLayout {
        let content = self.content.digest();
        let Layout { name, id, size, answers_to, selector, by_name, .. } = self.clone();
        KnownLayout { name, id, size, answers_to, selector, by_name, content }
    }

    /// Whether the two are one: packets of the two cannot be told apart, and need not be.
    pub(crate) fn is_equal(&self, other: &Layout) -> bool {
        let same = (self.id, &self.name, &self.selector) == (other.id, &other.name, &other.selector);
        same && self.content.is(&other.content)
    }

    /// The BTFs that have it.
    pub fn sources(&self) -> impl Iterator<Item = SourceId> {
        std::iter::once(self.source).chain(self.also.iter().copied())
    }

    /// Whether this BTF has it.
    pub fn is_of(&self, source: SourceId) -> bool {
        self.sources().any(|s| s == source)
    }

    /// Whether a local type of this essential name means this layout.
    pub fn answers(&self, essential_name: &str) -> bool {
        self.answers_to.iter().any(|name| name == essential_name)
    }
}

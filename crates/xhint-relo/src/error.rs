//! What is wrong with a relocation itself. That a target lacks what it asks for is no error, see
//! [`crate::Resolution::poison`].

use xhint_layout::{TagFault, WalkFault};
use xhint_universe::{SourceId, TypeRef};

/// A relocation that makes no sense, or has more than one answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A kind beyond the 13.
    #[error("relocation kind {0} is not known")]
    Kind(u32),
    /// The local type does not exist.
    #[error("relocation names local type [{0}], which does not exist")]
    NoType(u32),
    /// The local type has no name to look for.
    #[error("relocation names local type [{id}], an anonymous {kind}; only types with a name can be looked for")]
    Anonymous {
        /// The type's id.
        id: u32,
        /// Its kind in words.
        kind: &'static str,
    },
    /// The access string does not fit the local type.
    #[error("access string \"{text}\" of {kind} '{name}' (local type [{id}]): {why}")]
    Access {
        /// The access string.
        text: String,
        /// The root type's id.
        id: u32,
        /// Its name.
        name: String,
        /// Its kind in words.
        kind: &'static str,
        /// What is wrong.
        why: &'static str,
    },
    /// A field of the program has a tag that says nothing we understand.
    #[error("field '{field}' of the program's {of} has the tag {tag:?}: {cause}")]
    Tag {
        /// The struct it is in.
        of: String,
        /// Its name.
        field: String,
        /// The tag in full.
        tag: String,
        /// What is wrong with it.
        cause: TagFault,
    },
    /// The bound layout cannot be looked through.
    #[error("layout '{layout}': {cause}")]
    Layout {
        /// Its name.
        layout: String,
        /// What is wrong with it.
        cause: WalkFault,
    },
    /// Several candidates give several answers.
    #[error("{what} is ambiguous: {first} gives {first_value}, {second} gives {second_value}")]
    Ambiguous {
        /// What was asked, in C words.
        what: String,
        /// The two candidates.
        types: (TypeRef, TypeRef),
        /// The first candidate, with its file.
        first: String,
        /// Its answer.
        first_value: String,
        /// Another one that differs.
        second: String,
        /// Its answer.
        second_value: String,
    },
    /// It is asked of the base BTF, and there is none.
    #[error("{what} belongs to no layout, so it is looked for in the kernel's BTF: {why}")]
    NoBase {
        /// What was asked, in C words.
        what: String,
        /// Why there is none.
        why: String,
    },
    /// Types nest too deeply to be compared, or a target is nonsense.
    #[error("{what}: {why}")]
    Target {
        /// What was asked, in C words.
        what: String,
        /// What is wrong.
        why: &'static str,
    },
}

impl Error {
    /// Whether two NIC BTFs contradict each other, rather than one BTF itself.
    pub fn is_between_nics(&self) -> bool {
        match self {
            Error::Ambiguous { types: (a, b), .. } => a.source != b.source && SourceId::BASE != a.source,
            _ => false,
        }
    }
}

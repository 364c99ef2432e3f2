//! What keeps BTFs from forming a universe.

use xhint_btf::ByteOrder;
use xhint_layout::TagFault;

/// A fault in how NIC BTFs describe layouts, or fit together. `file` is the name the BTF was added under.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A split BTF on another base than the universe's.
    #[error("{file}: split on another base than the one in use; give the base it was made for, or a standalone BTF")]
    OtherBase {
        /// The NIC BTF.
        file: String,
    },
    /// Byte order differs from what is there.
    #[error("{file}: it is {own}, but the base BTF, or the NIC's before it, is {other}; give a base of its byte order")]
    ByteOrder {
        /// The NIC BTF.
        file: String,
        /// Its own.
        own: ByteOrder,
        /// That of all others.
        other: ByteOrder,
    },
    /// A tag that says nothing we understand.
    #[error("{file}: type [{id}] '{name}': tag \"{tag}\": {why}")]
    Tag {
        /// The NIC BTF.
        file: String,
        /// The tagged type.
        id: u32,
        /// Its name.
        name: String,
        /// The tag.
        tag: String,
        /// What is wrong with it.
        why: String,
    },
    /// The same on a field.
    #[error("{file}: field {field} of {of} (type [{id}]): tag \"{tag}\": {why}")]
    FieldTag {
        /// The NIC BTF.
        file: String,
        /// The struct or union that has the field.
        id: u32,
        /// What it is called, or is in.
        of: String,
        /// The field's name or number.
        field: String,
        /// The tag.
        tag: String,
        /// What is wrong with it.
        why: TagFault,
    },
    /// A type that cannot be a layout.
    #[error("{file}: layout '{name}' (type [{id}]): {why}")]
    NotALayout {
        /// The NIC BTF.
        file: String,
        /// The type.
        id: u32,
        /// Its name.
        name: String,
        /// Why not.
        why: String,
    },
    /// Two layouts that packets could not tell apart.
    #[error(
        "layouts '{first}' ({first_file}) and '{second}' ({second_file}) are different and have the same id {}; \
         give one of them another id (tag xhint:id=…)", xhint_layout::LayoutId(*.id)
    )]
    SameId {
        /// The id.
        id: u32,
        /// The layout that came first.
        first: String,
        /// Its file.
        first_file: String,
        /// The layout that came second.
        second: String,
        /// Its file.
        second_file: String,
    },
    /// A layout was named that is nowhere.
    #[error("no struct '{name}' in {files}{hint}")]
    NoSuchLayout {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        files: String,
        /// What could be meant, if anything.
        hint: String,
    },
}

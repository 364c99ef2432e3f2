//! What can be wrong with a layout.

use crate::limits::{MAX_FIELDS, MAX_SIZE};
use crate::walk::WalkFault;

/// Why no plan could be made. Every one names the layout, and the field where there is one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The type id does not name a struct.
    #[error("type {id} is {what}, and a layout has to be a struct; name a struct")]
    NotAStruct {
        /// The BTF type id asked for.
        id: u32,
        /// What it is instead.
        what: String,
    },
    /// The struct is too large for the room in front of a packet.
    #[error("layout {layout} has {size} bytes, and at most {MAX_SIZE} fit in front of a packet; make it smaller")]
    TooLarge {
        /// The layout's name.
        layout: String,
        /// Its size in bytes.
        size: u32,
    },
    /// The struct's size cannot be set by the kernel.
    #[error("layout {layout} has {size} bytes, which is not a multiple of 4; pad it")]
    Misaligned {
        /// The layout's name.
        layout: String,
        /// Its size in bytes.
        size: u32,
    },
    /// Too many fields with a hint.
    #[error(
        "layout {layout} has more than {MAX_FIELDS} fields with a hint; {path} is the first beyond that; remove some hints"
    )]
    TooManyFields {
        /// The layout's name.
        layout: String,
        /// The first field beyond the limit.
        path: String,
    },
    /// What is in it cannot be walked through.
    #[error("layout {layout}: {cause}")]
    Fields {
        /// The layout's name.
        layout: String,
        /// Why not.
        cause: WalkFault,
    },
    /// A hint stands on something that cannot hold a number.
    #[error(
        "layout {layout}: field {path} has the hint {hint}, but is {what}; a hint needs an integer, an enumeration, a pointer or an array of them"
    )]
    NotANumber {
        /// The layout's name.
        layout: String,
        /// The field.
        path: String,
        /// The hint.
        hint: String,
        /// What the field is.
        what: String,
    },
    /// A field is wider than any value, or lies beyond its struct.
    #[error(
        "layout {layout}: field {path} has {bits} bits at bit {bit_offset}; only fields of 1 to 64 bits that lie inside the {size} bytes of the layout can be written"
    )]
    BadPlace {
        /// The layout's name.
        layout: String,
        /// The field.
        path: String,
        /// Its offset in bits.
        bit_offset: u64,
        /// Its width in bits.
        bits: u64,
        /// The layout's size in bytes.
        size: u32,
    },
    /// A bitfield with a byte order, or a big-endian field of odd width.
    #[error(
        "layout {layout}: field {path} is big-endian by its type, but has {bits} bits at bit {bit_offset}; only whole bytes have a byte order"
    )]
    OddBigEndian {
        /// The layout's name.
        layout: String,
        /// The field.
        path: String,
        /// Its offset in bits.
        bit_offset: u32,
        /// Its width in bits.
        bits: u32,
    },
    /// Two fields of one place are both written for the same packet.
    #[error(
        "layout {layout}: fields {first} and {second} overlap, and the same packets have both; say which packets have which by a tag xhint:when=ipv4|ipv6|arp|tcp|udp|icmp|vlan|other on each, or remove the hint of one"
    )]
    Overlap {
        /// The layout's name.
        layout: String,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The id does not fit into the field that is to hold it.
    #[error(
        "layout {layout}: id {} does not fit into the {bits} bits of {path}; widen the field or choose a smaller id",
        crate::LayoutId(*.id)
    )]
    IdTooWide {
        /// The layout's name.
        layout: String,
        /// The field.
        path: String,
        /// The id.
        id: u32,
        /// The field's width.
        bits: u32,
    },
}

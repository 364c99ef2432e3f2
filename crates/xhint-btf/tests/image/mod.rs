//! BTF made by hand, of words, in either byte order.

use xhint_btf::{Btf, ByteOrder, Error, Kind};

pub const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];
/// Strings of most images: offset 1 is "a", 3 is "bc", the end is 6.
pub const STRINGS: &[u8] = b"\0a\0bc\0";
pub const HEADER: usize = 24;
pub const INT: [u32; 4] = [1, 1 << 24, 4, 32];

/// A BTF of these words and strings; `layouts` makes the header the longer one.
pub fn image(order: ByteOrder, types: &[u32], strings: &[u8], layouts: &[[u8; 4]]) -> Vec<u8> {
    let (types_len, strings_len) = (types.len() as u32 * 4, strings.len() as u32);
    let header_len = if layouts.is_empty() { HEADER as u32 } else { 32 };
    let mut header = vec![header_len, 0, types_len, types_len, strings_len];
    if !layouts.is_empty() {
        // In front of what is not aligned would be nicer, but the order is free.
        header.extend([types_len + strings_len, layouts.len() as u32 * 4]);
    }
    let magic = match order {
        ByteOrder::Little => [0x9f, 0xeb],
        ByteOrder::Big => [0xeb, 0x9f],
    };
    let words = header.iter().chain(types).flat_map(|word| order.bytes(*word));
    [&magic[..], &[1, 0]]
        .concat()
        .into_iter()
        .chain(words)
        .chain(strings.iter().copied())
        .chain(layouts.concat())
        .collect()
}

pub fn parse(order: ByteOrder, types: &[u32]) -> Result<Btf, Error> {
    Btf::parse(image(order, types, STRINGS, &[]))
}

/// The `info` word.
pub fn info(kind: Kind, vlen: u32) -> u32 {
    (kind as u32) << 24 | vlen
}

/// Where type words stand in the file.
pub fn place(word: usize) -> usize {
    HEADER + word * 4
}

pub fn other_base(cause: Error) -> Error {
    Error::OtherBase(Box::new(cause))
}

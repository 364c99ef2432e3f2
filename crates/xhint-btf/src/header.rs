//! The header: magic, version, and where each section stands.
//!
//! ```text
//! u16 magic 0xEB9F · u8 version 1 · u8 flags · u32 hdr_len
//! u32 type_off, type_len, str_off, str_len      offsets count from the header's end
//! u32 layout_off, layout_len                    only if hdr_len is 32 or more
//! ```

use std::ops::Range;

use crate::{ByteOrder, Error};

const MAGIC: u16 = 0xEB9F;
/// Length of a header without the layout section.
pub const HEADER_LEN: usize = 24;
/// Length of a header that tells where the layout section stands.
pub const HEADER_LEN_LAYOUT: usize = 32;

/// A checked header; the ranges lie within the bytes it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Byte order of everything behind it.
    pub order: ByteOrder,
    /// Where the types stand.
    pub types: Range<usize>,
    /// Where the strings stand.
    pub strings: Range<usize>,
    /// Where the kind layouts stand (`struct btf_layout`, 4 bytes a kind); empty if there are none.
    pub layouts: Range<usize>,
}

impl Header {
    /// Reads the header at the start of `data`.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Magic`], [`Error::Version`], or [`Error::Header`] for a section that does not
    /// lie within `data`.
    pub fn parse(data: &[u8]) -> Result<Header, Error> {
        let order = byte_order(data)?;
        let word = |what, at| {
            order.u32(data, at).ok_or(Error::Truncated { what, at, need: 4, have: data.len().saturating_sub(at) })
        };
        let hdr_len = word("hdr_len", 4)?;
        let header_end = hdr_len as usize;
        if header_end < HEADER_LEN || header_end > data.len() || !header_end.is_multiple_of(4) {
            return Err(Error::Header { what: "hdr_len", value: hdr_len, at: 4 });
        }
        let section = |what, at: usize| -> Result<Range<usize>, Error> {
            let (off, len) = (word(what, at)?, word(what, at.saturating_add(4))?);
            let start = header_end.saturating_add(off as usize);
            let end = start.saturating_add(len as usize);
            if end > data.len() {
                let have = data.len().saturating_sub(start);
                return Err(Error::Truncated { what, at: start, need: len as usize, have });
            }
            Ok(start..end)
        };
        let types = section("the type section", 8)?;
        let strings = section("the string section", 16)?;
        let layouts =
            if header_end >= HEADER_LEN_LAYOUT { section("the layout section", 24)? } else { header_end..header_end };
        if !types.start.is_multiple_of(4) {
            return Err(Error::Header { what: "type_off", value: word("type_off", 8)?, at: 8 });
        }
        if types.start < strings.end && strings.start < types.end && !types.is_empty() && !strings.is_empty() {
            return Err(Error::Header { what: "str_off", value: word("str_off", 16)?, at: 16 });
        }
        Ok(Header { order, types, strings, layouts })
    }

    /// Where the last section ends.
    pub fn end(&self) -> usize {
        self.types.end.max(self.strings.end).max(self.layouts.end)
    }
}

/// The byte order by the magic number.
pub(crate) fn byte_order(data: &[u8]) -> Result<ByteOrder, Error> {
    let have = data.len();
    let short = Error::Truncated { what: "the header", at: 0, need: HEADER_LEN, have };
    let magic = ByteOrder::Little.u16(data, 0).ok_or(short.clone())?;
    let order = match magic {
        MAGIC => ByteOrder::Little,
        m if m == MAGIC.swap_bytes() => ByteOrder::Big,
        m => return Err(Error::Magic(m)),
    };
    match data.get(2).ok_or(short)? {
        1 => Ok(order),
        v => Err(Error::Version(*v)),
    }
}

//! The header: magic, version, and where each section stands.
//!
//! ```text
//! u16 magic 0xEB9F · u8 version 1 · u8 flags · u32 hdr_len
//! u32 type_off, type_len, str_off, str_len      offsets count from the header's end
//! u32 layout_off, layout_len                    only if hdr_len is 32 or more
//! ```

use std::ops::Range;

use crate::number::index;
use crate::reader::{HEADER_LEN_THREE, Start};
use crate::{ByteOrder, Error};

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
        let mut start = Start::read(data)?;
        let mut field = start.header.clone();
        let types = start.section("the type section")?;
        let strings = start.section("the string section")?;
        let end = index(start.len);
        let layouts = if start.len >= HEADER_LEN_THREE { start.section("the layout section")? } else { end..end };
        if !types.start.is_multiple_of(4) {
            return Err(Error::Header { what: "type_off", value: field.word("type_off")?, at: 8 });
        }
        if types.start < strings.end && strings.start < types.end && !types.is_empty() && !strings.is_empty() {
            field.take("the type section", 8)?;
            return Err(Error::Header { what: "str_off", value: field.word("str_off")?, at: 16 });
        }
        Ok(Header { order: start.header.order(), types, strings, layouts })
    }

    /// Where the last section ends.
    pub fn end(&self) -> usize {
        self.types.end.max(self.strings.end).max(self.layouts.end)
    }
}

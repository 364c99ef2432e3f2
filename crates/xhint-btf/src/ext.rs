//! `.BTF.ext`: which instructions belong to which function, source line and CO-RE relocation.
//!
//! ```text
//! u16 magic · u8 version · u8 flags · u32 hdr_len
//! u32 func_info_off, func_info_len, line_info_off, line_info_len
//! u32 core_relo_off, core_relo_len              only if hdr_len is 32 or more
//! each part:    u32 rec_size, then for each ELF section: u32 sec_name_off, u32 num_info, num_info records
//! ```
//! Offsets count from the header's end, as in `.BTF`. Strings stand in the object's `.BTF`. Instruction offsets are
//! in bytes from the start of the ELF section.

use std::ops::Range;

use crate::{ByteOrder, Error, header::byte_order};

/// A function starts here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FuncInfo {
    /// Bytes from the start of the section.
    pub insn_off: u32,
    /// Type id of the FUNC.
    pub type_id: u32,
}

/// Instructions from here on come from this source line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineInfo {
    /// Bytes from the start of the section.
    pub insn_off: u32,
    /// String offset of the file's name.
    pub file_name_off: u32,
    /// String offset of the line's text.
    pub line_off: u32,
    /// Line in the upper 22 bits, column in the lower 10.
    pub line_col: u32,
}

impl LineInfo {
    /// Line, counted from 1.
    pub fn line(self) -> u32 {
        self.line_col >> 10
    }

    /// Column, counted from 1; 0 if not known.
    pub fn column(self) -> u32 {
        self.line_col & 0x3ff
    }
}

/// One CO-RE relocation: the kernel's `struct bpf_core_relo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoreRelo {
    /// Bytes from the start of the section to the instruction.
    pub insn_off: u32,
    /// The local root type.
    pub type_id: u32,
    /// String offset of the access string, such as `0:1:2`.
    pub access_str_off: u32,
    /// `enum bpf_core_relo_kind`, 0 to 12.
    pub kind: u32,
}

/// The records of one ELF section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<T> {
    /// String offset of the ELF section's name.
    pub name_off: u32,
    /// Its records, in file order.
    pub records: Vec<T>,
}

/// A whole `.BTF.ext`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BtfExt {
    /// Byte order of its words.
    pub order: ByteOrder,
    /// Where functions start.
    pub funcs: Vec<Section<FuncInfo>>,
    /// Where source lines start.
    pub lines: Vec<Section<LineInfo>>,
    /// What is to be relocated.
    pub relos: Vec<Section<CoreRelo>>,
}

impl BtfExt {
    /// Reads the section's bytes.
    ///
    /// # Errors
    /// Any fault of the bytes, see [`Error`]. Type ids and string offsets are not checked: they belong to `.BTF`.
    pub fn parse(data: &[u8]) -> Result<BtfExt, Error> {
        let order = byte_order(data)?;
        let reader = Reader { data, order };
        let hdr_len = reader.word("hdr_len", 4)?;
        if hdr_len < 24 || !hdr_len.is_multiple_of(4) || hdr_len as usize > data.len() {
            return Err(Error::Header { what: "hdr_len", value: hdr_len, at: 4 });
        }
        let part = |what, at: usize| -> Result<Range<usize>, Error> {
            let (off, len) = (reader.word(what, at)?, reader.word(what, at.saturating_add(4))?);
            let start = (hdr_len as usize).saturating_add(off as usize);
            let end = start.saturating_add(len as usize);
            if end > data.len() {
                let have = data.len().saturating_sub(start);
                return Err(Error::Truncated { what, at: start, need: len as usize, have });
            }
            Ok(start..end)
        };
        let relos = if hdr_len >= 32 { part("core_relo", 24)? } else { 0..0 };
        Ok(BtfExt {
            order,
            funcs: reader.sections("func_info", part("func_info", 8)?, 2, |[insn_off, type_id, ..]| FuncInfo {
                insn_off,
                type_id,
            })?,
            lines: reader.sections("line_info", part("line_info", 16)?, 4, |[insn_off, file, line, col]| LineInfo {
                insn_off,
                file_name_off: file,
                line_off: line,
                line_col: col,
            })?,
            relos: reader.sections("core_relo", relos, 4, |[insn_off, type_id, access, kind]| CoreRelo {
                insn_off,
                type_id,
                access_str_off: access,
                kind,
            })?,
        })
    }

    /// Whether there is no record in it.
    pub fn is_empty(&self) -> bool {
        fn none<T>(part: &[Section<T>]) -> bool {
            part.iter().all(|s| s.records.is_empty())
        }
        none(&self.funcs) && none(&self.lines) && none(&self.relos)
    }

    /// The bytes of the section; [`BtfExt::parse`] reads them back equal. Parts without records are left out, so
    /// that an object without CO-RE relocations has none to stumble over.
    pub fn write(&self) -> Vec<u8> {
        let funcs = self.part(&self.funcs, |r| [r.insn_off, r.type_id]);
        let lines = self.part(&self.lines, |r| [r.insn_off, r.file_name_off, r.line_off, r.line_col]);
        let relos = self.part(&self.relos, |r| [r.insn_off, r.type_id, r.access_str_off, r.kind]);
        let magic = 0xEB9F_u16;
        let mut out = match self.order {
            ByteOrder::Little => magic.to_le_bytes().to_vec(),
            ByteOrder::Big => magic.to_be_bytes().to_vec(),
        };
        out.extend([1, 0]);
        out.extend(self.order.bytes(32));
        let mut off = 0u32;
        for part in [&funcs, &lines, &relos] {
            let len = part.len() as u32;
            out.extend(self.order.bytes(off));
            out.extend(self.order.bytes(len));
            off = off.saturating_add(len);
        }
        out.extend(funcs);
        out.extend(lines);
        out.extend(relos);
        out
    }

    fn part<T, const N: usize>(&self, sections: &[Section<T>], words: impl Fn(&T) -> [u32; N]) -> Vec<u8> {
        let mut out = Vec::new();
        if sections.iter().all(|s| s.records.is_empty()) {
            return out;
        }
        out.extend(self.order.bytes((N as u32).saturating_mul(4)));
        for section in sections.iter().filter(|s| !s.records.is_empty()) {
            out.extend(self.order.bytes(section.name_off));
            out.extend(self.order.bytes(section.records.len() as u32));
            for word in section.records.iter().flat_map(&words) {
                out.extend(self.order.bytes(word));
            }
        }
        out
    }
}

struct Reader<'a> {
    data: &'a [u8],
    order: ByteOrder,
}

impl Reader<'_> {
    fn word(&self, what: &'static str, at: usize) -> Result<u32, Error> {
        let have = self.data.len().saturating_sub(at);
        self.order.u32(self.data, at).ok_or(Error::Truncated { what, at, need: 4, have })
    }

    /// The records of one part. A record may be longer than the `words` we know, never shorter.
    fn sections<T>(
        &self,
        what: &'static str,
        part: Range<usize>,
        words: usize,
        make: impl Fn([u32; 4]) -> T,
    ) -> Result<Vec<Section<T>>, Error> {
        let mut out = Vec::new();
        if part.is_empty() {
            return Ok(out);
        }
        let size = self.word(what, part.start)? as usize;
        if size < words.saturating_mul(4) || !size.is_multiple_of(4) {
            return Err(Error::Ext {
                what,
                at: part.start,
                why: "the record size is too small or not a multiple of 4",
            });
        }
        let mut at = part.start.saturating_add(4);
        while at < part.end {
            let name_off = self.word(what, at)?;
            let count = self.word(what, at.saturating_add(4))? as usize;
            let start = at.saturating_add(8);
            let end = start.saturating_add(count.saturating_mul(size));
            if count == 0 {
                return Err(Error::Ext { what, at, why: "a section without records" });
            }
            if end > part.end {
                return Err(Error::Ext { what, at, why: "more records than the part has room for" });
            }
            let mut records = Vec::with_capacity(count);
            for record in self.data.get(start..end).unwrap_or_default().chunks_exact(size) {
                let word =
                    |n: usize| if n < words { self.order.u32(record, n.wrapping_mul(4)).unwrap_or(0) } else { 0 };
                records.push(make([word(0), word(1), word(2), word(3)]));
            }
            out.push(Section { name_off, records });
            at = end;
        }
        Ok(out)
    }
}

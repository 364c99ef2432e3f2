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

use crate::number::index;
use crate::reader::{HEADER_LEN_THREE, Start};
use crate::{ByteOrder, Error};

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
pub struct ExtSection<T> {
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
    pub funcs: Vec<ExtSection<FuncInfo>>,
    /// Where source lines start.
    pub lines: Vec<ExtSection<LineInfo>>,
    /// What is to be relocated.
    pub relos: Vec<ExtSection<CoreRelo>>,
}

impl BtfExt {
    /// Reads the section's bytes.
    ///
    /// # Errors
    /// Any fault of the bytes, see [`Error`]. Type ids and string offsets are not checked: they belong to `.BTF`.
    pub fn parse(data: &[u8]) -> Result<BtfExt, Error> {
        let mut start = Start::read(data)?;
        let (funcs, lines) = (start.section("func_info")?, start.section("line_info")?);
        let relos = if start.len >= HEADER_LEN_THREE { start.section("core_relo")? } else { 0..0 };
        Ok(BtfExt {
            order: start.header.order(),
            funcs: sections(&start, "func_info", funcs, |[insn_off, type_id]| FuncInfo { insn_off, type_id })?,
            lines: sections(&start, "line_info", lines, |[insn_off, file_name_off, line_off, line_col]| LineInfo {
                insn_off,
                file_name_off,
                line_off,
                line_col,
            })?,
            relos: sections(&start, "core_relo", relos, |[insn_off, type_id, access_str_off, kind]| CoreRelo {
                insn_off,
                type_id,
                access_str_off,
                kind,
            })?,
        })
    }

    /// Whether there is no record in it.
    pub fn is_empty(&self) -> bool {
        fn none<T>(part: &[ExtSection<T>]) -> bool {
            part.iter().all(|s| s.records.is_empty())
        }
        none(&self.funcs) && none(&self.lines) && none(&self.relos)
    }

    /// The bytes of the section; [`BtfExt::parse`] reads them back equal. Parts without records are left out, so
    /// that an object without CO-RE relocations has none to stumble over.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if a part does not fit in 32 bits.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let funcs = self.part(&self.funcs, |r| [r.insn_off, r.type_id])?;
        let lines = self.part(&self.lines, |r| [r.insn_off, r.file_name_off, r.line_off, r.line_col])?;
        let relos = self.part(&self.relos, |r| [r.insn_off, r.type_id, r.access_str_off, r.kind])?;
        let mut out = Start::write(self.order, HEADER_LEN_THREE);
        let mut off = 0u32;
        for part in [&funcs, &lines, &relos] {
            let len = fits(part.len())?;
            out.extend([off, len].map(|word| self.order.bytes(word)).as_flattened());
            off = off.checked_add(len).ok_or(TOO_LARGE)?;
        }
        out.extend([funcs, lines, relos].concat());
        Ok(out)
    }

    fn part<T, const N: usize>(
        &self,
        sections: &[ExtSection<T>],
        words: impl Fn(&T) -> [u32; N],
    ) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        for section in sections.iter().filter(|s| !s.records.is_empty()) {
            if out.is_empty() {
                out.extend(self.order.bytes(fits(size_of::<[u32; N]>())?));
            }
            out.extend([section.name_off, fits(section.records.len())?].map(|w| self.order.bytes(w)).as_flattened());
            out.extend(section.records.iter().flat_map(&words).flat_map(|word| self.order.bytes(word)));
        }
        Ok(out)
    }
}

const TOO_LARGE: Error = Error::TooLarge { what: ".BTF.ext" };

fn fits(count: usize) -> Result<u32, Error> {
    u32::try_from(count).map_err(|_| TOO_LARGE)
}

/// The records of one part, of `N` words that we know; they may be longer, never shorter.
fn sections<T, const N: usize>(
    start: &Start<'_>,
    what: &'static str,
    part: Range<usize>,
    make: impl Fn([u32; N]) -> T,
) -> Result<Vec<ExtSection<T>>, Error> {
    let mut out = Vec::new();
    if part.is_empty() {
        return Ok(out);
    }
    let mut part = start.within(part);
    let fault = |at, why| Error::Ext { what, at, why };
    let at = part.at();
    let size = index(part.word(what)?);
    if size < size_of::<[u32; N]>() || !size.is_multiple_of(4) {
        return Err(fault(at, "the record size is too small or not a multiple of 4"));
    }
    while !part.is_empty() {
        let at = part.at();
        let (name_off, count) = (part.word(what)?, index(part.word(what)?));
        if count == 0 {
            return Err(fault(at, "a section without records"));
        }
        let bytes = count.checked_mul(size).and_then(|len| part.take(what, len).ok());
        let bytes = bytes.ok_or(fault(at, "more records than the part has room for"))?;
        let words = bytes.chunks_exact(size).filter_map(|record| record.as_chunks().0.first_chunk::<N>());
        let records = words.map(|words| make(words.map(|word| part.order().word(word)))).collect();
        out.push(ExtSection { name_off, records });
    }
    Ok(out)
}

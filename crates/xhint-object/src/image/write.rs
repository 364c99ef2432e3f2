//! [`Image`] to ELF bytes: the header, the sections in their order, the section headers.

use object::write::elf::{Encoder, FileHeaderLayout, Rel, SectionHeader, Sym};
use object::write::{StringId, StringTable};
use object::{Endianness, elf};
use xhint_btf::ByteOrder;

use super::{Content, Image, Place, Relocations, Section, Symbol};
use crate::Error;

impl Image {
    /// The bytes of the object. The same image gives the same bytes.
    ///
    /// # Errors
    /// [`Error::Write`] if a table outgrows what ELF can count.
    pub fn write(&self) -> Result<Vec<u8>, Error> {
        let mut names = StringTable::new();
        let section_names: Vec<_> = self.sections.iter().map(|s| name_id(&mut names, &s.name, s.gone)).collect();
        let symbol_names: Vec<_> = self.symbols.iter().map(|s| name_id(&mut names, &s.name, s.gone)).collect();
        let mut strings = vec![0];
        names.write(&mut strings, 1)?;
        let offset = |id: &Option<StringId>| names.maybe_get_offset(*id);
        let writer = Writer {
            image: self,
            encoder: Encoder::new(endianness(self.order), true, self.header.e_machine),
            section_names: section_names.iter().map(offset).collect(),
            symbol_names: symbol_names.iter().map(offset).collect(),
            strings,
            sections: self.new_section_numbers(),
            symbols: self.symbol_order(),
        };
        writer.file()
    }

    /// By old number the new one, 0 for what goes.
    fn new_section_numbers(&self) -> Vec<u32> {
        let mut next = 0u32;
        let mut number = |section: &Section| {
            let here = if section.gone { 0 } else { next };
            next = next.saturating_add(u32::from(!section.gone));
            here
        };
        self.sections.iter().map(&mut number).collect()
    }

    /// Which symbols are written in which order: as they are, local ones first as ELF wants it, without those whose
    /// section goes.
    fn symbol_order(&self) -> Vec<usize> {
        let stays = |n: &usize| match self.symbols.get(*n) {
            Some(symbol) if symbol.gone => false,
            Some(Symbol { place: Place::Section(section), .. }) => !self.sections.get(*section).is_none_or(|s| s.gone),
            _ => true,
        };
        let mut order: Vec<_> = (0..self.symbols.len()).filter(stays).collect();
        order.sort_by_key(|n| self.symbols.get(*n).is_some_and(|s| !s.is_local()));
        order
    }
}

fn name_id<'a>(names: &mut StringTable<'a>, name: &'a str, gone: bool) -> Option<StringId> {
    (!gone && !name.is_empty()).then(|| names.add(name.as_bytes()))
}

fn endianness(order: ByteOrder) -> Endianness {
    match order {
        ByteOrder::Little => Endianness::Little,
        ByteOrder::Big => Endianness::Big,
    }
}

struct Writer<'a> {
    image: &'a Image,
    encoder: Encoder<Endianness>,
    section_names: Vec<u32>,
    symbol_names: Vec<u32>,
    strings: Vec<u8>,
    sections: Vec<u32>,
    symbols: Vec<usize>,
}

impl Writer<'_> {
    fn file(&self) -> Result<Vec<u8>, Error> {
        let mut out = vec![0; self.encoder.file_header_size() as usize];
        let mut headers = Vec::new();
        for number in self.stays().skip(1) {
            headers.push(self.section(number, &mut out));
        }
        align(&mut out, 8);
        let layout = FileHeaderLayout {
            e_shoff: out.len() as u64,
            section_num: (headers.len() as u32).saturating_add(1),
            shstrtab_index: self.number_of(|c| matches!(c, Content::Strings)),
            ..FileHeaderLayout::default()
        };
        self.encoder.null_section_header(&mut out, &layout);
        for header in &headers {
            self.encoder.section_header(&mut out, header);
        }
        let mut head = Vec::new();
        self.encoder.file_header(&mut head, &self.image.header, &layout)?;
        for (to, from) in out.iter_mut().zip(head) {
            *to = from;
        }
        Ok(out)
    }

    fn stays(&self) -> impl Iterator<Item = usize> {
        let gone = |n: &usize| self.image.sections.get(*n).is_none_or(|s| s.gone);
        (0..self.image.sections.len()).filter(move |n| !gone(n))
    }

    /// The new number of the first section with such content, 0 if there is none.
    fn number_of(&self, fits: impl Fn(&Content) -> bool) -> u32 {
        let found = self.stays().find(|n| self.image.sections.get(*n).is_some_and(|s| fits(&s.content)));
        self.new_number(found.unwrap_or(0))
    }

    fn new_number(&self, old: usize) -> u32 {
        self.sections.get(old).copied().unwrap_or(0)
    }

    /// Appends the content of section `number`, and gives its header.
    fn section(&self, number: usize, out: &mut Vec<u8>) -> SectionHeader {
        let Some(section) = self.image.sections.get(number) else { return SectionHeader::default() };
        align(out, section.align);
        let start = out.len();
        let (mut link, mut info, mut zeroes) = (self.new_number(section.link as usize), 0, 0);
        match &section.content {
            Content::Bytes(bytes) => out.extend_from_slice(bytes),
            Content::Zeroes(size) => zeroes = *size,
            Content::Strings => out.extend_from_slice(&self.strings),
            Content::Symbols => {
                link = self.number_of(|c| matches!(c, Content::Strings));
                info = self.write_symbols(out);
            }
            Content::Relocations(relocations) => {
                link = self.number_of(|c| matches!(c, Content::Symbols));
                info = self.new_number(relocations.target);
                self.write_relocations(relocations, out);
            }
        }
        SectionHeader {
            sh_name: self.section_names.get(number).copied().unwrap_or(0),
            sh_type: section.kind,
            sh_flags: section.flags,
            sh_addr: 0,
            sh_offset: start as u64,
            sh_size: (out.len().saturating_sub(start) as u64).saturating_add(zeroes),
            sh_link: link,
            sh_info: info,
            sh_addralign: section.align,
            sh_entsize: section.entry_size,
        }
    }

    /// Appends the symbols, and gives the number of local ones.
    fn write_symbols(&self, out: &mut Vec<u8>) -> u32 {
        let mut local = 0u32;
        for number in &self.symbols {
            let Some(symbol) = self.image.symbols.get(*number) else { continue };
            local = local.saturating_add(u32::from(symbol.is_local()));
            let (section, special) = match symbol.place {
                Place::Section(section) => (Some(self.new_number(section)), elf::SHN_UNDEF),
                Place::Special(special) => (None, special),
            };
            let raw = Sym {
                section,
                st_name: self.symbol_names.get(*number).copied().unwrap_or(0),
                st_info: symbol.info,
                st_other: symbol.other,
                st_shndx: special,
                st_value: symbol.value,
                st_size: symbol.size,
            };
            self.encoder.symbol(out, &raw);
        }
        local
    }

    fn write_relocations(&self, relocations: &Relocations, out: &mut Vec<u8>) {
        let mut numbers = vec![0u32; self.image.symbols.len()];
        for (new, old) in self.symbols.iter().enumerate() {
            if let Some(slot) = numbers.get_mut(*old) {
                *slot = new as u32;
            }
        }
        for r in &relocations.entries {
            let symbol = numbers.get(r.symbol).copied().unwrap_or(0);
            let raw = Rel { r_offset: r.offset, r_sym: symbol, r_type: r.kind, r_addend: r.addend };
            self.encoder.relocation(out, relocations.with_addend, &raw);
        }
    }
}

/// Pads with zeroes to a multiple of `to`, as far as that makes sense: an ELF section of an object is aligned to a page
/// at most.
fn align(out: &mut Vec<u8>, to: u64) {
    let to = to.clamp(1, 4096) as usize;
    out.resize(out.len().next_multiple_of(to), 0);
}

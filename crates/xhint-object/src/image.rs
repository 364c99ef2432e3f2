//! An ELF relocatable as a list of sections and a list of symbols, ready to be changed and written again.
//!
//! Both lists keep the order and the numbering of the file: entry 0 of each is the null entry ELF has there. What is
//! to go is marked, and [`write`] renumbers. `read` and `write` mirror each other.

mod read;
mod write;

use bytes::Bytes;
use object::elf;
use object::write::elf::FileHeader;
use xhint_btf::ByteOrder;

/// A whole object file.
#[derive(Debug, Clone)]
pub struct Image {
    pub order: ByteOrder,
    pub header: FileHeader,
    /// By ELF section number; number 0 is a placeholder.
    pub sections: Vec<Section>,
    /// By ELF symbol number; number 0 is a placeholder.
    pub symbols: Vec<Symbol>,
}

/// One section.
#[derive(Debug, Clone)]
pub struct Section {
    pub name: String,
    pub kind: elf::SectionType,
    pub flags: elf::SectionFlags,
    pub align: u64,
    pub entry_size: u64,
    /// `sh_link` of a section other than the symbol table and relocations, whose links are known.
    pub link: u32,
    pub content: Content,
    /// Not to be written.
    pub gone: bool,
}

/// What a section holds.
#[derive(Debug, Clone)]
pub enum Content {
    Bytes(Bytes),
    /// Zeroes, so many, that are not in the file.
    Zeroes(u64),
    Relocations(Relocations),
    /// [`Image::symbols`].
    Symbols,
    /// Names of sections and symbols.
    Strings,
}

/// Relocations of one section.
#[derive(Debug, Clone)]
pub struct Relocations {
    /// Number of the section they are for.
    pub target: usize,
    /// `SHT_RELA` rather than `SHT_REL`.
    pub with_addend: bool,
    pub entries: Vec<Relocation>,
}

/// One relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// Bytes from the start of the target section.
    pub offset: u64,
    pub kind: elf::RelocationType,
    /// Number of the symbol.
    pub symbol: usize,
    pub addend: i64,
}

/// One symbol.
#[derive(Debug, Clone)]
pub struct Symbol {
    pub name: String,
    pub info: elf::SymbolInfo,
    pub other: elf::SymbolOther,
    pub place: Place,
    pub value: u64,
    pub size: u64,
    /// Not to be written.
    pub gone: bool,
}

/// Where a symbol stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the section with this number.
    Section(usize),
    /// `SHN_UNDEF`, `SHN_ABS`, `SHN_COMMON`.
    Special(elf::SymbolSection),
}

impl Image {
    /// The number of the first section with this name.
    pub fn section_named(&self, name: &str) -> Option<usize> {
        self.sections.iter().position(|s| !s.gone && s.name == name)
    }

    /// The bytes of section `number`; empty if it has none.
    pub fn bytes(&self, number: usize) -> &[u8] {
        match self.sections.get(number) {
            Some(Section { content: Content::Bytes(bytes), .. }) => bytes,
            _ => &[],
        }
    }

    /// The relocations of section `target`.
    pub fn relocations(&self, target: usize) -> impl Iterator<Item = &Relocation> {
        let fits = move |s: &&Section| !s.gone;
        self.sections.iter().filter(fits).flat_map(move |s| match &s.content {
            Content::Relocations(r) if r.target == target => r.entries.as_slice(),
            _ => &[],
        })
    }

    /// Marks every section of data with this name, and the relocations for it, as not to be written.
    pub fn drop_section(&mut self, name: &str) {
        for number in 0..self.sections.len() {
            let is_data = |s: &Section| matches!(s.content, Content::Bytes(_) | Content::Zeroes(_));
            if self.sections.get(number).is_some_and(|s| s.name == name && is_data(s)) {
                self.drop_number(number);
            }
        }
    }

    fn drop_number(&mut self, number: usize) {
        if let Some(section) = self.sections.get_mut(number) {
            section.gone = true;
        }
        drop_dependents(&mut self.sections);
    }

    /// Marks the relocations for section `target` as not to be written.
    pub fn drop_relocations(&mut self, target: usize) {
        for section in &mut self.sections {
            section.gone |= matches!(&section.content, Content::Relocations(r) if r.target == target);
        }
        drop_dependents(&mut self.sections);
    }
}

/// Marks relocations whose section goes.
fn drop_dependents(sections: &mut [Section]) {
    loop {
        let gone: Vec<_> = sections.iter().map(|s| s.gone).collect();
        for section in sections.iter_mut() {
            if let Content::Relocations(r) = &section.content {
                section.gone |= gone.get(r.target) == Some(&true);
            }
        }
        if sections.iter().map(|s| s.gone).eq(gone) {
            return;
        }
    }
}

impl Section {
    /// Whether it holds instructions.
    pub fn is_code(&self) -> bool {
        self.kind == elf::SHT_PROGBITS && self.flags.contains(elf::SHF_EXECINSTR)
    }
}

impl Symbol {
    /// A function of the program.
    pub fn is_function(&self) -> bool {
        self.info.st_type() == elf::STT_FUNC
    }

    /// Seen in its own file only.
    pub fn is_local(&self) -> bool {
        self.info.st_bind() == elf::STB_LOCAL
    }
}

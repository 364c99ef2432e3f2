//! An ELF relocatable as a list of sections and a list of symbols, ready to be changed and written again.
//!
//! Both lists keep the order and the numbering of the file: entry 0 of each is the null entry ELF has there. What is
//! to go is marked, and [`write`] renumbers. `read` and `write` mirror each other. Numbers of sections and symbols are
//! checked where they are read, so that a number that exists leads to what it means.

mod read;
mod write;

use std::collections::HashMap;

use bytes::Bytes;
use object::elf;
use object::write::elf::FileHeader;
use xhint_bpf::{Arena, SymbolId};
use xhint_btf::ByteOrder;
use xhint_btf::ext::BtfExt;

/// Number of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SectionId(usize);

impl From<usize> for SectionId {
    fn from(number: usize) -> SectionId {
        SectionId(number)
    }
}

impl From<SectionId> for usize {
    fn from(id: SectionId) -> usize {
        id.0
    }
}

/// A whole object file.
#[derive(Debug, Clone)]
pub struct Image {
    /// Byte order of the file.
    pub order: ByteOrder,
    /// What the ELF header says.
    pub header: FileHeader,
    /// Number 0 is a placeholder.
    pub sections: Arena<SectionId, Section>,
    /// Number 0 is a placeholder.
    pub symbols: Arena<SymbolId, Symbol>,
}

/// One section.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// What ELF takes it for.
    pub kind: elf::SectionType,
    /// How a loader treats it.
    pub flags: elf::SectionFlags,
    /// The number that its place is a multiple of.
    pub align: u64,
    /// Bytes of an entry, if it has such.
    pub entry_size: u64,
    /// `sh_link` of a section other than the symbol table and relocations, whose links are known.
    pub link: SectionId,
    /// What it holds.
    pub content: SectionContent,
    /// Not to be written.
    pub gone: bool,
}

/// What a section holds.
#[derive(Debug, Clone)]
pub enum SectionContent {
    /// What stands in the file.
    Bytes(Bytes),
    /// Zeroes, so many, that are not in the file.
    Zeroes(u64),
    /// Relocations of another section.
    Relocations(Relocations),
    /// [`Image::symbols`].
    Symbols,
    /// Names of sections and symbols.
    Strings,
}

/// Relocations of one section.
#[derive(Debug, Clone)]
pub struct Relocations {
    /// The section they are for.
    pub target: SectionId,
    /// `SHT_RELA` rather than `SHT_REL`.
    pub with_addend: bool,
    /// Them.
    pub entries: Vec<Relocation>,
}

/// One relocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relocation {
    /// Bytes from the start of the target section.
    pub offset: u64,
    /// Which computation.
    pub kind: elf::RelocationType,
    /// The symbol.
    pub symbol: SymbolId,
    /// What is added to the symbol's value, where the table says it.
    pub addend: i64,
}

/// One symbol.
#[derive(Debug, Clone)]
pub struct Symbol {
    /// Its name.
    pub name: String,
    /// What it names, and who sees it.
    pub info: elf::SymbolInfo,
    /// Its visibility.
    pub other: elf::SymbolOther,
    /// Where it stands.
    pub place: SymbolPlace,
    /// Bytes from the start of its section.
    pub value: u64,
    /// Bytes of what it names.
    pub size: u64,
    /// Not to be written.
    pub gone: bool,
}

/// Where a symbol stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SymbolPlace {
    /// In a section.
    Section(SectionId),
    /// `SHN_UNDEF`, `SHN_ABS`, `SHN_COMMON`.
    Special(elf::SymbolSection),
}

impl Image {
    /// The first section with this name.
    pub fn section_named(&self, name: &str) -> Option<SectionId> {
        self.sections.position(|s| !s.gone && s.name == name)
    }

    /// All sections by name; of several that are called so, the first.
    pub fn sections_by_name(&self) -> HashMap<&str, SectionId> {
        let mut all = HashMap::new();
        for (id, section) in self.sections.entries().filter(|(_, section)| !section.gone) {
            all.entry(section.name.as_str()).or_insert(id);
        }
        all
    }

    /// The bytes of a section; empty if it has none.
    pub fn bytes(&self, section: SectionId) -> &[u8] {
        match &self.sections.at(section).content {
            SectionContent::Bytes(bytes) => bytes,
            _ => &[],
        }
    }

    /// The same, shared.
    pub(crate) fn shared_bytes(&self, section: SectionId) -> Bytes {
        match &self.sections.at(section).content {
            SectionContent::Bytes(bytes) => bytes.clone(),
            _ => Bytes::new(),
        }
    }

    /// The section that holds instructions where this symbol stands.
    pub fn code_of(&self, symbol: SymbolId) -> Option<SectionId> {
        let SymbolPlace::Section(section) = self.symbols.at(symbol).place else { return None };
        self.sections.at(section).is_code().then_some(section)
    }

    /// The relocations of section `target`.
    pub fn relocations(&self, target: SectionId) -> impl Iterator<Item = &Relocation> {
        let fits = move |s: &&Section| !s.gone;
        self.sections.iter().filter(fits).flat_map(move |s| match &s.content {
            SectionContent::Relocations(r) if r.target == target => r.entries.as_slice(),
            _ => &[],
        })
    }

    /// All relocations, each with the section it is of.
    pub fn all_relocations(&self) -> impl Iterator<Item = (SectionId, &Relocation)> {
        let all = self.sections.iter().filter_map(|section| match &section.content {
            SectionContent::Relocations(relocations) if !section.gone => Some(relocations),
            _ => None,
        });
        all.flat_map(|r| r.entries.iter().map(move |entry| (r.target, entry)))
    }

    /// Adds a section of bytes that a loader maps, with these flags beside.
    pub fn add_section(&mut self, name: &str, flags: elf::SectionFlags, bytes: Bytes) -> SectionId {
        self.sections.push(Section {
            name: name.to_owned(),
            kind: elf::SHT_PROGBITS,
            flags: elf::SHF_ALLOC.with(flags),
            align: 8,
            entry_size: 0,
            link: SectionId(0),
            content: SectionContent::Bytes(bytes),
            gone: false,
        })
    }

    /// Adds the symbol of a function that stands nowhere yet.
    pub fn add_function(&mut self, name: String, global: bool) -> SymbolId {
        self.add_symbol(name, if global { elf::STB_GLOBAL } else { elf::STB_LOCAL }, elf::STT_FUNC)
    }

    /// Adds a symbol that stands nowhere yet.
    fn add_symbol(&mut self, name: String, bind: elf::SymbolBind, kind: elf::SymbolType) -> SymbolId {
        self.symbols.push(Symbol {
            name,
            info: elf::SymbolInfo::new(bind, kind),
            other: elf::SymbolOther::default(),
            place: SymbolPlace::Special(elf::SHN_UNDEF),
            value: 0,
            size: 0,
            gone: false,
        })
    }

    /// Adds the symbol of a variable that stands nowhere yet.
    pub fn add_variable(&mut self, name: &str) -> SymbolId {
        self.add_symbol(name.to_owned(), elf::STB_GLOBAL, elf::STT_OBJECT)
    }

    /// Lets a symbol stand in a section.
    pub fn place_symbol(&mut self, symbol: SymbolId, section: SectionId, value: u64, size: u64) {
        let symbol = self.symbols.at_mut(symbol);
        (symbol.place, symbol.value, symbol.size) = (SymbolPlace::Section(section), value, size);
    }

    /// The symbol that stands for a section, which is made if there is none.
    pub fn section_symbol(&mut self, section: SectionId) -> SymbolId {
        let is_its =
            |s: &Symbol| s.info.st_type() == elf::STT_SECTION && s.place == SymbolPlace::Section(section) && !s.gone;
        self.symbols.position(is_its).unwrap_or_else(|| {
            let symbol = self.add_symbol(String::new(), elf::STB_LOCAL, elf::STT_SECTION);
            self.place_symbol(symbol, section, 0, 0);
            symbol
        })
    }

    /// Lets these bytes be what a section holds.
    pub fn set_bytes(&mut self, section: SectionId, bytes: Bytes) {
        self.sections.at_mut(section).content = SectionContent::Bytes(bytes);
    }

    /// Lets `change` change the relocations of section `target`.
    pub fn change_relocations(&mut self, target: SectionId, change: impl FnOnce(&mut Vec<Relocation>)) {
        for section in &mut self.sections {
            if let SectionContent::Relocations(r) = &mut section.content
                && r.target == target
                && !section.gone
            {
                return change(&mut r.entries);
            }
        }
        let mut entries = Vec::new();
        change(&mut entries);
        if entries.is_empty() {
            return;
        }
        self.sections.push(Section {
            name: format!(".rel{}", self.sections.at(target).name),
            kind: elf::SHT_REL,
            flags: elf::SHF_INFO_LINK,
            align: 8,
            entry_size: 16,
            link: SectionId(0),
            content: SectionContent::Relocations(Relocations { target, with_addend: false, entries }),
            gone: false,
        });
    }

    /// Writes `.BTF` and `.BTF.ext` anew. The relocations of `.BTF.ext` go: its records have moved, and what it says is
    /// right without.
    ///
    /// # Errors
    /// [`xhint_btf::Error::TooLarge`] if `.BTF.ext` does not fit in 32 bits.
    pub fn set_btf(&mut self, btf: Bytes, ext: &BtfExt) -> Result<(), xhint_btf::Error> {
        self.section_named(".BTF").into_iter().for_each(|section| self.set_bytes(section, btf.clone()));
        if ext.is_empty() {
            // A loader takes a header with nothing behind it for a fault.
            self.drop_section(".BTF.ext");
        } else if let Some(section) = self.section_named(".BTF.ext") {
            self.set_bytes(section, ext.write()?.into());
            self.drop_relocations(section);
        }
        Ok(())
    }

    /// Drops DWARF, which describes code where it was, and the symbols that only it names.
    pub fn drop_debug(&mut self) {
        let is_debug = |name: &str| name.starts_with(".debug") || name == ".eh_frame";
        let names: Vec<_> = self.sections.iter().filter(|s| is_debug(&s.name)).map(|s| s.name.clone()).collect();
        names.iter().for_each(|name| self.drop_section(name));
        for symbol in &mut self.symbols {
            if let SymbolPlace::Section(section) = symbol.place {
                symbol.gone |= self.sections.at(section).gone;
            }
        }
    }

    /// Marks every section of data with this name, and the relocations for it, as not to be written.
    pub fn drop_section(&mut self, name: &str) {
        let is_data = |s: &Section| matches!(s.content, SectionContent::Bytes(_) | SectionContent::Zeroes(_));
        self.sections.iter_mut().filter(|s| s.name == name && is_data(s)).for_each(|s| s.gone = true);
        drop_dependents(&mut self.sections);
    }

    /// Marks the relocations for section `target` as not to be written.
    pub fn drop_relocations(&mut self, target: SectionId) {
        for section in &mut self.sections {
            section.gone |= matches!(&section.content, SectionContent::Relocations(r) if r.target == target);
        }
        drop_dependents(&mut self.sections);
    }
}

/// Marks relocations whose section goes.
fn drop_dependents(sections: &mut Arena<SectionId, Section>) {
    loop {
        let gone: Arena<SectionId, bool> = sections.iter().map(|s| s.gone).collect();
        for section in sections.iter_mut() {
            if let SectionContent::Relocations(r) = &section.content {
                section.gone |= gone.at(r.target);
            }
        }
        if sections.iter().map(|s| s.gone).eq(gone.iter().copied()) {
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

//! The code of an object taken apart into functions that can be copied and moved, and put together again.
//!
//! 1. [`Assembly::take`] cuts each code section at its functions. Calls and addresses of functions come to name the
//!    function's own symbol, so that a function may move; a call within a section, which the compiler gives as a
//!    distance, becomes a relocation. Code between functions (alignment, or what was a weak function until `bpftool gen
//!    object` found a strong one) is nobody's, and goes: loaders do not look at it either.
//! 2. Whoever generates code adds [`Body`]s, each with a symbol of its own, to the section of its choice.
//! 3. [`Assembly::put`] lays the bodies of a section one behind another and writes the section, its relocations, the
//!    values of the symbols, and the func and line info anew.

use std::collections::BTreeMap;

use bytes::Bytes;
use object::elf;
use xhint_btf::ext::{BtfExt, FuncInfo, LineInfo, Section as ExtSection};

use crate::image::{Content, Image, Place, Relocation, Relocations, Section, Symbol};
use crate::insn::{Insn, SIZE};
use crate::{Error, Function, Object};

/// Where functions that programs call stand.
pub const TEXT: &str = ".text";

/// A function, free of its place.
#[derive(Debug, Clone)]
pub struct Body {
    /// Number of its symbol.
    pub symbol: usize,
    /// Its instructions.
    pub code: Vec<u8>,
    /// Its relocations; offsets count from its start.
    pub relocations: Vec<Relocation>,
    /// Its FUNC in the object's BTF, if it has func info.
    pub func: Option<u32>,
    /// Its lines; offsets count from its start.
    pub lines: Vec<LineInfo>,
}

/// The code of an object, by section.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// Section number, and what stands in it in order.
    pub sections: BTreeMap<usize, Vec<Body>>,
}

impl Assembly {
    /// Takes the code of `object` apart.
    ///
    /// # Errors
    /// [`Error::Section`] where a call leads to no function.
    pub fn take(object: &Object) -> Result<Assembly, Error> {
        let mut sections: BTreeMap<usize, Vec<Body>> = BTreeMap::new();
        for (number, section) in object.image.sections.iter().enumerate() {
            if section.is_code() && !section.gone {
                sections.insert(number, Vec::new());
            }
        }
        for function in &object.functions {
            sections.entry(function.section).or_default().push(body(object, function)?);
        }
        Ok(Assembly { sections })
    }

    /// Puts the code into `image`, and its func and line info into `ext`. `names` gives the offset of a section's name
    /// among the BTF's strings.
    ///
    /// # Errors
    /// Those of `names`.
    pub fn put(
        self,
        image: &mut Image,
        ext: &mut BtfExt,
        mut names: impl FnMut(&str) -> Result<u32, Error>,
    ) -> Result<(), Error> {
        ext.funcs.clear();
        ext.lines.clear();
        drop_labels(image);
        let lay_one = |(number, bodies)| (number, lay(&mut image.symbols, number, bodies));
        let all: Vec<_> = self.sections.into_iter().map(lay_one).collect();
        for (number, mut laid) in all {
            let Some(name) = image.sections.get(number).map(|s| s.name.clone()) else { continue };
            address_by_section(image, &mut laid);
            if let Some(section) = image.sections.get_mut(number) {
                section.content = Content::Bytes(Bytes::from(laid.code));
            }
            set_relocations(image, number, &name, laid.relocations);
            if !laid.funcs.is_empty() {
                ext.funcs.push(ExtSection { name_off: names(&name)?, records: laid.funcs });
            }
            if !laid.lines.is_empty() {
                ext.lines.push(ExtSection { name_off: names(&name)?, records: laid.lines });
            }
        }
        Ok(())
    }
}

/// The number of the section `.text`, which is made if there is none.
pub fn text_section(image: &mut Image, assembly: &mut Assembly) -> usize {
    let number = image.section_named(TEXT).unwrap_or_else(|| {
        image.sections.push(Section {
            name: TEXT.to_owned(),
            kind: elf::SHT_PROGBITS,
            flags: elf::SHF_ALLOC.with(elf::SHF_EXECINSTR),
            align: 8,
            entry_size: 0,
            link: 0,
            content: Content::Bytes(Bytes::new()),
            gone: false,
        });
        image.sections.len().saturating_sub(1)
    });
    assembly.sections.entry(number).or_default();
    number
}

/// Adds a symbol for a function that will be put together later, and gives its number.
pub fn new_symbol(image: &mut Image, name: String, global: bool) -> usize {
    let bind = if global { elf::STB_GLOBAL } else { elf::STB_LOCAL };
    image.symbols.push(Symbol {
        name,
        info: elf::SymbolInfo::new(bind, elf::STT_FUNC),
        other: elf::SymbolOther::default(),
        place: Place::Special(elf::SHN_UNDEF),
        value: 0,
        size: 0,
        gone: false,
    });
    image.symbols.len().saturating_sub(1)
}

/// A function, free of its place.
fn body(object: &Object, function: &Function) -> Result<Body, Error> {
    let within = function.start as u64..function.end as u64;
    let move_back = |offset: u64| offset.saturating_sub(within.start);
    let in_image = object.image.relocations(function.section).filter(|r| within.contains(&r.offset));
    let mut body = Body {
        symbol: function.symbol,
        code: object.code(function).to_vec(),
        relocations: in_image.map(|r| Relocation { offset: move_back(r.offset), ..*r }).collect(),
        func: object.func_info(function),
        lines: object.lines_of(function),
    };
    let mut at = 0usize;
    while let Some(insn) = Insn::at(&body.code, at, object.order()) {
        match object.callee(function, at) {
            Some(callee) => name_callee(object, &mut body, at, insn, callee),
            None if object.leads_into_code(function, at) => {
                let what = format!(
                    "the instruction at {:#x}, in {}, leads into code, and to no function's start there",
                    function.start.saturating_add(at),
                    function.name
                );
                return Err(Error::Section { name: function.section_name.clone(), what });
            }
            None => {}
        }
        at = at.saturating_add(if insn.is_wide() { 2 * SIZE } else { SIZE });
    }
    Ok(body)
}

/// Makes the instruction at `at` name the symbol of `callee`, wherever that will stand.
fn name_callee(object: &Object, body: &mut Body, at: usize, insn: Insn, callee: usize) {
    let Some(function) = object.functions.get(callee) else { return };
    // A loader adds a call's immediate and one, or a wide load's immediate, to where the symbol stands.
    let (kind, imm) = if insn.is_wide() { (elf::R_BPF_64_64, 0) } else { (elf::R_BPF_64_32, -1) };
    set(&mut body.code, at, &Insn { imm, ..insn }.bytes(object.order()));
    body.relocations.retain(|r| r.offset != at as u64);
    let new = Relocation { offset: at as u64, kind, symbol: function.symbol, addend: 0 };
    let place = body.relocations.partition_point(|r| r.offset < new.offset);
    body.relocations.insert(place, new);
}

/// Writes `bytes` over those at `at`, which are there.
pub fn set(code: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in code.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

/// A section's content.
struct Laid {
    code: Vec<u8>,
    relocations: Vec<Relocation>,
    funcs: Vec<FuncInfo>,
    lines: Vec<LineInfo>,
}

fn lay(symbols: &mut [Symbol], section: usize, bodies: Vec<Body>) -> Laid {
    let mut out = Laid { code: vec![], relocations: vec![], funcs: vec![], lines: vec![] };
    for body in bodies {
        let start = out.code.len() as u64;
        if let Some(symbol) = symbols.get_mut(body.symbol) {
            symbol.place = Place::Section(section);
            symbol.value = start;
            symbol.size = body.code.len() as u64;
        }
        let moved = |r: &Relocation| Relocation { offset: r.offset.saturating_add(start), ..*r };
        out.relocations.extend(body.relocations.iter().map(moved));
        out.funcs.extend(body.func.map(|type_id| FuncInfo { insn_off: start as u32, type_id }));
        let moved = |l: &LineInfo| LineInfo { insn_off: l.insn_off.saturating_add(start as u32), ..*l };
        out.lines.extend(body.lines.iter().map(moved));
        out.code.extend(body.code);
    }
    out
}

/// Lets addresses of local functions name their section and the distance from its start: libbpf takes the address of a
/// local function in no other way.
fn address_by_section(image: &mut Image, laid: &mut Laid) {
    for relocation in laid.relocations.iter_mut().filter(|r| r.kind == elf::R_BPF_64_64) {
        let Some(symbol) = image.symbols.get(relocation.symbol).filter(|s| s.is_function() && s.is_local()) else {
            continue;
        };
        let (Place::Section(section), value) = (symbol.place, symbol.value) else { continue };
        let at = relocation.offset as usize;
        if let Some(insn) = Insn::at(&laid.code, at, image.order) {
            relocation.symbol = section_symbol(image, section);
            set(&mut laid.code, at, &Insn { imm: value as i32, ..insn }.bytes(image.order));
        }
    }
}

/// The symbol that stands for a section, which is made if there is none.
fn section_symbol(image: &mut Image, section: usize) -> usize {
    let fits = |s: &Symbol| s.info.st_type() == elf::STT_SECTION && s.place == Place::Section(section) && !s.gone;
    if let Some(number) = image.symbols.iter().position(fits) {
        return number;
    }
    image.symbols.push(Symbol {
        name: String::new(),
        info: elf::SymbolInfo::new(elf::STB_LOCAL, elf::STT_SECTION),
        other: elf::SymbolOther::default(),
        place: Place::Section(section),
        value: 0,
        size: 0,
        gone: false,
    });
    image.symbols.len().saturating_sub(1)
}

fn set_relocations(image: &mut Image, target: usize, name: &str, entries: Vec<Relocation>) {
    for section in &mut image.sections {
        if let Content::Relocations(r) = &mut section.content
            && r.target == target
            && !section.gone
        {
            r.entries = entries;
            return;
        }
    }
    if entries.is_empty() {
        return;
    }
    image.sections.push(Section {
        name: format!(".rel{name}"),
        kind: elf::SHT_REL,
        flags: elf::SHF_INFO_LINK,
        align: 8,
        entry_size: 16,
        link: 0,
        content: Content::Relocations(Relocations { target, with_addend: false, entries }),
        gone: false,
    });
}

/// Takes the compiler's labels out of code sections: they would point into the midst of what moved.
fn drop_labels(image: &mut Image) {
    let code: Vec<_> = image.sections.iter().map(Section::is_code).collect();
    for symbol in &mut image.symbols {
        let in_code = matches!(symbol.place, Place::Section(n) if code.get(n) == Some(&true));
        if in_code && symbol.is_local() && symbol.info.st_type() == elf::STT_NOTYPE {
            symbol.gone = true;
        }
    }
}

#[cfg(test)]
mod tests;

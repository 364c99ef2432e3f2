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
use xhint_bpf::{Arena, Instruction, Named, Reference, SymbolId, encode};
use xhint_btf::ext::{BtfExt, ExtSection, FuncInfo, LineInfo};

use crate::image::{Image, Relocation, Section, SectionId, SymbolPlace};
use crate::{Error, Function, Object};

/// Where functions that programs call stand.
pub const TEXT: &str = ".text";

/// A function, free of its place.
#[derive(Debug, Clone)]
pub struct Body {
    /// Its symbol.
    pub symbol: SymbolId,
    /// Its instructions.
    pub code: Vec<Instruction>,
    /// Its FUNC in the object's BTF, if it has func info.
    pub func: Option<u32>,
}

/// The code of an object, by section.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// What stands in each section, in order.
    pub sections: BTreeMap<SectionId, Vec<Body>>,
}

impl Assembly {
    /// Takes the code of `object` apart.
    ///
    /// # Errors
    /// [`Error::Section`] where a call leads to no function, [`Error::JumpTable`].
    pub fn take(object: &Object) -> Result<Assembly, Error> {
        if let Some(function) = object.jumps_by_table() {
            return Err(Error::JumpTable { function: function.name.clone() });
        }
        let sections = object.image().sections.entries();
        let code = sections.filter(|(_, section)| section.is_code() && !section.gone);
        let mut sections: BTreeMap<SectionId, Vec<Body>> = code.map(|(id, _)| (id, Vec::new())).collect();
        for function in object.functions() {
            sections.entry(function.section).or_default().push(body(object, function)?);
        }
        Ok(Assembly { sections })
    }

    /// The section `.text`, which is made if there is none.
    pub fn text(&mut self, image: &mut Image) -> SectionId {
        let found = image.section_named(TEXT);
        let section = found.unwrap_or_else(|| image.add_section(TEXT, elf::SHF_EXECINSTR, Bytes::new()));
        self.sections.entry(section).or_default();
        section
    }

    /// Puts the code into `image`, and its func and line info into `ext`. `names` gives the offset of a section's name
    /// among the BTF's strings.
    ///
    /// # Errors
    /// [`Error::Section`] for a jump that leads out of its function, [`Error::TooFar`], and those of `names`.
    pub fn put(
        self,
        image: &mut Image,
        ext: &mut BtfExt,
        mut names: impl FnMut(&str) -> Result<u32, Error>,
    ) -> Result<(), Error> {
        ext.funcs.clear();
        ext.lines.clear();
        drop_labels(image);
        // Where all functions stand has to be known before any address of one is written.
        for (section, bodies) in &self.sections {
            place(image, *section, bodies);
        }
        for (section, mut bodies) in self.sections {
            bodies.iter_mut().for_each(|body| address_by_section(image, &mut body.code));
            let laid = lay(image, section, bodies)?;
            let name = image.sections.at(section).name.clone();
            image.set_bytes(section, Bytes::from(laid.code));
            image.change_relocations(section, |all| *all = laid.relocations);
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

/// A function, free of its place.
fn body(object: &Object, function: &Function) -> Result<Body, Error> {
    let mut code = function.code.clone();
    for (number, instruction) in code.iter_mut().enumerate() {
        match instruction.named {
            Named::Function(callee) => name_callee(instruction, object.functions().at(callee).symbol),
            _ if leads_into_code(object.image(), instruction) => {
                let what = format!(
                    "the instruction at {:#x}, in {}, leads into the middle of code, where no function begins",
                    function.start.saturating_add(function.start_of(number)),
                    function.name
                );
                return Err(Error::Section { name: function.section_name.clone(), what });
            }
            _ => {}
        }
    }
    Ok(Body { symbol: function.symbol, code, func: function.func })
}

/// Makes an instruction name the symbol of the function that it calls or takes the address of, wherever that will stand.
fn name_callee(instruction: &mut Instruction, symbol: SymbolId) {
    // A loader adds a call's immediate and one, or a wide load's immediate, to where the symbol stands.
    let wide = instruction.insn.is_wide();
    let (kind, imm) = if wide { (Reference::ADDRESS, 0) } else { (Reference::CALL, -1) };
    instruction.insn.imm = imm;
    instruction.reference = Some(Reference { symbol, kind, addend: 0 });
}

/// Whether an instruction calls code of the object, or takes its address.
fn leads_into_code(image: &Image, instruction: &Instruction) -> bool {
    match instruction.reference {
        Some(reference) => image.code_of(reference.symbol).is_some(),
        None => instruction.insn.is_local_call(),
    }
}

/// Lets the symbols of `bodies` say where these will stand, one behind another.
fn place(image: &mut Image, section: SectionId, bodies: &[Body]) {
    let mut start = 0u64;
    for body in bodies {
        let size = body.code.iter().map(Instruction::size).sum::<usize>() as u64;
        image.place_symbol(body.symbol, section, start, size);
        start = start.saturating_add(size);
    }
}

/// Lets addresses of local functions name their section and the distance from its start: libbpf takes the address of a
/// local function in no other way.
fn address_by_section(image: &mut Image, code: &mut [Instruction]) {
    for instruction in code {
        let Some(reference) = instruction.reference.filter(|r| r.kind == Reference::ADDRESS) else { continue };
        let symbol = image.symbols.at(reference.symbol);
        let (SymbolPlace::Section(section), true) = (symbol.place, symbol.is_function() && symbol.is_local()) else {
            continue;
        };
        instruction.insn.imm = symbol.value as i64;
        instruction.reference = Some(Reference { symbol: image.section_symbol(section), ..reference });
    }
}

/// A section's content.
#[derive(Default)]
struct Laid {
    code: Vec<u8>,
    relocations: Vec<Relocation>,
    funcs: Vec<FuncInfo>,
    lines: Vec<LineInfo>,
}

fn lay(image: &Image, section: SectionId, bodies: Vec<Body>) -> Result<Laid, Error> {
    let mut out = Laid::default();
    for body in bodies {
        let start = out.code.len();
        let (bytes, starts) =
            encode(&body.code, image.order).map_err(|fault| fault_in(image, section, &body, fault))?;
        for (instruction, at) in body.code.iter().zip(starts) {
            let offset = start.saturating_add(at);
            out.relocations.extend(instruction.reference.map(|r| Relocation {
                offset: offset as u64,
                kind: elf::RelocationType(r.kind),
                symbol: r.symbol,
                addend: r.addend,
            }));
            out.lines.extend(instruction.line.map(|l| LineInfo { insn_off: offset as u32, ..l }));
        }
        out.funcs.extend(body.func.map(|type_id| FuncInfo { insn_off: start as u32, type_id }));
        out.code.extend(bytes);
    }
    Ok(out)
}

fn fault_in(image: &Image, section: SectionId, body: &Body, fault: xhint_bpf::Fault) -> Error {
    match fault {
        xhint_bpf::Fault::TooFar { distance } => Error::TooFar { distance },
        fault => Error::Section {
            name: image.sections.at(section).name.clone(),
            what: format!("the function {}: {fault}", image.symbols.at(body.symbol).name),
        },
    }
}

/// Takes the compiler's labels out of code sections: they would point into the midst of what moved.
fn drop_labels(image: &mut Image) {
    let sections: &Arena<SectionId, Section> = &image.sections;
    for symbol in &mut image.symbols {
        let in_code = matches!(symbol.place, SymbolPlace::Section(section) if sections.at(section).is_code());
        if in_code && symbol.is_local() && symbol.info.st_type() == elf::STT_NOTYPE {
            symbol.gone = true;
        }
    }
}

#[cfg(test)]
mod tests;

//! The model of an eBPF object: its functions, what is relocated in them, where that stands in the source.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use object::elf;
use xhint_btf::ext::{BtfExt, CoreRelo, LineInfo};
use xhint_btf::{Btf, ByteOrder};

use crate::Error;
use crate::effect::Named;
use crate::image::{Image, Place as SymbolPlace};
use crate::insn::{self, Insn, PSEUDO_FUNC, instructions};

/// An eBPF object, read and checked.
#[derive(Debug, Clone)]
pub struct Object {
    pub(crate) image: Image,
    pub(crate) btf: Arc<Btf>,
    pub(crate) ext: BtfExt,
    pub(crate) functions: Vec<Function>,
    pub(crate) relos: Vec<Relo>,
    /// Line records by section number, sorted by instruction.
    lines: HashMap<usize, Vec<LineInfo>>,
    /// Symbol numbers of relocations in code, by section and offset.
    relocated: HashMap<(usize, usize), usize>,
}

/// A program, or a function that programs call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Name of its symbol.
    pub name: String,
    /// Name of the ELF section it stands in: what libbpf calls SEC.
    pub section_name: String,
    /// Number of that section.
    pub(crate) section: usize,
    /// First byte in the section.
    pub(crate) start: usize,
    /// One past its last byte in the section.
    pub(crate) end: usize,
    /// Number of its symbol.
    pub(crate) symbol: usize,
    /// Seen by other objects, and verified alone.
    pub(crate) global: bool,
}

/// A CO-RE relocation in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relo {
    /// The record, whose `insn_off` counts from the start of the section.
    pub core: CoreRelo,
    /// Index of the function it stands in.
    pub(crate) function: usize,
    pub(crate) section: usize,
}

/// A place in the source, as the compiler noted it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file as it was named to the compiler.
    pub file: String,
    /// Line from 1; 0 if the compiler noted none.
    pub line: u32,
    /// Column from 1; 0 if not known.
    pub column: u32,
    /// The text of the line, without leading blanks.
    pub text: String,
}

impl Function {
    /// A program of its own, rather than a function in `.text` that programs call.
    pub fn is_program(&self) -> bool {
        self.section_name != ".text"
    }

    /// A program that libbpf loads only if it is asked to.
    pub fn is_optional(&self) -> bool {
        self.section_name.starts_with('?')
    }

    /// A program that runs at XDP's receive hook, where the metadata is.
    pub fn is_xdp(&self) -> bool {
        let name = self.section_name.strip_prefix('?').unwrap_or(&self.section_name);
        name == "xdp" || name == "xdp.frags"
    }

    /// Whether its section is as tutorials had it before libbpf 1.0, `SEC("xdp_prog1")`: loaders do not take that for XDP
    /// any more.
    pub fn is_xdp_of_old(&self) -> bool {
        self.section_name.starts_with("xdp") && !self.section_name.contains(['/', '.']) && !self.is_xdp()
    }
}

impl Object {
    /// Reads an object of either byte order.
    ///
    /// # Errors
    /// What is wrong with the ELF, the BTF or `.BTF.ext`, and where; [`Error::NoSection`] without BTF.
    pub fn parse(file: impl Into<Bytes>) -> Result<Object, Error> {
        let image = Image::read(&file.into())?;
        let hint = "; compile with -g so that the program carries BTF";
        let number = image.section_named(".BTF").ok_or(Error::NoSection { name: ".BTF", hint })?;
        let raw = Bytes::copy_from_slice(image.bytes(number));
        let btf = Btf::parse(raw).map_err(|source| Error::Btf { section: ".BTF", source })?;
        let ext = match image.section_named(".BTF.ext") {
            Some(number) => BtfExt::parse(image.bytes(number)),
            None => Ok(BtfExt { order: image.order, funcs: vec![], lines: vec![], relos: vec![] }),
        };
        let ext = ext.map_err(|source| Error::Btf { section: ".BTF.ext", source })?;
        if btf.order() != image.order || ext.order != image.order {
            return Err(Error::ByteOrder);
        }
        let functions = functions(&image)?;
        let relos = relos(&image, &btf, &ext, &functions)?;
        let lines = lines(&image, &btf, &ext);
        let relocated = relocated(&image);
        Ok(Object { image, btf: Arc::new(btf), ext, functions, relos, lines, relocated })
    }

    /// The object's own types: what the program was compiled against.
    pub fn btf(&self) -> &Arc<Btf> {
        &self.btf
    }

    /// Byte order of the machine the object is for.
    pub fn order(&self) -> ByteOrder {
        self.image.order
    }

    /// Programs and the functions they call, by section and offset.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// CO-RE relocations, in the order of `.BTF.ext`.
    pub fn relos(&self) -> &[Relo] {
        &self.relos
    }

    /// The function a relocation stands in.
    pub fn function_of(&self, relo: &Relo) -> Option<&Function> {
        self.functions.get(relo.function)
    }

    /// The line of source that a relocation comes from. `None` if the compiler noted none (`-g` was off).
    pub fn place_of(&self, relo: &Relo) -> Option<Place> {
        self.place(relo.section, relo.core.insn_off)
    }

    /// The line of source that the instruction at byte `offset` of section `section` comes from.
    pub(crate) fn place(&self, section: usize, offset: u32) -> Option<Place> {
        let lines = self.lines.get(&section)?;
        let after = lines.partition_point(|l| l.insn_off <= offset);
        let (before, after) = lines.split_at_checked(after)?;
        // Where the compiler merged code it notes line 0; what comes next is closest to what was meant.
        let function = self.function_at(section, offset as usize);
        let told = |l: &&LineInfo| l.line() != 0 && self.function_at(section, l.insn_off as usize) == function;
        let exact = before.last().filter(|l| l.line() != 0);
        let line = exact.or_else(|| after.iter().find(told)).or_else(|| before.iter().rev().find(told))?;
        let text = |offset| self.btf.str_at(offset).unwrap_or("");
        Some(Place {
            file: text(line.file_name_off).to_owned(),
            line: line.line(),
            column: line.column(),
            text: text(line.line_off).trim_start().to_owned(),
        })
    }

    /// The index of the function that the instruction at byte `offset` of section `section` belongs to.
    pub(crate) fn function_at(&self, section: usize, offset: usize) -> Option<usize> {
        function_at(&self.functions, section, offset)
    }

    /// The function that the instruction at byte `at` of `function` calls, or whose address it takes; `None` for other
    /// instructions, kernel functions, and calls that lead to no function's start.
    ///
    /// As libbpf has it: a relocated call goes one instruction further than its immediate says from the symbol, a
    /// relocated wide load's immediate is bytes from the symbol, and without a relocation a call is a distance.
    pub(crate) fn callee(&self, function: &Function, at: usize) -> Option<usize> {
        let insn = Insn::at(self.code(function), at, self.order())?;
        if !insn.is_local_call() && !insn.is_wide() {
            return None;
        }
        let offset = function.start.saturating_add(at);
        let (section, start) = match self.relocated.get(&(function.section, offset)) {
            Some(symbol) => {
                let symbol = self.image.symbols.get(*symbol)?;
                let SymbolPlace::Section(section) = symbol.place else { return None };
                let base = usize::try_from(symbol.value).ok()?;
                let distance = if insn.is_wide() { insn.imm as isize } else { call_distance(insn)? };
                (section, base.checked_add_signed(distance)?)
            }
            None if insn.is_local_call() => {
                let next = offset.checked_add(insn::SIZE)?;
                (function.section, next.checked_add_signed((insn.imm as isize).checked_mul(insn::SIZE as isize)?)?)
            }
            None => return None,
        };
        let index = self.function_at(section, start)?;
        self.functions.get(index).filter(|f| f.start == start).map(|_| index)
    }

    /// Whether the instruction at byte `at` of `function` calls code of the object, or takes its address: what
    /// [`Object::callee`] should know then.
    pub(crate) fn leads_into_code(&self, function: &Function, at: usize) -> bool {
        let Some(insn) = Insn::at(self.code(function), at, self.order()) else { return false };
        let symbol = self.relocated.get(&(function.section, function.start.saturating_add(at)));
        match symbol.and_then(|s| self.image.symbols.get(*s)).map(|s| s.place) {
            Some(SymbolPlace::Section(section)) => self.image.sections.get(section).is_some_and(|s| s.is_code()),
            Some(SymbolPlace::Special(_)) => false,
            None => insn.is_local_call(),
        }
    }

    /// What the instruction at byte `at` of `function` calls or takes the address of, as its relocation says.
    pub(crate) fn named(&self, function: &Function, at: usize) -> Named {
        if let Some(callee) = self.callee(function, at) {
            return Named::Function(callee);
        }
        match self.relocated.get(&(function.section, function.start.saturating_add(at))) {
            None => Named::Nothing,
            Some(symbol) => match self.image.symbols.get(*symbol).map(|s| s.place) {
                Some(SymbolPlace::Special(elf::SHN_UNDEF)) => Named::Kernel,
                _ => Named::Other,
            },
        }
    }

    /// Whether any instruction takes the address of a function.
    pub(crate) fn calls_back(&self) -> bool {
        self.functions.iter().any(|f| {
            let mut wide = instructions(self.code(f), self.order(), 0).filter(|(_, insn)| insn.is_wide());
            wide.any(|(at, insn)| insn.src == PSEUDO_FUNC || matches!(self.named(f, at), Named::Function(_)))
        })
    }

    /// The type id of the FUNC that func info has for a function.
    pub(crate) fn func_info(&self, function: &Function) -> Option<u32> {
        let part = self.ext.funcs.iter().find(|s| self.btf.str_at(s.name_off) == Some(&function.section_name))?;
        part.records.iter().find(|r| r.insn_off as usize == function.start).map(|r| r.type_id)
    }

    /// The line records of a function, their offsets from its start.
    pub(crate) fn lines_of(&self, function: &Function) -> Vec<LineInfo> {
        let Some(lines) = self.lines.get(&function.section) else { return Vec::new() };
        let from = lines.partition_point(|l| (l.insn_off as usize) < function.start);
        let own = lines.iter().skip(from).take_while(|l| (l.insn_off as usize) < function.end);
        own.map(|l| LineInfo { insn_off: l.insn_off.saturating_sub(function.start as u32), ..*l }).collect()
    }

    /// The instructions of a function.
    pub(crate) fn code(&self, function: &Function) -> &[u8] {
        self.image.bytes(function.section).get(function.start..function.end).unwrap_or_default()
    }
}

fn function_at(functions: &[Function], section: usize, offset: usize) -> Option<usize> {
    let after = functions.partition_point(|f| (f.section, f.start) <= (section, offset));
    let index = after.checked_sub(1)?;
    functions.get(index).filter(|f| f.section == section && offset < f.end).map(|_| index)
}

/// The functions by section and offset; every one lies in its section and none over another.
fn functions(image: &Image) -> Result<Vec<Function>, Error> {
    let mut out: Vec<Function> = Vec::new();
    for (number, symbol) in image.symbols.iter().enumerate() {
        let SymbolPlace::Section(section) = symbol.place else { continue };
        let Some(home) = image.sections.get(section).filter(|s| s.is_code()) else { continue };
        if !symbol.is_function() || symbol.size == 0 {
            continue;
        }
        let (start, size) = (symbol.value as usize, symbol.size as usize);
        let end = start.saturating_add(size);
        let fault = |what| Error::Symbol { number, name: symbol.name.clone(), what };
        if end > image.bytes(section).len() {
            return Err(fault(format!("it ends at {end:#x}, beyond section {}", home.name)));
        }
        if !start.is_multiple_of(insn::SIZE) || !size.is_multiple_of(insn::SIZE) {
            return Err(fault(format!("bytes {start:#x} to {end:#x} are no whole instructions")));
        }
        out.push(Function {
            name: symbol.name.clone(),
            section_name: home.name.clone(),
            section,
            start,
            end,
            symbol: number,
            global: !symbol.is_local(),
        });
    }
    out.sort_by_key(|f| (f.section, f.start, f.symbol));
    for (one, next) in out.iter().zip(out.iter().skip(1)) {
        if one.section == next.section && one.end > next.start {
            let what = format!("it overlaps the function {}", one.name);
            return Err(Error::Symbol { number: next.symbol, name: next.name.clone(), what });
        }
    }
    Ok(out)
}

/// The relocations, each in the function it stands in.
fn relos(image: &Image, btf: &Btf, ext: &BtfExt, functions: &[Function]) -> Result<Vec<Relo>, Error> {
    let mut out = Vec::new();
    for part in &ext.relos {
        let name = btf.str_at(part.name_off).unwrap_or("");
        let missing = || Error::ExtSection { name: name.to_owned(), what: "no such ELF section".to_owned() };
        let section = image.section_named(name).ok_or_else(missing)?;
        for core in &part.records {
            let at = core.insn_off as usize;
            let fault = |what: &str| Error::ExtSection {
                name: name.to_owned(),
                what: format!("the CO-RE relocation of the instruction at {at:#x}: {what}"),
            };
            if !at.is_multiple_of(insn::SIZE) {
                return Err(fault("no instruction starts there"));
            }
            if at >= image.bytes(section).len() {
                return Err(fault("the section ends before"));
            }
            // What was a weak function until `bpftool gen object` found a strong one has its records still, and no
            // symbol. libbpf passes them over, too.
            if let Some(function) = function_at(functions, section, at) {
                out.push(Relo { core: *core, function, section });
            }
        }
    }
    Ok(out)
}

fn relocated(image: &Image) -> HashMap<(usize, usize), usize> {
    let mut out = HashMap::new();
    for (number, section) in image.sections.iter().enumerate() {
        if section.is_code() {
            out.extend(image.relocations(number).map(|r| ((number, r.offset as usize), r.symbol)));
        }
    }
    out
}

/// How many bytes behind a symbol a relocated call leads.
fn call_distance(insn: Insn) -> Option<isize> {
    (insn.imm as isize).checked_add(1)?.checked_mul(insn::SIZE as isize)
}

fn lines(image: &Image, btf: &Btf, ext: &BtfExt) -> HashMap<usize, Vec<LineInfo>> {
    let mut out: HashMap<usize, Vec<LineInfo>> = HashMap::new();
    for part in &ext.lines {
        if let Some(section) = btf.str_at(part.name_off).and_then(|n| image.section_named(n)) {
            out.entry(section).or_default().extend(&part.records);
        }
    }
    out.values_mut().for_each(|l| l.sort_by_key(|l| l.insn_off));
    out
}

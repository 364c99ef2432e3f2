//! The model of an eBPF object: its functions, what is relocated in them, where that stands in the source.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use object::elf;
use xhint_bpf::insn::{CALL, PSEUDO_FUNC};
use xhint_bpf::{Arena, FunctionId, Hook, Instruction, Named, Reference, SIZE, SymbolId, decode, jumps_anywhere};
use xhint_btf::ext::{BtfExt, CoreRelo, LineInfo};
use xhint_btf::{Btf, ByteOrder, Kind};

use crate::Error;
use crate::image::{Image, SectionId, SymbolPlace};

/// An eBPF object, read and checked.
#[derive(Debug, Clone)]
pub struct Object {
    pub(crate) image: Image,
    pub(crate) btf: Arc<Btf>,
    ext: BtfExt,
    functions: Arena<FunctionId, Function>,
    relos: Vec<Relo>,
    /// Line records of each section, sorted by instruction.
    lines: HashMap<SectionId, Vec<LineInfo>>,
}

/// A program, or a function that programs call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Name of its symbol.
    pub name: String,
    /// Name of the ELF section it stands in: what libbpf calls SEC.
    pub section_name: String,
    /// That section.
    pub section: SectionId,
    /// First byte in the section.
    pub start: usize,
    /// One past its last byte in the section.
    pub end: usize,
    /// Its symbol.
    pub symbol: SymbolId,
    /// Seen by other objects, and verified alone.
    pub global: bool,
    /// Its FUNC in the object's BTF, if it has func info.
    pub func: Option<u32>,
    /// Its instructions.
    pub code: Vec<Instruction>,
    /// Where each of them begins, in bytes from `start`.
    starts: Vec<usize>,
}

/// A CO-RE relocation in its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relo {
    /// The record, whose `insn_off` counts from the start of the section.
    pub core: CoreRelo,
    /// The function it stands in.
    pub function: FunctionId,
    /// Number of the instruction in that function.
    pub instruction: usize,
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

    /// Where it runs as a program of its own with metadata in front of the packet.
    pub fn hook(&self) -> Option<Hook> {
        Hook::of_section(&self.section_name)
    }

    /// A program that runs at XDP's receive hook, where the metadata is.
    pub fn is_xdp(&self) -> bool {
        self.hook() == Some(Hook::Xdp)
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
        let raw = image.shared_bytes(number);
        let btf = Btf::parse(raw).map_err(|source| Error::Btf { section: ".BTF", source })?;
        let ext = match image.section_named(".BTF.ext") {
            Some(number) => BtfExt::parse(image.bytes(number)),
            None => Ok(BtfExt { order: image.order, funcs: vec![], lines: vec![], relos: vec![] }),
        };
        let ext = ext.map_err(|source| Error::Btf { section: ".BTF.ext", source })?;
        if btf.order() != image.order || ext.order != image.order {
            return Err(Error::ByteOrder);
        }
        let sections = image.sections_by_name();
        let (lines, funcs) = (lines(&sections, &btf, &ext), func_info(&btf, &ext));
        let mut functions = functions(&image)?;
        for function in &mut functions {
            let start = u32::try_from(function.start).ok();
            function.func = start.and_then(|start| funcs.get(&(&*function.section_name, start)).copied());
            function.code = code(&image, function)?;
            function.starts = starts(&function.code);
            add_lines(function, &lines);
        }
        add_names(&image, &mut functions);
        let relos = relos(&image, &sections, &btf, &ext, &functions)?;
        Ok(Object { image, btf: Arc::new(btf), ext, functions, relos, lines })
    }

    /// The ELF file.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// What `.BTF.ext` says.
    pub fn ext(&self) -> &BtfExt {
        &self.ext
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
    pub fn functions(&self) -> &Arena<FunctionId, Function> {
        &self.functions
    }

    /// CO-RE relocations, in the order of `.BTF.ext`.
    pub fn relos(&self) -> &[Relo] {
        &self.relos
    }

    /// The function a relocation stands in.
    pub fn function_of(&self, relo: &Relo) -> &Function {
        self.functions.at(relo.function)
    }

    /// The line of source that a relocation comes from. `None` if the compiler noted none (`-g` was off).
    pub fn place_of(&self, relo: &Relo) -> Option<Place> {
        self.place(self.function_of(relo).section, relo.core.insn_off)
    }

    /// The line of source that an instruction of a function comes from.
    pub fn place_in(&self, function: FunctionId, instruction: usize) -> Option<Place> {
        let function = self.functions.at(function);
        self.place(function.section, function.start.saturating_add(function.start_of(instruction)) as u32)
    }

    /// The line of source that the instruction at byte `offset` of a section comes from.
    fn place(&self, section: SectionId, offset: u32) -> Option<Place> {
        let lines = self.lines.get(&section)?;
        let after = lines.partition_point(|l| l.insn_off <= offset);
        let (before, after) = lines.split_at_checked(after)?;
        // Where the compiler merged code it notes line 0; what comes next is closest to what was meant.
        let function = function_at(&self.functions, section, offset as usize);
        let told =
            |l: &&LineInfo| l.line() != 0 && function_at(&self.functions, section, l.insn_off as usize) == function;
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

    /// `file:line:column` of a relocation, or its section and instruction if the object has no line there.
    pub fn location(&self, relo: &Relo) -> String {
        match self.place_of(relo) {
            Some(place) if place.column != 0 => format!("{}:{}:{}", place.file, place.line, place.column),
            Some(place) => format!("{}:{}", place.file, place.line),
            None => {
                format!("{}, instruction {}", self.function_of(relo).name, self.insn_number(relo))
            }
        }
    }

    /// The number of the instruction in its function.
    pub fn insn_number(&self, relo: &Relo) -> usize {
        self.function_of(relo).start_of(relo.instruction) / SIZE
    }

    /// What is run by itself: the programs, and what is called when they throw; all functions of an object that has none.
    pub fn entries(&self) -> Vec<FunctionId> {
        let tags = self.btf.types().filter(|t| t.kind() == Kind::DeclTag);
        let catching: Vec<_> = tags.filter_map(|t| t.name().strip_prefix("exception_callback:")).collect();
        let runs = |f: &Function| f.is_program() || catching.contains(&f.name.as_str());
        let programs: Vec<_> = self.functions.entries().filter(|(_, f)| runs(f)).map(|(id, _)| id).collect();
        if programs.is_empty() { self.functions.ids().collect() } else { programs }
    }

    /// The first function that jumps to where a register says, which it has from a table of distances from the start of the
    /// section (`.jumptables`, as LLVM 22 writes and libbpf 1.7 loads them): its code must stay where it is.
    pub fn jumps_by_table(&self) -> Option<&Function> {
        self.functions.iter().find(|f| jumps_anywhere(&f.code))
    }

    /// Names of what its code calls or reads and the loader is to find in the kernel.
    fn calls_kernel(&self) -> impl Iterator<Item = &str> {
        let instructions = self.functions.iter().flat_map(|f| &f.code).filter(|i| i.named == Named::Kernel);
        instructions.filter_map(|i| i.reference).map(|r| self.image.symbols.at(r.symbol).name.as_str())
    }

    /// Whether it asks the driver by the kernel's functions for that (`XDP_METADATA_KFUNC_xxx` of include/net/xdp.h). Then it
    /// is loaded for one device, and no tail call leads to it (`bpf_prog_map_compatible` of kernel/bpf/core.c).
    pub fn asks_driver(&self) -> bool {
        self.calls_kernel().any(|name| name.starts_with("bpf_xdp_metadata_"))
    }

    /// Whether any instruction takes the address of a function.
    pub fn calls_back(&self) -> bool {
        let takes =
            |i: &Instruction| i.insn.is_wide() && (i.insn.src == PSEUDO_FUNC || matches!(i.named, Named::Function(_)));
        self.functions.iter().any(|f| f.code.iter().any(takes))
    }
}

impl Function {
    /// The number of the instruction at byte `at` of the section.
    fn instruction_at(&self, at: usize) -> Option<usize> {
        self.starts.binary_search(&at.checked_sub(self.start)?).ok()
    }

    /// Bytes of its instructions.
    pub fn size(&self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Where an instruction begins, in bytes from the start of the function.
    pub fn start_of(&self, instruction: usize) -> usize {
        self.starts.get(instruction).copied().unwrap_or(self.size())
    }
}

fn function_at(functions: &Arena<FunctionId, Function>, section: SectionId, offset: usize) -> Option<FunctionId> {
    let after = functions.as_slice().partition_point(|f| (f.section, f.start) <= (section, offset));
    let id = FunctionId(after.checked_sub(1)?);
    let function = functions.at(id);
    (function.section == section && offset < function.end).then_some(id)
}

/// The functions by section and offset; every one lies in its section and none over another.
fn functions(image: &Image) -> Result<Arena<FunctionId, Function>, Error> {
    let mut out: Vec<Function> = Vec::new();
    for (number, symbol) in image.symbols.entries() {
        let Some(section) = image.code_of(number).filter(|_| symbol.is_function() && symbol.size != 0) else {
            continue;
        };
        let home = image.sections.at(section);
        let (start, size) = (symbol.value as usize, symbol.size as usize);
        let end = start.saturating_add(size);
        let fault = |what| Error::Symbol { number: number.0, name: symbol.name.clone(), what };
        if end > image.bytes(section).len() {
            return Err(fault(format!("it ends at {end:#x}, beyond section {}", home.name)));
        }
        if !start.is_multiple_of(SIZE) || !size.is_multiple_of(SIZE) {
            return Err(fault(format!("bytes {start:#x} to {end:#x} are not whole instructions")));
        }
        out.push(Function {
            name: symbol.name.clone(),
            section_name: home.name.clone(),
            section,
            start,
            end,
            symbol: number,
            global: !symbol.is_local(),
            func: None,
            code: Vec::new(),
            starts: Vec::new(),
        });
    }
    out.sort_by_key(|f| (f.section, f.start, f.symbol));
    for (one, next) in out.iter().zip(out.iter().skip(1)) {
        if one.section == next.section && one.end > next.start {
            let what = format!("it overlaps the function {}", one.name);
            return Err(Error::Symbol { number: next.symbol.0, name: next.name.clone(), what });
        }
    }
    Ok(out.into_iter().collect())
}

/// The instructions of a function, and the symbols that they refer to.
fn code(image: &Image, function: &Function) -> Result<Vec<Instruction>, Error> {
    let bytes = image.bytes(function.section).get(function.start..function.end).unwrap_or_default();
    let what = |fault: xhint_bpf::Fault| format!("the function {}, at {:#x}: {fault}", function.name, function.start);
    let err = |fault| Error::Section { name: function.section_name.clone(), what: what(fault) };
    decode(bytes, image.order).map_err(err)
}

fn starts(code: &[Instruction]) -> Vec<usize> {
    let next = |at: &mut usize, i: &Instruction| {
        let here = *at;
        *at = here.saturating_add(i.size());
        Some(here)
    };
    code.iter().scan(0, next).collect()
}

/// The type id of the FUNC that func info has, by the name of the section and where in it the function starts.
fn func_info<'a>(btf: &'a Btf, ext: &BtfExt) -> HashMap<(&'a str, u32), u32> {
    let mut all = HashMap::new();
    for part in &ext.funcs {
        let Some(section) = btf.str_at(part.name_off) else { continue };
        for record in &part.records {
            all.entry((section, record.insn_off)).or_insert(record.type_id);
        }
    }
    all
}

/// Gives each instruction the line that begins with it.
fn add_lines(function: &mut Function, lines: &HashMap<SectionId, Vec<LineInfo>>) {
    let Some(lines) = lines.get(&function.section) else { return };
    let from = lines.partition_point(|l| (l.insn_off as usize) < function.start);
    for line in lines.iter().skip(from).take_while(|l| (l.insn_off as usize) < function.end) {
        let place = function.instruction_at(line.insn_off as usize).and_then(|n| function.code.get_mut(n));
        place.into_iter().for_each(|i| i.line = Some(*line));
    }
}

/// Gives each instruction what ELF relocates it by, and what that means.
///
/// As libbpf has it: a relocated call goes one instruction further than its immediate says from the symbol, a
/// relocated wide load's immediate is bytes from the symbol, and without a relocation a call is a distance.
fn add_names(image: &Image, functions: &mut Arena<FunctionId, Function>) {
    for (section, r) in image.all_relocations() {
        let offset = r.offset as usize;
        let Some(id) = function_at(functions, section, offset) else { continue };
        let function = functions.at_mut(id);
        let at = function.instruction_at(offset);
        let reference = Reference { symbol: r.symbol, kind: r.kind.0, addend: r.addend };
        at.and_then(|n| function.code.get_mut(n)).into_iter().for_each(|i| i.reference = Some(reference));
    }
    for id in functions.ids() {
        let function = functions.at(id);
        let names: Vec<Named> = function
            .code
            .iter()
            .zip(&function.starts)
            .map(|(i, at)| named(image, functions, function, i, *at))
            .collect();
        functions.at_mut(id).code.iter_mut().zip(names).for_each(|(i, named)| i.named = named);
    }
}

fn named(image: &Image, functions: &Arena<FunctionId, Function>, own: &Function, i: &Instruction, at: usize) -> Named {
    if let Some(callee) = callee(image, functions, own, i, at) {
        return Named::Function(callee);
    }
    match i.reference.map(|r| image.symbols.at(r.symbol).place) {
        None => Named::Nothing,
        Some(SymbolPlace::Special(elf::SHN_UNDEF)) => Named::Kernel,
        Some(_) => Named::Other,
    }
}

/// The function that an instruction calls, or whose address it takes; `None` for other instructions, kernel functions, and
/// calls that lead to no function's start.
fn callee(
    image: &Image,
    functions: &Arena<FunctionId, Function>,
    own: &Function,
    i: &Instruction,
    at: usize,
) -> Option<FunctionId> {
    let insn = i.insn;
    if !insn.is_local_call() && !insn.is_wide() {
        return None;
    }
    let slots = |n: i64| isize::try_from(n.checked_mul(SIZE as i64)?).ok();
    let (section, start) = match i.reference {
        Some(reference) => {
            let symbol = image.symbols.at(reference.symbol);
            let SymbolPlace::Section(section) = symbol.place else { return None };
            let distance = if insn.is_wide() { (insn.imm as i32) as isize } else { slots(insn.imm.checked_add(1)?)? };
            (section, usize::try_from(symbol.value).ok()?.checked_add_signed(distance)?)
        }
        None if insn.code == CALL => {
            let next = own.start.checked_add(at)?.checked_add(SIZE)?;
            (own.section, next.checked_add_signed(slots(insn.imm)?)?)
        }
        None => return None,
    };
    function_at(functions, section, start).filter(|id| functions.at(*id).start == start)
}

/// The relocations, each in the function it stands in.
fn relos(
    image: &Image,
    sections: &HashMap<&str, SectionId>,
    btf: &Btf,
    ext: &BtfExt,
    functions: &Arena<FunctionId, Function>,
) -> Result<Vec<Relo>, Error> {
    let mut out = Vec::new();
    for part in &ext.relos {
        let name = btf.str_at(part.name_off).unwrap_or("");
        let missing = || Error::ExtSection { name: name.to_owned(), what: "no such ELF section".to_owned() };
        let section = *sections.get(name).ok_or_else(missing)?;
        for core in &part.records {
            let at = core.insn_off as usize;
            let fault = |what: &str| Error::ExtSection {
                name: name.to_owned(),
                what: format!("the CO-RE relocation of the instruction at {at:#x}: {what}"),
            };
            if at >= image.bytes(section).len() {
                return Err(fault("the section ends before"));
            }
            // What was a weak function until `bpftool gen object` found a strong one has its records still, and no
            // symbol. libbpf passes them over, too.
            let Some(function) = function_at(functions, section, at) else { continue };
            let home = functions.at(function);
            let instruction = home.instruction_at(at);
            let instruction = instruction.ok_or_else(|| fault("no instruction starts there"))?;
            out.push(Relo { core: *core, function, instruction });
        }
    }
    Ok(out)
}

fn lines(sections: &HashMap<&str, SectionId>, btf: &Btf, ext: &BtfExt) -> HashMap<SectionId, Vec<LineInfo>> {
    let mut out: HashMap<SectionId, Vec<LineInfo>> = HashMap::new();
    for part in &ext.lines {
        if let Some(section) = btf.str_at(part.name_off).and_then(|name| sections.get(name)) {
            out.entry(*section).or_default().extend(&part.records);
        }
    }
    out.values_mut().for_each(|l| l.sort_by_key(|l| l.insn_off));
    out
}

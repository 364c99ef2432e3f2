//! libbpf as the other opinion on what an object's instructions become.
//!
//! `bpf_object__prepare` relocates, appends subprograms and creates maps, but asks no verifier, so that the instructions
//! of a program can be seen even if the kernel would refuse it. An object that xhint linked goes through the same steps
//! without a BTF, and the two must come out equal, instruction by instruction.

use std::fmt;
use std::path::Path;

use libbpf_sys as sys;

use crate::libbpf::{self, Object, copied, take_log, text};

/// One instruction, as in the kernel's `struct bpf_insn`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Opcode.
    pub code: u8,
    /// Destination register.
    pub dst: u8,
    /// Source register or pseudo source.
    pub src: u8,
    /// Offset.
    pub off: i16,
    /// Immediate.
    pub imm: i32,
}

impl fmt::Debug for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Insn { code, dst, src, off, imm } = self;
        write!(f, "{code:02x} r{dst} r{src} {off:+} {imm:#x}")
    }
}

/// A program as libbpf would hand it to the kernel: subprograms appended, map descriptors replaced by map numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Name of the program's function.
    pub name: String,
    /// ELF section.
    pub section: String,
    /// All instructions.
    pub insns: Vec<Insn>,
    /// Instruction and function name, for each function.
    pub functions: Vec<(u32, String)>,
    /// Instruction, `file:line:column` and source text, for each line.
    pub lines: Vec<(u32, String, String)>,
}

/// An object after libbpf's relocation.
#[derive(Debug, Clone)]
pub struct Relocated {
    /// The programs, in libbpf's order.
    pub programs: Vec<Program>,
    /// The names of the maps, in libbpf's order.
    pub maps: Vec<String>,
    /// What libbpf said meanwhile, at debug level.
    pub log: String,
}

/// Runs libbpf on the object at `path`, with the flat BTF file `btf` as kernel BTF for CO-RE if given.
///
/// # Errors
/// libbpf's refusal with its log.
pub fn relocate(path: &Path, btf: Option<&Path>) -> Result<Relocated, String> {
    let mut object = Object::open(path, btf)?;
    object.prepare()?;
    let log = take_log();
    let maps = Maps::of(&object);
    let programs = object.programs().into_iter().map(|program| read_program(&object, program, &maps)).collect();
    Ok(Relocated { programs, maps: maps.names, log })
}

/// Fails the test, showing the first places that differ, unless both hold the same programs.
///
/// # Panics
/// When they differ.
pub fn assert_same(what: &str, libbpf: &Relocated, ours: &Relocated) {
    assert_eq!(libbpf.maps, ours.maps, "{what}: maps");
    let names = |relocated: &Relocated| -> Vec<String> {
        let programs = relocated.programs.iter();
        programs.map(|p| format!("{} in {}", p.name, p.section)).collect()
    };
    assert_eq!(names(libbpf), names(ours), "{what}: programs");
    for (theirs, ours) in libbpf.programs.iter().zip(&ours.programs) {
        assert_same_program(what, theirs, ours);
    }
}

fn assert_same_program(what: &str, libbpf: &Program, ours: &Program) {
    let name = &libbpf.name;
    let differing: Vec<_> = libbpf
        .insns
        .iter()
        .zip(&ours.insns)
        .enumerate()
        .filter(|(_, (theirs, ours))| theirs != ours)
        .map(|(index, (theirs, ours))| {
            let place = place_of(libbpf, index);
            format!("  insn {index}: libbpf {theirs:?}, ours {ours:?}   {place}")
        })
        .collect();
    assert!(
        differing.is_empty() && libbpf.insns.len() == ours.insns.len(),
        "{what}: program {name}: {} and {} instructions\n{}",
        libbpf.insns.len(),
        ours.insns.len(),
        differing.join("\n")
    );
    assert_eq!(libbpf.functions, ours.functions, "{what}: func info of {name}");
    assert_eq!(libbpf.lines, ours.lines, "{what}: line info of {name}");
}

/// The source line an instruction comes from.
fn place_of(program: &Program, insn: usize) -> String {
    let before = |line: &&(u32, String, String)| line.0 as usize <= insn;
    match program.lines.iter().take_while(before).last() {
        Some((_, place, source)) => format!("{place}: {}", source.trim()),
        None => String::new(),
    }
}

struct Maps {
    fds: Vec<i32>,
    names: Vec<String>,
}

impl Maps {
    fn of(object: &Object) -> Maps {
        let maps = object.maps();
        // SAFETY: each pointer came from the live object.
        let fds = maps.iter().map(|map| unsafe { sys::bpf_map__fd(*map) });
        // SAFETY: as above; the name lives as long as the object.
        let names = maps.iter().map(|map| unsafe { without_object_name(&text(sys::bpf_map__name(*map))) });
        Maps { fds: fds.collect(), names: names.collect() }
    }

    /// Replaces a map's descriptor, which differs from run to run, by its place in the object.
    fn name_in(&self, insn: &mut Insn) {
        const LD_IMM64: u8 = 0x18;
        let by_fd = u32::from(insn.src);
        let refers = by_fd == sys::BPF_PSEUDO_MAP_FD || by_fd == sys::BPF_PSEUDO_MAP_VALUE;
        if insn.code == LD_IMM64 && refers {
            let place = self.fds.iter().position(|fd| *fd == insn.imm);
            insn.imm = i32::try_from(place.expect("a descriptor of a map")).unwrap();
        }
    }
}

/// libbpf names `.bss` and its like after the object's file, which differs between an object and its linked form.
fn without_object_name(name: &str) -> String {
    match name.find('.') {
        Some(dot) => name[dot..].to_owned(),
        None => name.to_owned(),
    }
}

fn read_program(object: &Object, program: *mut sys::bpf_program, maps: &Maps) -> Program {
    // SAFETY: `program` came from the live object, which owns all that is copied here.
    let (name, section, insns, functions, lines) = unsafe {
        (
            text(sys::bpf_program__name(program)),
            text(sys::bpf_program__section_name(program)),
            copied::<[u8; 8]>(sys::bpf_program__insns(program).cast(), sys::bpf_program__insn_cnt(program) as usize),
            copied::<sys::bpf_func_info>(
                sys::bpf_program__func_info(program).cast(),
                sys::bpf_program__func_info_cnt(program) as usize,
            ),
            copied::<sys::bpf_line_info>(
                sys::bpf_program__line_info(program).cast(),
                sys::bpf_program__line_info_cnt(program) as usize,
            ),
        )
    };
    let insns = insns.iter().map(|raw| {
        let mut insn = read_insn(raw);
        maps.name_in(&mut insn);
        insn
    });
    let functions = functions.iter().map(|info| (info.insn_off, object.type_name(info.type_id)));
    let lines = lines.iter().map(|info| {
        let file = object.string(info.file_name_off);
        let (line, column) = (info.line_col >> 10, info.line_col & 0x3ff);
        let place = format!("{file}:{line}:{column}");
        (info.insn_off, place, object.string(info.line_off))
    });
    Program { name, section, insns: insns.collect(), functions: functions.collect(), lines: lines.collect() }
}

/// libbpf keeps instructions in the machine's byte order, whatever the object's is.
fn read_insn(raw: &[u8; 8]) -> Insn {
    let registers = raw[1];
    let (dst, src) = if cfg!(target_endian = "little") {
        (registers & 15, registers >> 4)
    } else {
        (registers >> 4, registers & 15)
    };
    Insn {
        code: raw[0],
        dst,
        src,
        off: i16::from_ne_bytes([raw[2], raw[3]]),
        imm: i32::from_ne_bytes([raw[4], raw[5], raw[6], raw[7]]),
    }
}

/// libbpf's release, `1.7` for example.
#[must_use]
pub fn version() -> String {
    // SAFETY: no arguments, no state.
    unsafe { format!("{}.{}", sys::libbpf_major_version(), sys::libbpf_minor_version()) }
}

/// Parses the BTF in `bytes` and says how many ids it spans, by libbpf. `base` for split BTF.
///
/// # Errors
/// libbpf's refusal.
pub fn btf_end_id(bytes: &[u8], base: Option<&[u8]>) -> Result<u32, String> {
    let base = base.map(|base| libbpf::Btf::new(base, None)).transpose()?;
    Ok(libbpf::Btf::new(bytes, base.as_ref())?.end_id())
}

/// Kind and name of each type that libbpf finds in the last of `chain`, each of which is split on the one before.
///
/// # Errors
/// libbpf's, and what it said.
pub fn names(chain: &[&[u8]]) -> Result<Vec<(u32, String)>, String> {
    let mut links: Vec<libbpf::Btf> = Vec::new();
    for bytes in chain {
        let btf = libbpf::Btf::new(bytes, links.last())?;
        links.push(btf);
    }
    let first = links.len().checked_sub(2).and_then(|below| links.get(below)).map_or(1, libbpf::Btf::end_id);
    let last = links.last().ok_or("no BTF")?;
    let names = (first..last.end_id()).map(|id| last.kind_and_name(id)).collect();
    // Each before what it is split on.
    while links.pop().is_some() {}
    Ok(names)
}

/// libbpf at work and nothing kept of it, for measuring: its messages are dropped unformatted.
pub mod quiet {
    use std::any::Any;
    use std::path::Path;

    use crate::libbpf::{Btf, Object, silence};

    /// Parses the flat BTF file at `path`: `btf__parse`.
    ///
    /// # Panics
    /// When libbpf refuses.
    #[must_use]
    pub fn parse(path: &Path) -> Box<dyn Any> {
        silence();
        Box::new(Btf::parse(path).expect("libbpf parses"))
    }

    /// Opens the object at `path` and does all that precedes the verifier: with CO-RE against `btf` if given, which
    /// libbpf parses for that.
    ///
    /// # Panics
    /// When libbpf refuses.
    #[must_use]
    pub fn prepare(path: &Path, btf: Option<&Path>) -> Box<dyn Any> {
        silence();
        let mut object = Object::open(path, btf).expect("libbpf opens");
        object.prepare().expect("libbpf prepares");
        Box::new(object)
    }
}

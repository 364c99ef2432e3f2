//! Room for what the kernel adds to a program that is loaded for a device.
//!
//! The kernel puts several instructions in the place of one (a call of a helper that it knows, a division, an access to the
//! context), and where that needs another page, it moves the program. Of a program that is bound to a device it forgets
//! to tell the device's list (`bpf_prog_realloc` of kernel/bpf/core.c; seen with Linux 6.12, 6.18 and 7.3): when the device
//! goes while the program is loaded, the kernel reads what it has freed, and the machine has no network from then on. Before
//! 7.1 and its like the same comes of hardening its just-in-time compiler (`net.core.bpf_jit_harden`, upstream commit
//! a1aa9ef47c29), which replaces a program that is a single function.
//!
//! So such a program begins with code that the verifier sees is never run:
//!
//! ```text
//! r0 = 0
//! if r0 == 0 goto program         always
//! r0 = 0 ...                      as many as the kernel might add
//! exit
//! ```
//!
//! It takes that out before it adds anything, and keeps the pages. And where the program is to be apart from its entry, the
//! entry calls it.

use std::collections::HashSet;

use xhint_bpf::reg::R0;
use xhint_bpf::{Emit, FunctionId, If, Instruction, Named, SymbolId};
use xhint_btf::ext::LineInfo;
use xhint_btf::{Builder, Def, Linkage};
use xhint_object::{Assembly, Body, Image, Object};

use crate::Error;

/// The most that the kernel puts in the place of a call: `INSN_BUF_SIZE` of include/linux/bpf_verifier.h.
const OF_CALL: usize = 32;
/// And of any other instruction. Most are let be; arithmetic on pointers, watched for speculation, becomes ten.
const OF_OTHER: usize = 12;
/// What one jump leads over.
const BLOCK: usize = 32_000;
/// Instructions in a page, and where in it the program is to end, so that most of its last page is free: loops become code
/// before anything is taken out.
const PAGE: usize = 4096 / xhint_bpf::SIZE;
const END: usize = 64;
/// What stands before the instructions in a `struct bpf_prog`, at most.
const HEAD: usize = 128 / xhint_bpf::SIZE;
/// `bpf_loop`, what becomes of a call of it (`inline_bpf_loop` of kernel/bpf/verifier.c), and how many there is room for.
const LOOP: i64 = 181;
const OF_LOOP: usize = 26;
const LOOPS: usize = (PAGE - END) / OF_LOOP;

/// The object `linked`, its XDP programs with room for what the kernel adds. With `apart`, each is a function that its entry
/// calls, if it calls none.
///
/// # Errors
/// [`Error::Loops`] for more loops than there is room for; [`Error::Unlinked`]; those of [`Assembly`].
pub fn with_slack(linked: Vec<u8>, apart: bool) -> Result<Vec<u8>, Error> {
    let object = &Object::parse(linked)?;
    if !object.relos().is_empty() {
        return Err(Error::Unlinked);
    }
    let mut slack = Slack {
        object,
        image: object.image().clone(),
        btf: Builder::extend(object.btf()),
        assembly: Assembly::take(object)?,
    };
    for (id, function) in object.functions().entries().filter(|(_, f)| f.is_xdp()) {
        let all = reached(object, id);
        let loops = all.iter().flat_map(|id| &object.functions().at(*id).code).filter(|i| is_loop(i)).count();
        if loops > LOOPS {
            return Err(Error::Loops { program: function.name.clone(), loops, most: LOOPS });
        }
        let line = function.code.iter().find_map(|i| i.line);
        let apart = apart && !function.code.iter().any(Instruction::is_local_call);
        let own = if apart { Some(slack.move_out(id)?) } else { None };
        slack.begin(id, &all, own, line)?;
    }
    let Slack { mut image, mut btf, assembly, .. } = slack;
    let mut ext = object.ext().clone();
    assembly.put(&mut image, &mut ext, |name| Ok(btf.string(name)?))?;
    image.drop_debug();
    image.set_btf(btf.finish().into(), &ext)?;
    Ok(image.write()?)
}

/// The functions that are loaded with a program.
fn reached(object: &Object, program: FunctionId) -> HashSet<FunctionId> {
    let (mut seen, mut todo) = (HashSet::new(), vec![program]);
    while let Some(id) = todo.pop() {
        if seen.insert(id) {
            let named = object.functions().at(id).code.iter().filter_map(|i| match i.named {
                Named::Function(callee) => Some(callee),
                _ => None,
            });
            todo.extend(named);
        }
    }
    seen
}

fn is_loop(instruction: &Instruction) -> bool {
    is_call(instruction) && instruction.insn.src == 0 && instruction.insn.imm == LOOP
}

fn is_call(instruction: &Instruction) -> bool {
    instruction.insn.code == xhint_bpf::insn::CALL
}

struct Slack<'a> {
    object: &'a Object,
    image: Image,
    btf: Builder,
    assembly: Assembly,
}

impl Slack<'_> {
    /// Makes the code of a program a function of its own; its symbol.
    fn move_out(&mut self, program: FunctionId) -> Result<SymbolId, Error> {
        let own = self.object.functions().at(program);
        let mut name = format!("{}___own", own.name);
        while self.image.symbols.iter().any(|symbol| symbol.name == name) {
            name.push('_');
        }
        let proto = |func| self.object.btf().ty(func).map_or(0, |ty| ty.target());
        let func = Def::Func { name: &name, proto: own.func.map_or(0, proto), linkage: Linkage::Static };
        let func = own.func.map(|_| self.btf.add(&func)).transpose()?;
        let symbol = self.image.add_function(name, false);
        let text = self.assembly.text(&mut self.image);
        let code = std::mem::take(&mut self.body(program)?.code);
        self.assembly.sections.entry(text).or_default().push(Body { symbol, code, func });
        Ok(symbol)
    }

    fn body(&mut self, function: FunctionId) -> Result<&mut Body, Error> {
        let own = self.object.functions().at(function);
        let found = self.assembly.sections.values_mut().flatten().find(|body| body.symbol == own.symbol);
        Ok(found.ok_or_else(|| xhint_object::Error::NoFunction { name: own.name.clone() })?)
    }

    /// Puts room in front of a program, all functions of which are `all`, and a call of `own` in its place if that is it now.
    fn begin(
        &mut self,
        program: FunctionId,
        all: &HashSet<FunctionId>,
        own: Option<SymbolId>,
        line: Option<LineInfo>,
    ) -> Result<(), Error> {
        let functions = || all.iter().map(|id| self.object.functions().at(*id));
        let instructions = || functions().flat_map(|f| &f.code);
        let slots: usize = instructions().map(Instruction::slots).sum();
        let calls = instructions().filter(|i| is_call(i)).count();
        let added = calls.saturating_mul(OF_CALL).saturating_add(slots.saturating_sub(calls).saturating_mul(OF_OTHER));
        let mut emit = Emit::new(self.object.order());
        if let Some(line) = line {
            let line_off = self.btf.string("/* generated by xhint: room for what the kernel adds */")?;
            emit.line_here(LineInfo { line_off, ..line });
        }
        // The entry's own instructions, of which there are four, and two more for each block.
        let blocks = added.div_ceil(BLOCK).saturating_add(1);
        let sure = slots.saturating_add(blocks.saturating_mul(2)).saturating_add(4).saturating_add(HEAD);
        let total = sure.saturating_add(added).next_multiple_of(PAGE).saturating_add(END);
        let mut rest = total.saturating_sub(sure);
        emit.mov_imm(R0, 0);
        while rest > 0 {
            let (block, on) = (rest.min(BLOCK), emit.label());
            emit.jump_if_imm(If::Equal, R0, 0, on);
            (0..block).for_each(|_| emit.mov_imm(R0, 0));
            emit.exit();
            emit.put(on);
            rest = rest.saturating_sub(block);
        }
        let body = self.body(program)?;
        match own {
            Some(own) => {
                emit.call(own);
                emit.exit();
            }
            None => emit.body(std::mem::take(&mut body.code)),
        }
        body.code = emit.finish();
        Ok(())
    }
}

//! Which layouts one copy of a program can serve, if it reads what differs from a row of numbers.
//!
//! Relocation leaves two kinds of instruction whose difference is a number: a load, with a field's offset, and a move of
//! a constant. Layouts go together whose code differs in such instructions only, and which have one length, so that
//! what the program tests of it is a constant. What a layout lacks is poisoned in its own code; in the common one it is
//! any number, since the row also says that the guard is false.
//!
//! Kept apart, since the verifier would not take it from a variable: offsets that are added to a pointer into metadata
//! (`&m->field`, bitfields), and those of loads into the kernel's types.

use std::collections::BTreeMap;

use xhint_bpf::insn::{ALU, ALU64, LDX, MOV_OP, SRC_REG};
use xhint_bpf::{FunctionId, Insn};
use xhint_relo::RelocKind;

use super::classes::callees;
use super::rows::{Cell, places};
use super::{Classes, Dispatched, Request, Route};
use crate::Error;
use crate::variant::VariantId;

/// What the common code has in an instruction's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// A load from metadata, at the offset that the field holds.
    Load(Insn, Cell),
    /// The field's value, in the register that the instruction moves a constant to.
    Value(Insn, Cell),
}

/// Layouts that one copy serves.
#[derive(Debug)]
pub struct Alike {
    /// The variant whose code the copy is made of.
    pub variant: VariantId,
    /// Indices of the program's routes.
    pub routes: Vec<usize>,
    /// By number of the instruction.
    pub sites: BTreeMap<usize, Site>,
    /// By route, as in `routes`, the fields of its row.
    pub values: Vec<Vec<(Cell, u64)>>,
    /// Bytes of its rows.
    pub row: u32,
}

/// A relocated instruction, before it is known whether its number differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// This layout lacks it.
    Poisoned,
    Load(Insn, u64),
    Value(Insn, u64),
    Other(Insn),
}

/// Layouts that go together so far.
struct Group<'p> {
    size: u32,
    callees: Vec<usize>,
    routes: Vec<usize>,
    variant: VariantId,
    forms: Vec<&'p [Form]>,
    /// By instruction, the form of the first that has it.
    common: Vec<Form>,
}

/// Sorts the layouts that `program` reads.
///
/// # Errors
/// [`Error::RowTooLong`].
pub fn sort(request: &Request<'_>, classes: &Classes, program: &Dispatched) -> Result<Vec<Alike>, Error> {
    let sites = sites(request, program.function);
    let read: Vec<(usize, &Route)> =
        program.routes.iter().enumerate().filter(|(_, r)| !request.falls_back(r)).collect();
    let forms: Vec<Vec<Form>> = read.iter().map(|(_, r)| forms(request, program.function, r.variant, &sites)).collect();
    let called = callees(request.object, program.function);
    let mut groups: Vec<Group<'_>> = Vec::new();
    for ((number, Route { case, variant, .. }), own) in read.into_iter().zip(&forms) {
        let callees: Vec<_> = called.iter().map(|c| classes.class(*c, *variant)).collect();
        let fits =
            |g: &&mut Group<'_>| (g.size, &g.callees) == (case.size, &callees) && together(&sites, &g.common, own);
        match groups.iter_mut().find(fits) {
            Some(group) => {
                group.routes.push(number);
                group.forms.push(own);
                let missing = group.common.iter_mut().zip(own).filter(|(common, _)| **common == Form::Poisoned);
                missing.for_each(|(common, own)| *common = *own);
            }
            None => groups.push(Group {
                size: case.size,
                callees,
                routes: vec![number],
                variant: *variant,
                forms: vec![own],
                common: own.clone(),
            }),
        }
    }
    groups.iter().map(|g| alike(g, &sites)).collect()
}

impl Alike {
    /// One layout alone, with its own code.
    pub fn single(route: usize, variant: VariantId) -> Alike {
        Alike { variant, routes: vec![route], sites: BTreeMap::new(), values: vec![vec![]], row: 0 }
    }
}

/// Where the relocated instructions of a function stand, and whether a load and a move there may differ.
fn sites(request: &Request<'_>, function: FunctionId) -> BTreeMap<usize, (bool, bool)> {
    let relos = request.object.relos().iter().zip(&request.metadata).filter(|(r, _)| r.function == function);
    let site = |(relo, metadata): (&crate::Relo, &bool)| {
        let kind = RelocKind::from_raw(relo.core.kind);
        let offset = kind == Some(RelocKind::FieldByteOffset);
        let constant = offset || kind == Some(RelocKind::TypeSize);
        (relo.instruction, (*metadata && offset, !(*metadata && constant)))
    };
    relos.map(site).collect()
}

fn forms(
    request: &Request<'_>,
    function: FunctionId,
    variant: VariantId,
    sites: &BTreeMap<usize, (bool, bool)>,
) -> Vec<Form> {
    let variant = request.variants.at(variant);
    let form = |at: &usize| {
        let Some(insn) = variant.patch_at(function, *at).and_then(|patch| patch.insn) else { return Form::Poisoned };
        // What differs is blanked, so that the rest compares.
        match (insn.class(), u8::try_from(insn.off)) {
            (LDX, Ok(off)) => Form::Load(Insn { off: 0, ..insn }, off.into()),
            _ if insn.is_wide() && insn.src == 0 => Form::Value(Insn { imm: 0, ..insn }, insn.imm.cast_unsigned()),
            (ALU64, _) if is_constant(insn) => Form::Value(Insn { imm: 0, ..insn }, insn.imm.cast_unsigned()),
            (ALU, _) if is_constant(insn) => Form::Value(Insn { imm: 0, ..insn }, u64::from(insn.imm as u32)),
            _ => Form::Other(insn),
        }
    };
    sites.keys().map(form).collect()
}

fn is_constant(insn: Insn) -> bool {
    insn.op() == MOV_OP && insn.code & SRC_REG == 0 && insn.off == 0
}

/// Whether one copy can serve another layout too.
fn together(sites: &BTreeMap<usize, (bool, bool)>, a: &[Form], b: &[Form]) -> bool {
    sites.values().zip(a.iter().zip(b)).all(|((load, value), forms)| match forms {
        (Form::Load(a, x), Form::Load(b, y)) => a == b && (x == y || *load),
        (Form::Value(a, x), Form::Value(b, y)) => a == b && (x == y || *value),
        (Form::Poisoned, Form::Load(..)) | (Form::Load(..), Form::Poisoned) => *load,
        (Form::Poisoned, Form::Value(..)) | (Form::Value(..), Form::Poisoned) => *value,
        (a, b) => a == b,
    })
}

/// Gives what differs its place in the row.
fn alike(group: &Group<'_>, sites: &BTreeMap<usize, (bool, bool)>) -> Result<Alike, Error> {
    let mut differing = Vec::new();
    for (n, at) in sites.keys().enumerate() {
        let all: Vec<Form> = group.forms.iter().filter_map(|f| f.get(n)).copied().collect();
        if all.iter().any(|f| Some(f) != all.first()) {
            let insn = match group.common.get(n) {
                Some(Form::Load(insn, _) | Form::Value(insn, _)) => Some(*insn),
                _ => None,
            };
            let value = |f: &Form| match f {
                Form::Load(_, value) | Form::Value(_, value) => *value,
                _ => 0,
            };
            differing.extend(insn.map(|insn| (*at, insn, all.iter().map(value).collect::<Vec<u64>>())));
        }
    }
    let width = |values: &Vec<u64>| match values.iter().max().copied().unwrap_or(0) {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    };
    let widths: Vec<u16> = differing.iter().map(|(.., values)| width(values)).collect();
    let (fields, row) = places(&widths)?;
    let mut out = Alike {
        variant: group.variant,
        routes: group.routes.clone(),
        sites: BTreeMap::new(),
        values: vec![Vec::new(); group.routes.len()],
        row,
    };
    for ((at, insn, values), field) in differing.into_iter().zip(fields) {
        let site = if insn.class() == LDX { Site::Load(insn, field) } else { Site::Value(insn, field) };
        out.sites.insert(at, site);
        for (row, value) in out.values.iter_mut().zip(values) {
            row.push((field, value));
        }
    }
    Ok(out)
}

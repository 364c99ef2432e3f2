//! Dispatch by a table: the entry finds the layout's row of numbers, and one copy reads packets of all layouts that are
//! alike, each field where the row says it is.
//!
//! However many layouts there are and in whatever order their packets come, no branch depends on which it is, as long as
//! all are alike; where they are not, one branch a packet does, between so many copies as there are kinds of them.
//! Offsets that vary take CAP_PERFMON.

use std::collections::HashSet;

use xhint_bpf::reg::{R0, R1, R2, R3, R4, R5, R6, R7, R9};
use xhint_bpf::{Emit, FunctionId, If, Instruction, Label, Named, Op, SymbolId, effect};

use super::alike::{Alike, sort};
use super::case::IdAt;
use super::copies::Copies;
use super::count::{Counters, Index};
use super::entry::{find_id, find_length, load_end, load_ends, load_id, retest_length};
use super::rewrite::{Rewrite, load_field};
use super::rows::{self, Cell, ROWS, Row, SECTION, Shape};
use super::usual::selectors;
use super::{Classes, Dispatched, Request, Route};
use crate::Error;
use crate::Fallback;
use crate::Object;
use crate::name::c_name;
use crate::policy::Kinds;
use crate::variant::VariantId;
use xhint_object::Image;
use xhint_object::maps::{place_data, place_maps};

/// Links the request's programs so that each has an entry of its own name, in its own place, with a copy behind it for each
/// kind of layouts.
///
/// # Errors
/// [`Error::RowTooLong`], [`Error::TableFull`], [`Error::TooFar`] for copies that jumps cannot span, and faults of the
/// object.
pub fn link(request: &Request<'_>) -> Result<Image, Error> {
    let mut copies = Copies::of(request)?;
    let counters = request.count.then(|| Counters::declare(&mut copies.image));
    let mut data = Vec::new();
    for program in &request.programs {
        let name = c_name(ROWS, &request.object.functions().at(program.function).name);
        let symbol = copies.image.add_variable(&name);
        let all = possible(request, &copies.classes, program)?;
        let rows = all_rows(request, program, &all)?;
        let row = all.iter().map(|(a, _)| a.row).max().unwrap_or(0).max(MIN_ROW);
        let (bytes, shape) = rows::build(&rows, row, request.object.order())?;
        let keys = rows.iter().any(|r| Some(r.key) != rows.first().map(|first| first.key));
        let maps = Maps { rows: symbol, shape, keys, counters };
        let code = entry(&mut copies, request, program, &all, maps)?;
        copies.set_entry(program.function, code)?;
        data.push((symbol, name, bytes));
    }
    place_data(&mut copies.image, &mut copies.btf, SECTION, &data)?;
    if let Some(counters) = counters {
        place_maps(copies.object, &mut copies.image, &mut copies.btf, &counters.maps())?;
    }
    copies.finish()
}

/// How many kinds of layouts the request's programs would have copies for; the most, if there are several programs.
///
/// # Errors
/// [`Error::RowTooLong`], [`Error::TooManyCopies`].
pub fn kinds(request: &Request<'_>) -> Result<Kinds, Error> {
    let classes = Classes::of(request.object, request.variants);
    let mut out = Kinds::default();
    for program in &request.programs {
        let layouts = program.routes.iter().filter(|r| !request.falls_back(r)).count();
        let copies = possible(request, &classes, program)?.len();
        out = Kinds { layouts: out.layouts.max(layouts), copies: out.copies.max(copies) };
    }
    Ok(out)
}

/// Bytes of a row without fields.
const MIN_ROW: u32 = 16;
/// A copy's number is 8 bits; one is of the fallback.
const MAX_COPIES: usize = 255;

/// Kinds of layouts, and how the code for each that has several is rewritten.
fn possible(
    request: &Request<'_>,
    classes: &Classes,
    program: &Dispatched,
) -> Result<Vec<(Alike, Option<Rewrite>)>, Error> {
    let mut out = Vec::new();
    for alike in sort(request, classes, program)? {
        if alike.sites.is_empty() {
            out.push((alike, None));
            continue;
        }
        let code = &request.object.functions().at(program.function).code;
        match Rewrite::new(code, &alike.sites, |i| moves_packet(request.object, i, &mut HashSet::new())) {
            Some(rewrite) => out.push((alike, Some(rewrite))),
            None => {
                let single = |route: &usize| Some(Alike::single(*route, program.routes.get(*route)?.variant));
                out.extend(alike.routes.iter().filter_map(single).map(|alone| (alone, None)));
            }
        }
    }
    if out.len() > MAX_COPIES { Err(Error::TooManyCopies { copies: out.len(), most: MAX_COPIES }) } else { Ok(out) }
}

/// Whether the instruction may move the packet: by itself, or by the function that it names.
fn moves_packet(object: &Object, instruction: &Instruction, seen: &mut HashSet<FunctionId>) -> bool {
    match instruction.named {
        Named::Function(function) => {
            seen.insert(function) && object.functions().at(function).code.iter().any(|i| moves_packet(object, i, seen))
        }
        Named::Kernel => {
            let name = instruction.reference.map(|r| object.image().symbols.at(r.symbol).name.as_str());
            // `is_kfunc_pkt_changing` of kernel/bpf/verifier.c.
            name == Some("bpf_xdp_pull_data")
        }
        _ => effect::moves_packet(instruction.insn),
    }
}

/// The rows of all layouts, also of those that go to the fallback: its number is the one after the last copy's.
fn all_rows(request: &Request<'_>, program: &Dispatched, all: &[(Alike, Option<Rewrite>)]) -> Result<Vec<Row>, Error> {
    let known = selectors(program.cases());
    let row = |route: &Route, copy: usize, fields: &[(Cell, u64)]| {
        let case = route.case;
        let places = known.get(&case.size).map_or(&[][..], Vec::as_slice);
        let place = places.iter().position(|at| *at == case.at).ok_or_else(|| no_selector(request, route))?;
        let most = usize::from(u8::MAX) + 1;
        let place = u8::try_from(place).map_err(|_| Error::TooManySelectors { size: case.size, most })?;
        let slot = if request.count { Some(request.slot(route)?) } else { None };
        Ok(Row { id: case.id, key: key(case.size, place), slot, copy: copy as u8, fields: fields.to_vec() })
    };
    let read = all.iter().enumerate().flat_map(|(copy, (alike, _))| {
        let routes = alike.routes.iter().zip(&alike.values);
        routes.filter_map(move |(number, fields)| Some((program.routes.get(*number)?, copy, fields.as_slice())))
    });
    let lacking = program.routes.iter().filter(|r| request.falls_back(r)).map(|r| (r, all.len(), &[][..]));
    read.chain(lacking).map(|(route, copy, fields)| row(route, copy, fields)).collect()
}

/// There is no place where the ids of a route's layout are looked for.
fn no_selector(request: &Request<'_>, route: &Route) -> Error {
    Error::NoSelector { layout: request.names.at(VariantId::from(route.layout)).clone() }
}

/// What tells a layout of this length, its id at the place of this number, from others with its id.
fn key(size: u32, place: u8) -> u16 {
    u16::from_le_bytes([((size / 4) & 0xff) as u8, place])
}

/// What an entry uses.
#[derive(Debug, Clone, Copy)]
struct Maps {
    rows: SymbolId,
    shape: Shape,
    /// Whether a row's key tells more than the length that was tested.
    keys: bool,
    counters: Option<Counters>,
}

/// Labels in an entry.
#[derive(Debug, Clone, Copy)]
struct Labels {
    /// The lookup that all lengths share: the id in r5, the key in r4.
    look_up: Label,
    /// The row was found: in r2.
    hit: Label,
    /// The packet is of no layout.
    none: Label,
    /// It is counted, and gets what packets of no layout get.
    rest: Label,
    /// What cannot be.
    bad: Label,
}

fn entry(
    copies: &mut Copies<'_>,
    request: &Request<'_>,
    program: &Dispatched,
    all: &[(Alike, Option<Rewrite>)],
    maps: Maps,
) -> Result<Vec<Instruction>, Error> {
    let mut code = Emit::new(request.object.order());
    let emit = &mut code;
    let labels =
        Labels { look_up: emit.label(), hit: emit.label(), none: emit.label(), rest: emit.label(), bad: emit.label() };
    if maps.counters.is_some() {
        emit.mov(R6, R1);
    }
    // The verifier refuses code that nothing leads to.
    if !program.routes.is_empty() {
        find_row(emit, program, maps, labels);
        emit.put(labels.hit);
        let row = count(emit, maps.counters, labels);
        let mut of_copies: Vec<(u32, Label)> = (0..).zip(all.iter().map(|_| emit.label())).collect();
        if program.routes.iter().any(|r| request.falls_back(r)) {
            of_copies.push((all.len() as u32, labels.rest));
        }
        if of_copies.len() > 1 {
            load_field(emit, R5, row, rows::COPY);
            find_id(emit, &of_copies, labels.bad);
        }
        for ((alike, rewrite), (_, label)) in all.iter().zip(of_copies) {
            emit.put(label);
            place(emit, copies, program, alike, rewrite.as_ref(), row, labels)?;
        }
        if all.is_empty() {
            emit.jump(labels.rest);
        }
    }
    emit.put(labels.none);
    if let Some(counters) = maps.counters {
        counters.unknown(emit, program.hook, program.cases());
        emit.mov(R1, R6);
    }
    emit.put(labels.rest);
    match request.or_else {
        Fallback::Program => emit.body(copies.named_code(program.function, request.fallback, 0)?),
        Fallback::Action(action) => {
            emit.mov_imm(R0, action);
            emit.exit();
        }
    }
    if emit.is_wanted(labels.bad) {
        emit.put(labels.bad);
        emit.mov_imm(R0, program.hook.failed());
        emit.exit();
    }
    Ok(code.finish())
}

/// Counts the packet, if that is wanted. The row's register, the context in r1.
fn count(emit: &mut Emit, counters: Option<Counters>, labels: Labels) -> u8 {
    let Some(counters) = counters else { return R2 };
    emit.mov(R9, R2);
    load_field(emit, R7, R9, rows::SLOT);
    counters.known(emit, Index::InR7, labels.bad);
    emit.mov(R1, R6);
    R9
}

/// A copy; the row stands in this register, the context in r1.
fn place(
    emit: &mut Emit,
    copies: &mut Copies<'_>,
    program: &Dispatched,
    alike: &Alike,
    rewrite: Option<&Rewrite>,
    row: u8,
    labels: Labels,
) -> Result<(), Error> {
    let function = program.function;
    let more = alike.routes.len().saturating_sub(1);
    let Some(rewrite) = rewrite else {
        emit.body(copies.named_code(function, alike.variant, more)?);
        return Ok(());
    };
    let code = copies.whole_code(function, alike.variant);
    let code = copies.name(code, alike.variant, more)?;
    rewrite.row.set(emit, |_, _| row);
    rewrite.data.set(emit, |emit, reg| {
        load_end(emit, reg, program.hook.context().data);
        reg
    });
    rewrite.emit(emit, code, &alike.sites, labels.bad);
    Ok(())
}

/// From the packet to `hit` or `none`. The context is in r1.
fn find_row(emit: &mut Emit, program: &Dispatched, maps: Maps, labels: Labels) {
    let known = selectors(program.cases());
    let lengths: Vec<_> = known.keys().copied().collect();
    load_ends(emit, program.hook);
    find_length(emit, &lengths, labels.none, &mut |emit, length| {
        // No more than there are numbers: who has one was given it.
        let own = known.get(&length).into_iter().flatten();
        let mut own = (0..=u8::MAX).zip(own).peekable();
        while let Some((place, at)) = own.next() {
            load_key(emit, *at, key(length, place), maps.keys);
            if own.peek().is_none() {
                return emit.jump(labels.look_up);
            }
            let miss = emit.label();
            look_up(emit, maps, labels.hit, miss);
            emit.put(miss);
            retest_length(emit, program.hook, length, labels.none);
        }
        emit.jump(labels.none);
    });
    emit.put(labels.look_up);
    look_up(emit, maps, labels.hit, labels.none);
}

fn load_key(emit: &mut Emit, at: IdAt, key: u16, wanted: bool) {
    load_id(emit, at);
    if wanted {
        emit.mov_imm(R4, key);
    }
}

/// Looks the id in r5 with the key in r4 up: to `hit` with the row in r2, or to `miss`. Uses r0, r2 and r3.
fn look_up(emit: &mut Emit, maps: Maps, hit: Label, miss: Label) {
    let shape = &maps.shape;
    emit.mov(R0, R5);
    emit.mul32(R0, shape.multiplier);
    if shape.directory > 0 {
        emit.mov(R2, R0);
        emit.op(Op::Rsh, R2, shape.directory_shift());
        emit.op(Op::Lsh, R2, 2);
        emit.address(R3, maps.rows, 0);
        emit.op_reg(Op::Add, R3, R2);
        emit.load(4, R3, R3, 0);
    }
    match shape.start_shift() {
        0 => {}
        up @ ..0 => emit.op(Op::Lsh, R0, up.unsigned_abs()),
        down => emit.op(Op::Rsh, R0, down),
    }
    if shape.directory > 0 {
        emit.op_reg(Op::Xor, R0, R3);
    }
    emit.op(Op::And, R0, shape.start_mask());
    emit.address(R2, maps.rows, shape.start());
    emit.op_reg(Op::Add, R2, R0);
    emit.load(4, R0, R2, 0);
    emit.jump_if(If::NotEqual, R0, R5, miss);
    if maps.keys {
        load_field(emit, R0, R2, rows::KEY);
        emit.jump_if(If::NotEqual, R0, R4, miss);
    }
    emit.jump(hit);
}

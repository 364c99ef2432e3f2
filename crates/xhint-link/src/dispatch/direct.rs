//! Static dispatch: the entry tests length and id, and goes to the copy for that layout.
//!
//! The copies stand behind the entry, in the same function, and it jumps to them: a call and a frame would cost a packet
//! more than the decision does. Where they are too long for that, they are functions in `.text` that it calls.

use std::collections::BTreeMap;

use xhint_bpf::reg::{R0, R1, R6};
use xhint_bpf::{Emit, FunctionId, Hook, Instruction, Label, SIZE};

use super::copies::Copies;
use super::count::Counters;
use super::entry::decide;
use super::filled::{self, Fill, Filled, Inlined, fill};
use super::table::Slot;
use super::{Case, Dispatched, Request, Route};
use crate::Error;
use crate::Fallback;
use crate::variant::VariantId;
use xhint_object::Image;
use xhint_object::maps::place_maps;

/// Functions of one program that the kernel takes: `BPF_MAX_SUBPROGS` of include/linux/bpf_verifier.h.
const MAX_FUNCTIONS: usize = 256;
/// Instructions of copies that the entry jumps to. A jump spans 32,767, but the verifier puts up to a dozen instructions in
/// place of one.
const MAX_JUMPED: usize = 8_000;

/// Links the request's programs so that each has an entry of its own name, in its own place, with a copy behind it for each
/// layout, or a static copy `PROGRAM__LAYOUT` in `.text`. Copies that are equal are one.
///
/// # Errors
/// [`Error::TooManyFunctions`] for more than the kernel takes, [`Error::TooFar`] for more layouts than jumps can span,
/// and faults of the object.
pub fn link(request: &Request<'_>) -> Result<Image, Error> {
    let mut copies = Copies::of(request)?;
    let counters = request.count.then(|| Counters::declare(&mut copies.image));
    for program in &request.programs {
        put_entry(&mut copies, program, counters, Routing::of(request))?;
    }
    if let Some(counters) = counters {
        place_maps(copies.object, &mut copies.image, &mut copies.btf, &counters.maps())?;
    }
    copies.finish()
}

/// Of a request, what an entry needs beyond its program.
#[derive(Debug, Clone, Copy)]
pub struct Routing<'a> {
    slots: &'a [Option<Slot>],
    fallback: VariantId,
    or_else: Fallback,
    filled: Option<Filled>,
}

impl<'a> Routing<'a> {
    pub fn of(request: &'a Request<'_>) -> Routing<'a> {
        Routing { slots: &request.slots, fallback: request.fallback, or_else: request.or_else, filled: request.filled }
    }
}

/// Puts an entry in the place of one program.
///
/// # Errors
/// As [`link`].
pub fn put_entry<'c>(
    copies: &'c mut Copies<'_>,
    program: &Dispatched,
    counters: Option<Counters>,
    routing: Routing<'c>,
) -> Result<(), Error> {
    let mut entry = Entry::new(copies, program, counters, routing);
    entry.copy_for(routing.fallback);
    for route in &program.routes {
        let slot = routing.slots.get(route.layout).copied().flatten();
        match routing.filled.filter(|filled| filled.layout == route.layout) {
            Some(filled) => entry.add_filled(*route, slot, filled),
            None => entry.add(*route, slot),
        }
    }
    let code = entry.code()?;
    copies.set_entry(program.function, code)
}

/// An entry in the making.
struct Entry<'c, 'a> {
    copies: &'c mut Copies<'a>,
    program: FunctionId,
    hook: Hook,
    optional: bool,
    counters: Option<Counters>,
    routing: Routing<'c>,
    emit: Emit,
    cases: Vec<(Case, Label)>,
    /// What is filled, and where its packets go.
    filled: Option<FilledRoute>,
    /// By class; the fixed action that takes the fallback's place is of none.
    all: BTreeMap<Option<usize>, Copy>,
}

/// Where packets go that come without metadata.
#[derive(Clone, Copy)]
struct FilledRoute {
    filled: Filled,
    route: Route,
    slot: Option<Slot>,
    label: Label,
}

/// A copy, and where packets are counted before they come to it.
struct Copy {
    variant: VariantId,
    label: Label,
    /// How many layouts it is for.
    layouts: usize,
    /// Where packets of each slot are counted.
    counted: Vec<(Slot, Label)>,
}

impl<'c, 'a> Entry<'c, 'a> {
    fn new(
        copies: &'c mut Copies<'a>,
        program: &Dispatched,
        counters: Option<Counters>,
        routing: Routing<'c>,
    ) -> Entry<'c, 'a> {
        let emit = Emit::new(copies.object.order());
        let &Dispatched { function: program, hook, optional, .. } = program;
        let (cases, all) = (Vec::new(), BTreeMap::new());
        Entry { copies, program, hook, optional, counters, routing, emit, cases, filled: None, all }
    }

    fn copy_for(&mut self, variant: VariantId) -> &mut Copy {
        let class = match self.action(variant) {
            Some(_) => None,
            None => Some(self.copies.classes.class(self.program, variant)),
        };
        let emit = &mut self.emit;
        let new = || Copy { variant, label: emit.label(), layouts: 0, counted: Vec::new() };
        self.all.entry(class).or_insert_with(new)
    }

    /// What stands in place of a copy for this variant.
    fn action(&self, variant: VariantId) -> Option<u32> {
        match self.routing.or_else {
            Fallback::Action(action) if variant == self.routing.fallback => Some(action),
            _ => None,
        }
    }

    fn add(&mut self, Route { case, variant, .. }: Route, slot: Option<Slot>) {
        let counted = slot.filter(|_| self.counters.is_some()).map(|slot| (slot, self.emit.label()));
        let copy = self.copy_for(variant);
        copy.layouts = copy.layouts.saturating_add(1);
        copy.counted.extend(counted);
        let label = counted.map_or(copy.label, |(_, label)| label);
        self.cases.push((case, label));
    }

    /// Packets of this layout do not come as such: they are made.
    fn add_filled(&mut self, route: Route, slot: Option<Slot>, filled: Filled) {
        let label = self.emit.label();
        self.filled = Some(FilledRoute { filled, route, slot, label });
        if self.is_like_others(filled, route) {
            self.copy_for(route.variant);
        }
    }

    /// Whether r6 has the context, which helpers and functions leave alone.
    fn keeps_context(&self) -> bool {
        self.counters.is_some() || self.filled.is_some()
    }

    fn code(mut self) -> Result<Vec<Instruction>, Error> {
        let jumped = self.fits()?;
        let none = self.emit.label();
        if self.keeps_context() {
            self.emit.mov(R6, R1);
        }
        let how = self.filled.map(|filled| self.how_filled(filled)).transpose()?;
        if let Some((how, filled)) = how.as_ref().zip(self.filled) {
            fill(&mut self.emit, self.hook, how, filled.label, none);
        }
        decide(&mut self.emit, self.hook, &self.cases, none);
        self.emit.put(none);
        if let Some(counters) = self.counters {
            counters.unknown(&mut self.emit, self.hook, self.cases.iter().map(|c| c.0));
        }
        let rest = self.copy_for(self.routing.fallback).label;
        self.emit.jump(rest);
        if let Some((how, filled)) = how.as_ref().zip(self.filled) {
            self.place_filled(filled, how);
        }
        for copy in std::mem::take(&mut self.all).into_values() {
            self.place(copy, jumped)?;
        }
        Ok(self.emit.finish())
    }

    /// The code of the filler and of what is only for packets that it fills, or calls of them.
    fn how_filled(&mut self, FilledRoute { filled, route, .. }: FilledRoute) -> Result<Fill, Error> {
        let (program, variant) = (self.program, VariantId::from(route.layout));
        let own = !self.is_like_others(filled, route);
        let filler = self.copies.code(filled.function, variant);
        let copy = if own { Some(self.copies.named_code(program, route.variant, 0)?) } else { None };
        Ok(match Inlined::new(filler, copy, filled.careful) {
            Some(inlined) => Fill::Inlined(inlined),
            None => Fill::Call {
                filler: self.copies.function(filled.function, variant),
                copy: own.then(|| self.copies.function(program, route.variant)),
            },
        })
    }

    /// Whether packets that were filled go the way of others.
    fn is_like_others(&self, filled: Filled, route: Route) -> bool {
        filled.keep || route.variant == self.routing.fallback
    }

    /// The way of packets that were filled.
    fn place_filled(&mut self, FilledRoute { filled, route, slot, label }: FilledRoute, how: &Fill) {
        self.emit.put(label);
        let run = self.emit.label();
        if let Some((counters, slot)) = self.counters.zip(slot) {
            counters.known(&mut self.emit, slot.into(), run);
        }
        self.emit.put(run);
        if self.is_like_others(filled, route) {
            let copy = self.copy_for(route.variant).label;
            self.emit.jump(copy);
        } else {
            filled::run(&mut self.emit, self.hook, how, filled.size);
        }
    }

    fn place(&mut self, copy: Copy, jumped: bool) -> Result<(), Error> {
        let mut counted = copy.counted.into_iter().peekable();
        while let Some((slot, label)) = counted.next() {
            self.emit.put(label);
            if let Some(counters) = self.counters {
                counters.known(&mut self.emit, slot.into(), copy.label);
            }
            if counted.peek().is_some() {
                self.emit.jump(copy.label);
            }
        }
        self.emit.put(copy.label);
        if let Some(action) = self.action(copy.variant) {
            self.emit.mov_imm(R0, action);
            self.emit.exit();
            return Ok(());
        }
        if self.keeps_context() {
            self.emit.mov(R1, R6);
        }
        if jumped {
            let code = self.copies.named_code(self.program, copy.variant, copy.layouts.saturating_sub(1))?;
            self.emit.body(code);
        } else {
            self.emit.call(self.copies.function(self.program, copy.variant));
            self.emit.exit();
        }
        Ok(())
    }

    /// Whether the copies can be jumped to.
    fn fits(&self) -> Result<bool, Error> {
        let size = self.copies.object.functions().at(self.program).size();
        let copies: Vec<VariantId> =
            self.all.values().map(|c| c.variant).filter(|v| self.action(*v).is_none()).collect();
        let jumped = (size / SIZE).saturating_mul(copies.len()) <= MAX_JUMPED;
        let all = self.copies.functions_of(self.program, copies.iter().copied());
        let functions = if jumped { all.saturating_sub(copies.len()) } else { all }.saturating_add(1);
        if functions > MAX_FUNCTIONS {
            let program = self.copies.object.functions().at(self.program).name.clone();
            let (most, optional) = (MAX_FUNCTIONS, self.optional);
            return Err(Error::TooManyFunctions { program, functions, most, optional });
        }
        Ok(jumped)
    }
}

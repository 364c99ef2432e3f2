//! Code that goes along routes, in the place of `xhint_drive` of `bpf/driver.h`.
//!
//! It is called with the context and the address of a `struct driven`, and gives back the bits of `valid` of those values that
//! the packet has. First all pointers on the way are fetched, each once, onto the stack, those that others are found by
//! before these. Nothing is tested for NULL: what is read from there is 0, by either way of reading, and so is no value.
//! Then each route's conditions are tried, and if they hold, its value is read.

use std::collections::BTreeSet;

use xhint_bpf::reg::{R0, R1, R2, R3, R6, R7, R8, R9, R10};
use xhint_bpf::{Emit, If, Instruction, Label, Op, SymbolId};
use xhint_btf::ByteOrder;
use xhint_layout::Hint;

use super::file::{DRIVEN, Want};
use super::resolve::{Bits, Fetch, Place, Route};
use crate::Error;

/// `bpf_probe_read_kernel`.
const PROBE_READ_KERNEL: i32 = 113;
/// Where the helper puts what it reads.
const READ: i16 = -8;
/// Pointers for which there is room on the stack, which is shared with who calls.
const POINTERS: usize = 16;

/// What the code calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    /// `bpf_cast_to_kern_ctx`
    pub context: SymbolId,
    /// `bpf_rdonly_cast`
    pub cast: SymbolId,
}

/// The code for these routes, all by the same way of reading.
pub(crate) fn code(order: ByteOrder, routes: &[&Route], calls: Calls) -> Result<Vec<Instruction>, Error> {
    let fetch = routes.first().map_or(Fetch::Cast, |route| route.fetch);
    let places = routes.iter().flat_map(|route| {
        let conditions = route.conditions.iter().filter_map(|(bits, ..)| bits.as_ref());
        [&route.value].into_iter().chain(conditions).map(|bits| bits.place.hops.as_slice())
    });
    let pointers: BTreeSet<_> = places.flat_map(|hops| (1..=hops.len()).filter_map(|n| hops.get(..n))).collect();
    if pointers.len() > POINTERS {
        return Err(Error::ManyPointers { most: POINTERS });
    }
    // In the order of a set each stands behind what it begins with.
    let slots = pointers.into_iter().zip((2i16..).map(|n| n.saturating_mul(READ))).collect();
    let mut drive = Drive { emit: Emit::new(order), fetch, cast: calls.cast, slots };
    drive.begin(calls.context);
    drive.pointers();
    routes.iter().try_for_each(|route| drive.route(route))?;
    drive.emit.mov(R0, R8);
    drive.emit.exit();
    Ok(drive.emit.finish())
}

/// r6: the packet's `struct xdp_buff`; r7: the `struct driven`; r8: what is given back; r9: a number.
struct Drive<'a> {
    emit: Emit,
    fetch: Fetch,
    cast: SymbolId,
    /// Where the pointer at the end of these hops is on the stack.
    slots: Vec<(&'a [u32], i16)>,
}

impl Drive<'_> {
    fn begin(&mut self, context: SymbolId) {
        self.emit.mov(R7, R2);
        self.emit.mov_imm(R8, 0);
        self.emit.call(context);
        if self.fetch == Fetch::Cast {
            self.emit.mov(R1, R0);
            self.call_cast();
        }
        self.emit.mov(R6, R0);
    }

    /// `r0 = bpf_rdonly_cast(r1, 0)`
    fn call_cast(&mut self) {
        self.emit.mov_imm(R2, 0);
        self.emit.call(self.cast);
    }

    fn pointers(&mut self) {
        for (hops, slot) in self.slots.clone() {
            let Some((last, before)) = hops.split_last() else { continue };
            self.read(before, *last, 8, R9);
            self.emit.store(8, R10, slot, R9);
        }
    }

    /// `to` = so many bytes at `offset` from where the last of `hops` points to.
    fn read(&mut self, hops: &[u32], offset: u32, bytes: u32, to: u8) {
        let slot = self.slots.iter().find(|(own, _)| *own == hops).map(|(_, slot)| *slot);
        match self.fetch {
            Fetch::Cast => {
                let from = match slot {
                    Some(slot) => {
                        self.emit.load(8, R1, R10, slot);
                        self.call_cast();
                        R0
                    }
                    None => R6,
                };
                match i16::try_from(offset) {
                    Ok(near) => self.emit.load(bytes, to, from, near),
                    Err(_) => {
                        self.emit.mov(R1, from);
                        self.emit.op(Op::Add, R1, offset);
                        self.emit.load(bytes, to, R1, 0);
                    }
                }
            }
            Fetch::Helper => {
                match slot {
                    Some(slot) => self.emit.load(8, R3, R10, slot),
                    None => self.emit.mov(R3, R6),
                }
                self.emit.op(Op::Add, R3, offset);
                self.emit.mov(R1, R10);
                self.emit.op(Op::Add, R1, READ);
                self.emit.mov_imm(R2, bytes);
                self.emit.helper(PROBE_READ_KERNEL);
                self.emit.load(bytes, to, R10, READ);
            }
        }
    }

    /// `r9` = the bits that count.
    fn bits(&mut self, bits: &Bits) {
        let Place { hops, offset, bytes, swapped, shift, .. } = &bits.place;
        self.read(hops, *offset, *bytes, R9);
        if *swapped {
            self.emit.swap(R9, *bytes);
        }
        let shift = shift.saturating_add(bits.shift);
        if shift > 0 {
            self.emit.op(Op::Rsh, R9, shift);
        }
        let left = bytes.saturating_mul(8).saturating_sub(shift);
        self.mask(R9, bits.mask, left);
    }

    /// Keeps those bits of a register that holds no more than `left`.
    fn mask(&mut self, register: u8, mask: u64, left: u32) {
        if mask == u64::MAX >> u64::BITS.saturating_sub(left).min(63) {
            return;
        }
        match i32::try_from(mask) {
            Ok(mask) => self.emit.op(Op::And, register, mask),
            Err(_) => {
                self.emit.wide(R2, mask);
                self.emit.op_reg(Op::And, register, R2);
            }
        }
    }

    /// Goes there unless the register holds what is wanted.
    fn unless(&mut self, register: u8, want: Want, to: Label) {
        let (otherwise, number) = match want {
            Want::Is(number) => (If::NotEqual, number),
            Want::Not(number) => (If::Equal, number),
        };
        match i32::try_from(number) {
            Ok(number) => self.emit.jump_if_imm(otherwise, register, number, to),
            Err(_) => {
                self.emit.wide(R2, number);
                self.emit.jump_if(otherwise, register, R2, to);
            }
        }
    }

    fn route(&mut self, route: &Route) -> Result<(), Error> {
        let absent = self.emit.label();
        for (bits, _, want) in &route.conditions {
            if let Some(bits) = bits {
                self.bits(bits);
                self.unless(R9, *want, absent);
            }
        }
        self.bits(&route.value);
        for (_, mask, want) in route.conditions.iter().filter(|(bits, ..)| bits.is_none()) {
            self.emit.mov(R1, R9);
            self.mask(R1, *mask, u64::BITS);
            self.unless(R1, *want, absent);
        }
        let no_place = || Error::NotDriven { hint: route.hint };
        let (place, bit) = place_of(route.hint).ok_or_else(no_place)?;
        self.emit.store(8, R7, place, R9);
        match 1i32.checked_shl(bit).filter(|bits| *bits > 0) {
            Some(bits) => self.emit.op(Op::Or, R8, bits),
            None => {
                self.emit.wide(R1, 1u64.checked_shl(bit).ok_or_else(no_place)?);
                self.emit.op_reg(Op::Or, R8, R1);
            }
        }
        self.emit.put(absent);
        Ok(())
    }
}

/// Where a hint's value is in `struct driven`, and its bit in `valid`.
fn place_of(hint: Hint) -> Option<(i16, u32)> {
    let at = DRIVEN.iter().position(|driven| *driven == hint)?;
    Some((i16::try_from(at.checked_mul(8)?).ok()?, hint.word()?.bit.into()))
}

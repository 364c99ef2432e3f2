//! Counting in the entry: packets by layout, and ids that nobody knows.
//!
//! Every packet passes the entry, so what is counted there is exact, and programs stay as they are. A packet of a known
//! layout costs one look into an array of this processor's own and a store: no atomic operation, no memory shared between
//! processors. The coarse clock is asked once a tick, since it stands still in between; to tell a tick from the next is
//! one load, into which the verifier turns `bpf_jiffies64`. Only packets of unknown ids pay for a hash.
//! [`crate::counts`] is the agreement with whoever reads the maps.

use std::collections::BTreeMap;

use xhint_bpf::reg::{R0, R1, R2, R3, R4, R5, R6, R7, R8, R10};
use xhint_bpf::{Emit, Hook, If, Label, Op, SymbolId};

use super::case::IdAt;
use super::entry::{find_length, load_ends, load_id};
use super::table::Slot;
use super::usual::{Usual, selectors};
use super::{Case, MAX_METADATA};
use crate::counts::{COUNT_SIZE, COUNTS, ENTRIES, NO_METADATA, UNKNOWN, UNKNOWN_ENTRIES, UNKNOWN_ID, UNKNOWN_SIZE};
use xhint_object::Image;
use xhint_object::maps::Declared;

// Helpers of the kernel.
const LOOK_UP: i32 = 1;
const UPDATE: i32 = 2;
const JIFFIES64: i32 = 118;
const KTIME_GET_COARSE_NS: i32 = 160;

// `enum bpf_map_type`.
const PERCPU_ARRAY: u32 = 6;
const LRU_HASH: u32 = 9;

// The entry's stack: 32 bytes, which the kernel takes for any function anyway. Copies use the same bytes after it, by
// halves if they like. Without CAP_PERFMON verifiers before Linux 6.9 take a number that they know something of for a
// spilled pointer, and refuse to have half of it written; so such slots are written whole, and zeroed when done with.
const SLOT: i16 = -4;
const KEY: i16 = -16;
const VALUE: i16 = -32;
const LAST: i16 = -24;

/// Symbols of the two maps.
#[derive(Debug, Clone, Copy)]
pub struct Counters {
    counts: SymbolId,
    unknown: SymbolId,
}

/// Which entry of a map that a slot has one in.
#[derive(Debug, Clone, Copy)]
pub enum Index {
    /// This one.
    Known(u32),
    /// The one whose number is in r7.
    InR7,
}

impl From<Slot> for Index {
    fn from(slot: Slot) -> Index {
        Index::Known(slot.number())
    }
}

impl Counters {
    /// Declares them.
    pub fn declare(image: &mut Image) -> Counters {
        Counters { counts: image.add_variable(COUNTS), unknown: image.add_variable(UNKNOWN) }
    }

    /// How they are to be placed.
    pub fn maps(self) -> [Declared; 2] {
        let map = |name: &str, symbol, kind, entries, key_size, value_size| Declared {
            name: name.to_owned(),
            symbol,
            kind,
            entries,
            key_size,
            value_size,
            programs: Vec::new(),
        };
        [
            map(COUNTS, self.counts, PERCPU_ARRAY, ENTRIES, 4, COUNT_SIZE),
            map(UNKNOWN, self.unknown, LRU_HASH, UNKNOWN_ENTRIES, 8, UNKNOWN_SIZE),
        ]
    }

    /// Counts a packet. The context is in r6; r0 to r5 are used, r8 holds the count. To `skip` if there is none, which
    /// cannot be.
    pub fn known(self, emit: &mut Emit, index: Index, skip: Label) {
        match index {
            Index::Known(index) => emit.store_imm(4, R10, SLOT, index),
            Index::InR7 => emit.store(4, R10, SLOT, R7),
        }
        emit.address(R1, self.counts, 0);
        stack(emit, R2, SLOT);
        emit.helper(LOOK_UP);
        emit.jump_if_imm(If::Equal, R0, 0, skip);
        emit.mov(R8, R0);
        let same = emit.label();
        emit.helper(JIFFIES64);
        emit.load(8, R1, R8, 16);
        emit.jump_if(If::Equal, R1, R0, same);
        emit.store(8, R8, 16, R0);
        emit.helper(KTIME_GET_COARSE_NS);
        emit.store(8, R8, 8, R0);
        emit.put(same);
        emit.load(8, R1, R8, 0);
        emit.op(Op::Add, R1, 1);
        emit.store(8, R8, 0, R1);
    }

    /// Takes back what [`Counters::known`] just counted.
    pub fn take_back(self, emit: &mut Emit) {
        emit.load(8, R1, R8, 0);
        emit.op(Op::Add, R1, -1);
        emit.store(8, R8, 0, R1);
    }

    /// Counts a packet of no known layout, and its id as far as it can have one. The context is in r6; r0 to r5 and r8
    /// are used.
    pub fn unknown(self, emit: &mut Emit, hook: Hook, cases: impl Iterator<Item = Case>) {
        let known = selectors(cases);
        let usual = Usual::of(&known);
        let (none, read, done) = (emit.label(), emit.label(), emit.label());
        emit.mov(R1, R6);
        load_ends(emit, hook);
        let lengths: Vec<_> = (4..=MAX_METADATA).step_by(4).collect();
        find_length(emit, &lengths, none, &mut |emit, length| {
            match first(&known, length).or_else(|| usual.at(length)) {
                Some(at) => load_id(emit, at),
                None => emit.mov_imm(R5, 0),
            }
            emit.mov_imm(R4, length);
            emit.jump(read);
        });
        emit.put(read);
        emit.pair(R4, R5);
        emit.store(8, R10, KEY, R4);
        self.known(emit, Index::Known(UNKNOWN_ID), done);
        self.by_id(emit);
        emit.jump(done);
        emit.put(none);
        self.known(emit, Index::Known(NO_METADATA), done);
        emit.put(done);
        emit.store_imm(8, R10, KEY, 0);
        emit.store_imm(8, R10, VALUE, 0);
    }

    /// Counts the id and length on the stack in the hash, which all processors share.
    fn by_id(self, emit: &mut Emit) {
        let (there, done) = (emit.label(), emit.label());
        self.find(emit);
        emit.jump_if_imm(If::NotEqual, R0, 0, there);
        emit.helper(KTIME_GET_COARSE_NS);
        emit.store(8, R10, LAST, R0);
        emit.store_imm(8, R10, VALUE, 1);
        emit.address(R1, self.unknown, 0);
        stack(emit, R2, KEY);
        stack(emit, R3, VALUE);
        // BPF_NOEXIST: another processor may have been first, then its count goes on.
        emit.mov_imm(R4, 1);
        emit.helper(UPDATE);
        emit.jump_if_imm(If::Equal, R0, 0, done);
        self.find(emit);
        emit.jump_if_imm(If::Equal, R0, 0, done);
        emit.put(there);
        emit.mov(R8, R0);
        emit.mov_imm(R1, 1);
        emit.atomic_add(R8, 0, R1);
        emit.helper(KTIME_GET_COARSE_NS);
        emit.store(8, R8, 8, R0);
        emit.put(done);
    }

    fn find(self, emit: &mut Emit) {
        emit.address(R1, self.unknown, 0);
        stack(emit, R2, KEY);
        emit.helper(LOOK_UP);
    }
}

/// `dst` = the address of this place on the stack.
fn stack(emit: &mut Emit, dst: u8, place: i16) {
    emit.mov(dst, R10);
    emit.op(Op::Add, dst, place);
}

fn first(known: &BTreeMap<u32, Vec<IdAt>>, length: u32) -> Option<IdAt> {
    known.get(&length)?.first().copied()
}

//! The wire program's maps as bytes: what bpf/wire.h declares, in the same order.

use xhint_layout::{Field, Hint, Order, Plan};

/// Slots of values in a truth record.
pub(crate) const SLOTS: usize = 32;

/// Ops of one plan.
pub(crate) const MAX_OPS: usize = 64;

/// sizeof(struct op)
pub(crate) const OP_SIZE: usize = 24;

/// sizeof(struct plan)
pub(crate) const PLAN_SIZE: usize = 32 + NAME + TABLES * TABLE_LEN * 4 + MAX_OPS * OP_SIZE;

/// sizeof(struct truth)
#[cfg(test)]
pub(crate) const TRUTH_SIZE: usize = 24 + SLOTS * 8;

/// sizeof(((struct plan *)0)->name)
pub(crate) const NAME: usize = 64;

const TABLES: usize = 4;
const TABLE_LEN: usize = 16;

const OP_SWAP: u8 = 1;
const OP_TABLE: u8 = 2;

/// `enum counter`
#[derive(Clone, Copy)]
pub(crate) enum Counter {
    Packets = 0,
    Bytes = 1,
    Forwarded = 2,
    Plain = 3,
    DropMeta = 4,
    DropPort = 5,
    DropLoad = 6,
    TruthLost = 7,
}

/// What of the firmware every plan is told.
#[derive(Clone, Copy)]
pub(crate) struct Firmware {
    pub(crate) mode: u32,
    pub(crate) count: u32,
    pub(crate) serial: u32,
    pub(crate) slots: u64,
}

/// The slots that a plan's fields read, as bits.
pub(crate) fn slots(plan: &Plan) -> u64 {
    plan.fields.iter().fold(0, |bits, field| bits | slot_bit(slot(field)))
}

/// A `struct plan`.
pub(crate) fn plan(plan: &Plan, firmware: Firmware) -> Vec<u8> {
    let mut out = Vec::with_capacity(PLAN_SIZE);
    for word in [plan.id, plan.size, count(plan.fields.len()), firmware.mode, firmware.count, firmware.serial] {
        out.extend(word.to_ne_bytes());
    }
    out.extend(firmware.slots.to_ne_bytes());
    out.extend(name(&plan.name));
    let tables = tables(plan);
    for n in 0..TABLES {
        let table = tables.get(n).map_or(&[][..], Vec::as_slice);
        for i in 0..TABLE_LEN {
            // An enumerator is at most as wide as the field, whose width the op applies again.
            let value = table.get(i).copied().unwrap_or(0) & u64::from(u32::MAX);
            out.extend(u32::try_from(value).unwrap_or(0).to_ne_bytes());
        }
    }
    for field in plan.fields.iter().take(MAX_OPS) {
        op(field, &tables, &mut out);
    }
    out.resize(PLAN_SIZE, 0);
    out
}

/// The distinct tables of values that the plan's fields use.
pub(crate) fn tables(plan: &Plan) -> Vec<Vec<u64>> {
    let mut tables: Vec<Vec<u64>> = Vec::new();
    for field in &plan.fields {
        if !field.values.is_empty() && !tables.contains(&field.values) {
            tables.push(field.values.clone());
        }
    }
    tables
}

/// Whether the tables are fewer and shorter than what a plan has room for.
pub(crate) fn tables_fit(plan: &Plan) -> bool {
    let tables = tables(plan);
    tables.len() <= TABLES && tables.iter().all(|t| t.len() <= TABLE_LEN && t.iter().all(|v| narrow(*v)))
}

/// Whether a value survives a cell of 32 bits: it fits, or is negative and sign-extended.
fn narrow(value: u64) -> bool {
    u32::try_from(value).is_ok() || i32::try_from(value.cast_signed()).is_ok()
}

fn op(field: &Field, tables: &[Vec<u64>], out: &mut Vec<u8>) {
    let (slot, shift) = source(field);
    let table = tables.iter().position(|t| *t == field.values);
    let mut flags = 0;
    if field.order == Order::Big && field.bits > 8 {
        flags |= OP_SWAP;
    }
    if table.is_some() {
        flags |= OP_TABLE;
    }
    out.extend(konst(field).to_ne_bytes());
    out.extend(need(field).to_ne_bytes());
    out.extend(u16::try_from(field.bit_offset).unwrap_or(u16::MAX).to_ne_bytes());
    let table = u8::try_from(table.unwrap_or(0)).unwrap_or(0);
    let bits = u8::try_from(field.bits).unwrap_or(0);
    out.extend([bits, slot, shift, flags, table, 0]);
}

/// Where a field's value comes from: a slot, and how far it is shifted right. Values of more than 64
/// bits have two slots, the high half first; what an array has beyond a value's first bit is 0.
fn source(field: &Field) -> (u8, u8) {
    let word = field.hint.word();
    if beyond(field) {
        return (Hint::Const(0).word().slot, 0);
    }
    let low = u8::from(word.bits > 64 && field.shift < 64);
    let shift = u8::try_from(field.shift % 64).unwrap_or(0);
    (word.slot.saturating_add(low), shift)
}

fn beyond(field: &Field) -> bool {
    field.shift >= field.hint.word().bits.next_multiple_of(64)
}

/// The slot that a field's value comes from.
pub(crate) fn slot(field: &Field) -> u8 {
    source(field).0
}

fn konst(field: &Field) -> u64 {
    match field.hint {
        Hint::Const(value) if !beyond(field) => value,
        _ => 0,
    }
}

/// The value of a field in a packet with these values, before it is cut to the field's width.
pub(crate) fn value(field: &Field, values: &[u64; SLOTS]) -> u64 {
    let (slot, shift) = source(field);
    let value = match slot {
        1 => konst(field),
        slot => values.get(usize::from(slot)).copied().unwrap_or(0),
    };
    let value = value.wrapping_shr(shift.into());
    if field.values.is_empty() {
        return value;
    }
    let index = usize::try_from(value).unwrap_or(usize::MAX);
    field.values.get(index).copied().unwrap_or(0)
}

/// The bits of presence that a packet needs for the field to be written.
pub(crate) fn need(field: &Field) -> u64 {
    let classes = field.when.iter().fold(0, |bits, class| bits | class.bit());
    classes | slot_bit(slot(field))
}

/// The bit of presence of a slot.
pub(crate) fn slot_bit(slot: u8) -> u64 {
    1u64.wrapping_shl(slot.into())
}

/// A name in its NUL-ended room, cut at a character if it is longer.
fn name(name: &str) -> [u8; NAME] {
    let mut out = [0; NAME];
    let mut len = name.len().min(NAME.saturating_sub(1));
    while !name.is_char_boundary(len) {
        len = len.saturating_sub(1);
    }
    for (to, from) in out.iter_mut().zip(name.bytes().take(len)) {
        *to = from;
    }
    out
}

fn count(n: usize) -> u32 {
    u32::try_from(n.min(MAX_OPS)).unwrap_or(0)
}

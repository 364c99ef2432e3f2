//! The wire program's maps as bytes: what bpf/wire.h declares, in the same order.

use xhint_layout::{ByteOrder, Class, Hint, Plan, PlanField};

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

/// `enum slot`: where the value of a hint stands among the [`SLOTS`]; `None` for what the NIC has no value for. Values of
/// more than 64 bits take two slots, the high half first.
pub(crate) fn slot_of(hint: Hint) -> Option<u8> {
    Some(match hint {
        Hint::LayoutId => 0,
        Hint::Const(_) => CONST,
        Hint::RxTimestamp => 2,
        Hint::RxHash => 3,
        Hint::RxHashType => 4,
        Hint::PktType => 5,
        Hint::VlanTci => 6,
        Hint::VlanProto => 7,
        Hint::CsumState => 8,
        Hint::FlowMark => FLOW_MARK,
        Hint::RxQueue => 10,
        Hint::PktLen => 11,
        Hint::SrcPort => 12,
        Hint::DstPort => 13,
        Hint::IpProto => 14,
        Hint::Ipv4Src => 15,
        Hint::Ipv4Dst => 16,
        Hint::Ipv6Flow => 17,
        Hint::Ipv6Src => 18,
        Hint::Ipv6Dst => 20,
        Hint::ArpOp => 22,
        Hint::IcmpType => 23,
        Hint::IcmpCode => 24,
        Hint::Seq => 25,
        Hint::RxDesc => 26,
        Hint::IpTos => 27,
        Hint::IpTtl => 28,
        Hint::TcpFlags => 29,
        Hint::EthProto => 30,
        Hint::L4Offset => 31,
        // Of the other words, and of those to come, it has no values.
        _ => return None,
    })
}

const CONST: u8 = 1;
/// What the choice among plans looks at.
pub(crate) const FLOW_MARK: u8 = 9;

/// `enum class`: the bit of presence of a kind of packets, above those of the slots.
pub(crate) fn class_bit(class: Class) -> u64 {
    match class {
        Class::Ipv4 => 1 << 32,
        Class::Ipv6 => 1 << 33,
        Class::Arp => 1 << 34,
        Class::Tcp => 1 << 35,
        Class::Udp => 1 << 36,
        Class::Icmp => 1 << 37,
        Class::Vlan => 1 << 38,
        Class::Other => 1 << 39,
    }
}

/// The fields that the NIC writes, and where their values come from.
fn written(plan: &Plan) -> impl Iterator<Item = (&PlanField, Source)> {
    plan.fields.iter().filter_map(|field| Some((field, source(field)?)))
}

/// The fields that the NIC has no values for, and leaves 0.
pub fn unwritten(plan: &Plan) -> impl Iterator<Item = &PlanField> {
    plan.fields.iter().filter(|field| source(field).is_none())
}

/// The slots that a plan's fields read, as bits.
pub(crate) fn slots(plan: &Plan) -> u64 {
    written(plan).fold(0, |bits, (_, source)| bits | slot_bit(source.slot))
}

/// A `struct plan`.
pub(crate) fn plan(plan: &Plan, firmware: Firmware) -> Vec<u8> {
    let mut out = Vec::with_capacity(PLAN_SIZE);
    for word in [plan.id, plan.size, count(written(plan).count()), firmware.mode, firmware.count, firmware.serial] {
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
    for (field, source) in written(plan).take(MAX_OPS) {
        op(field, source, &tables, &mut out);
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

fn op(field: &PlanField, source: Source, tables: &[Vec<u64>], out: &mut Vec<u8>) {
    let Source { slot, shift } = source;
    let table = tables.iter().position(|t| *t == field.values);
    let mut flags = 0;
    if field.order == ByteOrder::Big && field.bits > 8 {
        flags |= OP_SWAP;
    }
    if table.is_some() {
        flags |= OP_TABLE;
    }
    out.extend(konst(field).to_ne_bytes());
    out.extend(need_of(field, source).to_ne_bytes());
    out.extend(u16::try_from(field.bit_offset).unwrap_or(u16::MAX).to_ne_bytes());
    let table = u8::try_from(table.unwrap_or(0)).unwrap_or(0);
    let bits = u8::try_from(field.bits).unwrap_or(0);
    out.extend([bits, slot, shift, flags, table, 0]);
}

/// Where a field's value comes from: a slot, and how far it is shifted right.
#[derive(Clone, Copy)]
struct Source {
    slot: u8,
    shift: u8,
}

/// The source of a field, if the NIC has a value for it. What an array has beyond a value's first bit is 0.
fn source(field: &PlanField) -> Option<Source> {
    let slot = slot_of(field.hint)?;
    if beyond(field) {
        return Some(Source { slot: CONST, shift: 0 });
    }
    let wide = field.hint.word().is_some_and(|word| word.bits > 64);
    let shift = u8::try_from(field.shift % 64).ok()?;
    Some(Source { slot: if wide && field.shift < 64 { slot.checked_add(1)? } else { slot }, shift })
}

fn beyond(field: &PlanField) -> bool {
    field.hint.word().is_some_and(|word| field.shift >= word.bits.next_multiple_of(64))
}

fn konst(field: &PlanField) -> u64 {
    match field.hint {
        Hint::Const(value) if !beyond(field) => value,
        _ => 0,
    }
}

/// The value of a field in a packet with these values, before it is cut to the field's width.
pub(crate) fn value(field: &PlanField, values: &[u64; SLOTS]) -> u64 {
    let Some(Source { slot, shift }) = source(field) else { return 0 };
    let value = match slot {
        CONST => konst(field),
        slot => values.get(usize::from(slot)).copied().unwrap_or(0),
    };
    let value = value.wrapping_shr(shift.into());
    if field.values.is_empty() {
        return value;
    }
    let index = usize::try_from(value).unwrap_or(usize::MAX);
    field.values.get(index).copied().unwrap_or(0)
}

/// The bits of presence that a packet needs for the field to be written; `None` if it never is.
pub(crate) fn need(field: &PlanField) -> Option<u64> {
    Some(need_of(field, source(field)?))
}

fn need_of(field: &PlanField, source: Source) -> u64 {
    let classes = field.when.iter().fold(0, |bits, class| bits | class_bit(*class));
    classes | slot_bit(source.slot)
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

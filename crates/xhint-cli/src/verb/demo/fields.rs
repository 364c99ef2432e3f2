//! What the example program reads, by the places of its record, and what it must have read.

use xhint::layout::{Hint, Plan, plan::PlanField};
use xhint_softnic::Truth;

/// A place in the program's record: `enum hint` of examples/hints.bpf.c.
pub struct RecordField {
    /// The field's name.
    pub name: &'static str,
    /// What it means.
    pub hint: Hint,
}

/// All places, in the order of the enum.
pub const RECORD: [RecordField; 16] = [
    place("rx_timestamp", Hint::RxTimestamp),
    place("rx_hash", Hint::RxHash),
    place("pkt_type", Hint::PktType),
    place("vlan_tci", Hint::VlanTci),
    place("csum_state", Hint::CsumState),
    place("flow_mark", Hint::FlowMark),
    place("rx_queue", Hint::RxQueue),
    place("pkt_len", Hint::PktLen),
    place("src_port", Hint::SrcPort),
    place("dst_port", Hint::DstPort),
    place("ipv4_src", Hint::Ipv4Src),
    place("ipv4_dst", Hint::Ipv4Dst),
    place("ipv6_flow", Hint::Ipv6Flow),
    place("arp_op", Hint::ArpOp),
    place("seq", Hint::Seq),
    place("ifindex", Hint::RxDesc),
];

const fn place(name: &'static str, hint: Hint) -> RecordField {
    RecordField { name, hint }
}

/// One packet as the program read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// Its source MAC address as a number.
    pub key: u64,
    /// The layout that it was read as; 0 if it was not.
    pub layout: u32,
    present: u64,
    values: [u64; RECORD.len()],
}

impl Record {
    /// Reads a `struct record`.
    pub fn parse(bytes: &[u8]) -> Option<Record> {
        let mut words = bytes.chunks_exact(8).map(|w| w.try_into().map_or(0, u64::from_ne_bytes));
        let (key, present, id_and_outcome) = (words.next()?, words.next()?, words.next()?);
        let mut values = [0; RECORD.len()];
        for value in &mut values {
            *value = words.next()?;
        }
        // The id is the first of the two in memory.
        let [a, b, c, d, ..] = id_and_outcome.to_ne_bytes();
        Some(Record { key, layout: u32::from_ne_bytes([a, b, c, d]), present, values })
    }

    /// What the program read at this place; `None` if it says that there is no such field.
    pub fn value(&self, place: usize) -> Option<u64> {
        let bit = u32::try_from(place).ok().and_then(|p| 1u64.checked_shl(p))?;
        if self.present & bit == 0 { None } else { self.values.get(place).copied() }
    }
}

/// Where the layout has the field of this meaning.
pub fn field(plan: &Plan, hint: Hint) -> Option<&PlanField> {
    plan.fields.iter().find(|f| f.hint == hint)
}

/// What must be read at `place` from a packet that the NIC described by `plan`, knowing `truth` of it. `ring` is the
/// number of the device whose ring the NIC's pointer leads to, if pointers may be followed.
pub fn expected(place: &RecordField, plan: &Plan, truth: &Truth, ring: Option<u64>) -> Option<u64> {
    let field = field(plan, place.hint)?;
    match place.hint {
        Hint::RxDesc => ring,
        // The NIC knows more kinds than the program has names for, and has its own numbers for them.
        Hint::PktType => truth.value(Hint::PktType).map(|fine| match fine {
            1 | 4..=6 => 1,
            2 | 7..=9 => 2,
            3 => 3,
            _ => 0,
        }),
        _ => truth.expect(field),
    }
}

//! What each instruction can do: which registers it reads and writes, which memory, and where it can go on.
//!
//! This is the one place that says so; [`crate::reach_if`] and [`crate::Liveness`] believe it. What is not listed here may do
//! anything: a new instruction makes us ignorant, never wrong.
//!
//! Of a function's own stack it is known who can write it, since the verifier keeps pointers apart from numbers:
//!
//! - a store, by an address that was made of r10. Numbers, and what is loaded from anywhere but this stack, is never
//!   such an address (`check_stack_write` keeps spilled pointers in stack slots only);
//! - a helper of the kernel, from an address it is given upwards: the verifier holds each access of an argument to
//!   `[address, address + size)` and to the frame (`check_stack_range_initialized`), dynptrs and iterators included, and
//!   lets helpers give back pointers to maps, packets and kernel objects only;
//! - a kernel function likewise, but what it gives back may point into a buffer it was given (`bpf_dynptr_slice_rdwr`);
//! - a function of the object, or a callback, anywhere, once it has any address in the frame: it may add and subtract, and
//!   follow what is spilled there. Where its code shows that it does not, less is forgotten (`reach/writes.rs`). It cannot leave a pointer into a stack there (`cannot spill pointers to stack into
//!   stack frame of the caller`).

use crate::Named;
use crate::insn::{ALU, ALU64, CALL, EXIT, Insn, JA, JA32, JMP, JMP32, LD, LDDW, LDX, MOV_OP, SRC_REG, ST, STX};

/// A set of registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Regs(u16);

impl Regs {
    /// All that a program may write: r0 to r9.
    pub const ALL: Regs = Regs(0x3ff);
    /// r1 to r5: a call takes them, and leaves them undefined.
    pub const ARGUMENTS: Regs = Regs(0x3e);

    /// This one.
    #[must_use]
    pub fn one(reg: u8) -> Regs {
        Regs(1u16.unbounded_shl(reg.into()))
    }

    /// Those of both sets.
    #[must_use]
    pub fn with(self, other: Regs) -> Regs {
        Regs(self.0 | other.0)
    }

    /// Those that the other set has not.
    #[must_use]
    pub fn without(self, other: Regs) -> Regs {
        Regs(self.0 & !other.0)
    }

    /// Those that both sets have.
    #[must_use]
    pub fn both(self, other: Regs) -> Regs {
        Regs(self.0 & other.0)
    }

    /// In ascending order.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..10).filter(move |r| self.0 & 1 << r != 0)
    }
}

/// What an instruction does besides going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// `dst` becomes what the operation makes of it and the second operand.
    Compute,
    /// `dst` becomes a number that relocation will tell, or what is made of it or lies there; a store goes there.
    Relocated,
    /// `dst` becomes a wide constant, or the address that stands for.
    Wide,
    /// `dst` becomes what lies at `src + off`.
    Load {
        /// How many.
        bytes: u8,
        /// Whether the last bit is extended.
        signed: bool,
    },
    /// What lies at `dst + off` becomes `src`, or the immediate.
    Store {
        /// How many.
        bytes: u8,
    },
    /// What lies at `dst + off` becomes something else, and this register what was there.
    Atomic {
        /// How many.
        bytes: u8,
        /// The register.
        fetched: Option<u8>,
    },
    /// r0 becomes what a packet load of old finds; it leaves r1 to r5 undefined, and may end the program.
    Packet,
    /// r0 becomes what is given back; it leaves r1 to r5 undefined.
    Call(Callee),
    /// A jump or the end: nothing.
    Nothing,
    /// Not known: anything.
    Unknown,
}

/// Who is called, by what it can do to the caller's stack and to r0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Callee {
    /// Writes from the addresses it is given upwards; what it gives back does not point into the stack.
    Helper,
    /// Writes from the addresses it is given upwards; may give back a pointer to what it was given.
    Kernel,
    /// Writes anywhere in the frame if it is given any address in it, and may give that back.
    Function,
}

/// Where an instruction can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// To the next.
    Next,
    /// To its target.
    To,
    /// There or to the next, by a comparison.
    If,
    /// There or to the next, by what is not in the program.
    Either,
    /// Nowhere: the function ends.
    End,
    /// Not known: to any instruction of the function.
    Anywhere,
}

/// The last helper there will be, `bpf_cgrp_storage_delete`; what came later are kernel functions.
const LAST_HELPER: i64 = 211;
/// `bpf_for_each_map_elem`, `bpf_timer_set_callback`, `bpf_find_vma`, `bpf_loop`, `bpf_user_ringbuf_drain`.
const CALLING_BACK: [i64; 5] = [164, 170, 180, 181, 209];
/// `bpf_dynptr_data`, whose result points into what the dynptr is of.
const DYNPTR_DATA: i64 = 203;
/// `src` of a call: a kernel function by BTF id.
const PSEUDO_KFUNC_CALL: u8 = 2;

/// What the instruction does. `callbacks`: whether the object takes the address of any function, so that the kernel may
/// call one.
#[must_use]
pub fn effect(insn: Insn, named: Named, callbacks: bool) -> Effect {
    let bytes = insn.access_bytes();
    match (insn.class(), insn.code & 0xe0) {
        _ if matches!(named, Named::Relocated(_)) => Effect::Relocated,
        (ALU | ALU64, _) if insn.op() <= 0xd0 => Effect::Compute,
        (LD, _) if insn.code == LDDW => Effect::Wide,
        (LD, 0x20 | 0x40) if bytes < 8 => Effect::Packet,
        (LDX, 0x60) => Effect::Load { bytes, signed: false },
        (LDX, 0x80) if bytes < 8 => Effect::Load { bytes, signed: true },
        (ST | STX, 0x60) => Effect::Store { bytes },
        (STX, 0xc0) => atomic(insn, bytes),
        (JMP, _) if insn.code == CALL => Effect::Call(callee(insn, named, callbacks)),
        (JMP | JMP32, _) if flow(insn) != Flow::Next => Effect::Nothing,
        _ => Effect::Unknown,
    }
}

fn atomic(insn: Insn, bytes: u8) -> Effect {
    match insn.imm {
        // Add, or, and, exclusive or; the lowest bit says whether to fetch.
        0x00 | 0x40 | 0x50 | 0xa0 => Effect::Atomic { bytes, fetched: None },
        0x01 | 0x41 | 0x51 | 0xa1 | 0xe1 => Effect::Atomic { bytes, fetched: Some(insn.src) },
        // Compare and exchange.
        0xf1 => Effect::Atomic { bytes, fetched: Some(0) },
        // Load-acquire and store-release.
        0x100 => Effect::Load { bytes, signed: false },
        0x110 => Effect::Store { bytes },
        _ => Effect::Unknown,
    }
}

fn callee(insn: Insn, named: Named, callbacks: bool) -> Callee {
    match (insn.src, named) {
        (0, _) if !(1..=LAST_HELPER).contains(&insn.imm) || CALLING_BACK.contains(&insn.imm) => Callee::Function,
        (0, _) if insn.imm == DYNPTR_DATA => Callee::Kernel,
        (0, _) => Callee::Helper,
        (PSEUDO_KFUNC_CALL, _) | (_, Named::Kernel) if !callbacks => Callee::Kernel,
        _ => Callee::Function,
    }
}

/// Helpers that may move the packet's ends or its bytes, after which the verifier knows no address in it any more:
/// `bpf_helper_changes_pkt_data` of net/core/filter.c.
const MOVING: [i64; 24] = [
    // bpf_skb_store_bytes, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_tail_call, bpf_clone_redirect, bpf_skb_vlan_push,
    // bpf_skb_vlan_pop, bpf_skb_change_proto, bpf_skb_change_tail, bpf_skb_pull_data
    9, 10, 11, 12, 13, 18, 19, 31, 38, 39,
    // bpf_skb_change_head, bpf_xdp_adjust_head, bpf_skb_adjust_room, bpf_xdp_adjust_meta, bpf_xdp_adjust_tail
    43, 44, 50, 54, 65,
    // bpf_msg_pull_data, bpf_lwt_push_encap, bpf_lwt_seg6_store_bytes, bpf_lwt_seg6_adjust_srh, bpf_lwt_seg6_action
    63, 73, 74, 75, 76, // bpf_msg_push_data, bpf_msg_pop_data, bpf_store_hdr_opt, bpf_reserve_hdr_opt
    90, 91, 143, 144,
];

/// Whether it calls a helper that may move the packet. Functions that it calls may do so, too, whether they are the object's
/// or the kernel's (`bpf_xdp_pull_data`).
#[must_use]
pub fn moves_packet(insn: Insn) -> bool {
    insn.code == CALL && insn.src == 0 && MOVING.contains(&insn.imm)
}

/// `bpf_xdp_adjust_meta`.
const ADJUST_META: i64 = 54;

/// Whether it calls a helper that makes the metadata begin elsewhere. `bpf_xdp_adjust_head` is none: it takes the metadata
/// along (net/core/filter.c).
#[must_use]
pub fn adjusts_metadata(insn: Insn) -> bool {
    insn.code == CALL && insn.src == 0 && insn.imm == ADJUST_META
}

/// Whether the helper calls functions of the object.
#[must_use]
pub fn calls_back(insn: Insn) -> bool {
    insn.code == CALL && insn.src == 0 && CALLING_BACK.contains(&insn.imm)
}

/// Which argument of the function in r2 is the address in r3, for helpers that call one and hand that on (`bpf_loop`,
/// `bpf_for_each_map_elem`): `set_loop_callback_state` and `set_map_elem_callback_state` of kernel/bpf/verifier.c.
#[must_use]
pub fn called_back(insn: Insn) -> Option<u8> {
    match (insn.code, insn.src, insn.imm) {
        (CALL, 0, 181) => Some(2),
        (CALL, 0, 164) => Some(4),
        _ => None,
    }
}

/// Where the instruction can go on.
#[must_use]
pub fn flow(insn: Insn) -> Flow {
    if !matches!(insn.class(), JMP | JMP32) {
        return Flow::Next;
    }
    match (insn.code, insn.op()) {
        (CALL, _) => Flow::Next,
        (EXIT, _) => Flow::End,
        (JA | JA32, _) if insn.src == 0 => Flow::To,
        // A jump that the kernel turns into nothing and back.
        (JA | JA32, _) => Flow::Either,
        // `may_goto`.
        (0xe5, _) if insn.src == 0 => Flow::Either,
        (_, 0x10..=0x70 | 0xa0..=0xd0) => Flow::If,
        // A jump to where a register says, and what is yet to come.
        _ => Flow::Anywhere,
    }
}

/// Registers that the instruction may read.
#[must_use]
pub fn reads(insn: Insn) -> Regs {
    let source = if insn.code & SRC_REG != 0 { Regs::one(insn.src) } else { Regs::default() };
    let (dst, src) = (Regs::one(insn.dst), Regs::one(insn.src));
    match effect(insn, Named::Nothing, true) {
        Effect::Compute if insn.op() == MOV_OP => source,
        Effect::Compute => dst.with(source),
        Effect::Wide => Regs::default(),
        Effect::Load { .. } => src,
        Effect::Store { .. } if insn.class() == ST => dst,
        Effect::Store { .. } => dst.with(src),
        // A compare and exchange reads r0 too.
        Effect::Atomic { .. } => dst.with(src).with(Regs::one(0)),
        // r6 is its context.
        Effect::Packet => src.with(Regs::one(6)),
        Effect::Call(_) => Regs::ARGUMENTS,
        Effect::Nothing => match flow(insn) {
            Flow::End => Regs::one(0),
            Flow::If => dst.with(source),
            Flow::Anywhere => Regs::ALL,
            _ => Regs::default(),
        },
        Effect::Relocated | Effect::Unknown => Regs::ALL,
    }
}

/// Registers that have another value behind the instruction, whatever happens.
#[must_use]
pub fn writes(insn: Insn) -> Regs {
    match effect(insn, Named::Nothing, true) {
        Effect::Compute | Effect::Relocated | Effect::Wide | Effect::Load { .. } => Regs::one(insn.dst),
        Effect::Packet => Regs::one(0),
        Effect::Call(_) => Regs::one(0),
        Effect::Atomic { fetched: Some(reg), .. } => Regs::one(reg),
        Effect::Atomic { .. } | Effect::Store { .. } | Effect::Nothing | Effect::Unknown => Regs::default(),
    }
}

/// Registers that may have no value behind the instruction.
#[must_use]
pub fn loses(insn: Insn) -> Regs {
    match effect(insn, Named::Nothing, true) {
        Effect::Packet => Regs::ARGUMENTS,
        // Who gives back nothing leaves r0 undefined.
        Effect::Call(_) => Regs::ARGUMENTS.with(Regs::one(0)),
        Effect::Unknown => Regs::ALL,
        _ => Regs::default(),
    }
}

/// Registers that may be other than they were.
#[must_use]
pub fn touches(insn: Insn) -> Regs {
    reads(insn).with(writes(insn)).with(loses(insn))
}

//! What is known of one value, and what arithmetic makes of two.

use super::offsets::Offsets;
use crate::insn::{ALU, ALU64, Insn, MOV_OP, MOV64_REG};
use crate::{FunctionId, Hook};

/// What is known of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// It is this number.
    Const(u64),
    /// It is the address so many bytes from r10.
    Frame(i32),
    /// It is the context of a program that runs at this hook.
    Context {
        /// The hook.
        hook: Hook,
        /// Whether it is on every way; else wherever an address is read by it that lies in a packet.
        certain: bool,
    },
    /// It is an address that was loaded from there: in the packet or at its ends, and never 0.
    Packet,
    /// It may be an address in the metadata, as they were when the program began: not in this function's frame.
    Metadata {
        /// How far from their start.
        at: Offsets,
        /// Whether it is, on every way, an address as the context has it: never 0.
        loaded: bool,
    },
    /// It is no address in this function's frame, and may be one of these numbers.
    Offset(Offsets),
    /// It may be the address so many bytes from r10 of whoever called this function.
    Lent(i32),
    /// It is this function's address.
    Function(FunctionId),
    /// It is no address in this function's frame.
    Other,
    /// Nothing.
    Any,
}

impl Value {
    /// Whether it may be an address in the frame.
    pub fn may_point(self) -> bool {
        matches!(self, Value::Frame(_) | Value::Any)
    }

    /// Whether it is an address as the context has it, which is never 0.
    pub fn is_loaded(self) -> bool {
        matches!(self, Value::Packet | Value::Metadata { loaded: true, .. })
    }

    /// Whether metadata may be read by it, or by what it leads to.
    pub fn leads_to_metadata(self) -> bool {
        matches!(self, Value::Metadata { .. } | Value::Context { .. } | Value::Lent(_))
    }

    /// What is known of it where it may as well be something else: where metadata is read by it, all the same.
    pub fn doubtful(self) -> Value {
        match self {
            Value::Metadata { at, .. } => Value::Metadata { at, loaded: false },
            Value::Const(_) | Value::Offset(_) => Value::number(self.offsets()),
            Value::Context { hook, .. } => Value::Context { hook, certain: false },
            Value::Lent(at) => Value::Lent(at),
            other => other.hidden(),
        }
    }

    pub fn join(self, other: Value) -> Value {
        match (self, other) {
            _ if self == other => self,
            _ if self.may_point() || other.may_point() => Value::Any,
            (Value::Metadata { at, .. }, Value::Metadata { at: other_at, .. }) => {
                Value::Metadata { at: at.or(other_at), loaded: self.is_loaded() && other.is_loaded() }
            }
            (Value::Metadata { at, .. }, _) | (_, Value::Metadata { at, .. }) => {
                Value::Metadata { at, loaded: self.is_loaded() && other.is_loaded() }
            }
            (Value::Context { .. }, Value::Context { .. }) => self.doubtful(),
            (Value::Lent(_), Value::Lent(_)) => Value::Other,
            (one @ (Value::Context { .. } | Value::Lent(_)), two)
            | (two, one @ (Value::Context { .. } | Value::Lent(_))) => {
                if two.leads_to_metadata() {
                    Value::Other
                } else {
                    one.doubtful()
                }
            }
            _ if self.is_loaded() && other.is_loaded() => Value::Packet,
            _ => Value::number(self.offsets().or(other.offsets())),
        }
    }

    /// What an ALU instruction makes of its operands.
    pub fn of(insn: Insn, first: Value, second: Value) -> Value {
        if insn.code == MOV64_REG && insn.off == 0 {
            return second;
        }
        let one = if insn.op() == MOV_OP { Value::Other } else { first };
        let unary = matches!(insn.op(), 0x80 | 0xd0);
        let two = if unary { Value::Const(0) } else { second };
        let distance = match (insn.class(), insn.op(), one, two) {
            (ALU64, 0x00, _, Value::Const(by)) | (ALU64, 0x00, Value::Const(by), _) => Some(by.cast_signed()),
            (ALU64, 0x10, _, Value::Const(by)) => by.cast_signed().checked_neg(),
            _ => None,
        };
        let by = distance.and_then(|by| i32::try_from(by).ok());
        let address = match (one, two) {
            (Value::Frame(at), _) => by.and_then(|by| at.checked_add(by)).map(Value::Frame),
            (Value::Lent(at), _) => by.and_then(|by| at.checked_add(by)).map(Value::Lent),
            (Value::Metadata { .. }, _) => displaced(insn, one, by, two),
            // Only a sum has its address second: what a number is less an address is none.
            (_, Value::Frame(at)) => by.and_then(|by| at.checked_add(by)).map(Value::Frame),
            (_, Value::Metadata { .. }) => displaced(insn, two, by, one),
            _ => None,
        };
        let constant = || match (one, two) {
            (Value::Const(a), Value::Const(b)) => arithmetic(insn, a, b),
            (_, Value::Const(b)) if insn.op() == MOV_OP => arithmetic(insn, 0, b),
            _ => None,
        };
        let unknown = || match one.may_point() || two.may_point() {
            true => Value::Any,
            false => Value::number(offsets(insn, one, two, by)),
        };
        address.or_else(|| constant().map(Value::Const)).unwrap_or_else(unknown)
    }

    /// What is known of it if only this is: whether it may point into the frame.
    pub fn hidden(self) -> Value {
        if self.may_point() { Value::Any } else { Value::Other }
    }

    /// A value that is no address and may be one of these numbers.
    pub fn number(offsets: Offsets) -> Value {
        match offsets.few() {
            Offsets::OTHERS => Value::Other,
            few => Value::Offset(few),
        }
    }

    /// The numbers that it may be.
    fn offsets(self) -> Offsets {
        match self {
            Value::Const(number) => Offsets::number(number),
            Value::Offset(offsets) => offsets,
            _ => Offsets::OTHERS,
        }
    }
}

/// What an ALU instruction makes of two values that are no addresses, or one of which was moved by so much.
fn offsets(insn: Insn, one: Value, two: Value, by: Option<i32>) -> Offsets {
    let (own, other) = (one.offsets(), two.offsets());
    match (insn.class(), insn.op(), one, two) {
        (ALU64, 0x00 | 0x10, _, Value::Const(_)) => by.map_or_else(|| own.map(|_| None), |by| own.plus(by)),
        (ALU64, 0x00, ..) if !one.leads_to_metadata() && !two.leads_to_metadata() => own.sums_with(other),
        // A move of 32 bits keeps the places of fields, which are small.
        (ALU | ALU64, MOV_OP, ..) if insn.off == 0 => other,
        (_, MOV_OP, ..) => other.map(|b| arithmetic(insn, 0, b)),
        (.., Value::Const(b)) => own.map(|a| arithmetic(insn, a, b)),
        (.., Value::Const(a), _) => other.map(|b| arithmetic(insn, a, b)),
        _ if own.is_relocated() || other.is_relocated() => Offsets::OTHERS.or(Offsets::relocated(None)),
        _ => Offsets::OTHERS,
    }
}

/// An address in the metadata that was moved by a number, if it is still one.
fn displaced(insn: Insn, address: Value, by: Option<i32>, number: Value) -> Option<Value> {
    let Value::Metadata { at, loaded } = address else { return None };
    let adds = insn.class() == ALU64 && insn.op() == 0x00;
    match by {
        Some(by) => Some(Value::Metadata { at: at.plus(by), loaded: loaded && by == 0 }),
        // What one address is less another is a number.
        None if adds && !number.leads_to_metadata() => {
            Some(Value::Metadata { at: at.sums_with(number.offsets()), loaded: false })
        }
        None => None,
    }
}

/// The low bytes of a number.
pub fn cut(number: u64, bytes: u8) -> u64 {
    match bytes {
        1 => number & 0xff,
        2 => number & 0xffff,
        4 => number & 0xffff_ffff,
        _ => number,
    }
}

/// The low bytes of a number, the last bit of them extended.
pub fn extended(number: u64, bytes: u8) -> u64 {
    let above = match bytes {
        1 => 56,
        2 => 48,
        4 => 32,
        _ => 0,
    };
    number.wrapping_shl(above).cast_signed().wrapping_shr(above).cast_unsigned()
}

/// What an ALU instruction makes of two numbers, if that is known.
fn arithmetic(insn: Insn, a: u64, b: u64) -> Option<u64> {
    let narrow = insn.class() == ALU;
    let cut = |v: u64| if narrow { v & 0xffff_ffff } else { v };
    let (a, b) = (cut(a), cut(b));
    if insn.op() == MOV_OP {
        let extended = match insn.off {
            0 => b,
            8 => extended(b, 1),
            16 => extended(b, 2),
            32 => extended(b, 4),
            _ => return None,
        };
        return Some(cut(extended));
    }
    let shift = (b & if narrow { 31 } else { 63 }) as u32;
    Some(cut(match insn.op() {
        0x00 => a.wrapping_add(b),
        0x10 => a.wrapping_sub(b),
        0x20 => a.wrapping_mul(b),
        // Signed division has offset 1; by zero gives zero, modulo zero the dividend.
        0x30 if insn.off == 0 => a.checked_div(b).unwrap_or(0),
        0x90 if insn.off == 0 => a.checked_rem(b).unwrap_or(a),
        0x40 => a | b,
        0x50 => a & b,
        0x60 => a.wrapping_shl(shift),
        0x70 => a.wrapping_shr(shift),
        0x80 => a.wrapping_neg(),
        0xa0 => a ^ b,
        0xc0 => if narrow { extended(a, 4) } else { a }.cast_signed().wrapping_shr(shift).cast_unsigned(),
        _ => return None,
    }))
}

//! BTFs built by hand, and relocations on them.

#![allow(dead_code)] // each test binary uses its part

use std::sync::Arc;

use xhint_btf::ext::CoreRelo;
use xhint_btf::write::{NewType, Writer};
use xhint_btf::{Btf, ByteOrder, Kind};
use xhint_relo::{Binding, Error, Explanation, RelocKind, Resolution, Resolver};
use xhint_universe::Universe;

/// A BTF that grows.
#[derive(Clone)]
pub struct Build(Writer);

/// A member: name, type, first bit, width if a bitfield.
pub type M<'a> = (&'a str, u32, u32, u32);

impl Build {
    pub fn new() -> Build {
        Build::in_order(ByteOrder::Little)
    }

    pub fn in_order(order: ByteOrder) -> Build {
        Build(Writer::new(order))
    }

    pub fn split(base: &Btf) -> Build {
        Build(Writer::split(base))
    }

    pub fn next(&self) -> u32 {
        self.0.next_id()
    }

    pub fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.odd_int(name, size, (encoding << 24) | (size * 8))
    }

    /// An int whose fourth word is said outright.
    pub fn odd_int(&mut self, name: &str, size: u32, word: u32) -> u32 {
        self.push(NewType { name, third: size, tail: &[word], ..NewType::of(Kind::Int) })
    }

    pub fn u8(&mut self) -> u32 {
        self.int("unsigned char", 1, 0)
    }

    pub fn u16(&mut self) -> u32 {
        self.int("unsigned short", 2, 0)
    }

    pub fn u32(&mut self) -> u32 {
        self.int("unsigned int", 4, 0)
    }

    pub fn u64(&mut self) -> u32 {
        self.int("unsigned long long", 8, 0)
    }

    pub fn typedef(&mut self, name: &str, target: u32) -> u32 {
        self.refer(Kind::Typedef, name, target)
    }

    pub fn ptr(&mut self, target: u32) -> u32 {
        self.refer(Kind::Ptr, "", target)
    }

    pub fn refer(&mut self, kind: Kind, name: &str, target: u32) -> u32 {
        self.push(NewType { name, third: target, ..NewType::of(kind) })
    }

    pub fn array(&mut self, elem: u32, len: u32) -> u32 {
        self.push(NewType { tail: &[elem, 1, len], ..NewType::of(Kind::Array) })
    }

    pub fn composite(&mut self, kind: Kind, name: &str, size: u32, members: &[M<'_>]) -> u32 {
        let flag = members.iter().any(|m| m.3 != 0);
        let mut tail = Vec::new();
        for (name, id, bit, width) in members {
            tail.extend([self.0.string(name).unwrap(), *id, if flag { (width << 24) | bit } else { *bit }]);
        }
        let vlen = members.len() as u32;
        self.push(NewType { name, vlen, flag, third: size, tail: &tail, ..NewType::of(kind) })
    }

    pub fn strukt(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let members: Vec<M<'_>> = members.iter().map(|(name, id, byte)| (*name, *id, byte * 8, 0)).collect();
        self.composite(Kind::Struct, name, size, &members)
    }

    pub fn union(&mut self, name: &str, size: u32, members: &[(&str, u32)]) -> u32 {
        let members: Vec<M<'_>> = members.iter().map(|(name, id)| (*name, *id, 0, 0)).collect();
        self.composite(Kind::Union, name, size, &members)
    }

    pub fn enumeration(&mut self, name: &str, size: u32, signed: bool, values: &[(&str, i64)]) -> u32 {
        let mut tail = Vec::new();
        for (name, value) in values {
            tail.extend([self.0.string(name).unwrap(), *value as u32]);
        }
        let new = NewType { name, vlen: values.len() as u32, flag: signed, third: size, ..NewType::of(Kind::Enum) };
        self.push(NewType { tail: &tail, ..new })
    }

    pub fn enumeration64(&mut self, name: &str, values: &[(&str, u64)]) -> u32 {
        let mut tail = Vec::new();
        for (name, value) in values {
            tail.extend([self.0.string(name).unwrap(), *value as u32, (value >> 32) as u32]);
        }
        self.push(NewType { name, vlen: values.len() as u32, third: 8, tail: &tail, ..NewType::of(Kind::Enum64) })
    }

    pub fn proto(&mut self, result: u32, params: &[u32]) -> u32 {
        let tail: Vec<u32> = params.iter().flat_map(|id| [0, *id]).collect();
        let vlen = params.len() as u32;
        self.push(NewType { vlen, third: result, tail: &tail, ..NewType::of(Kind::FuncProto) })
    }

    /// A declaration tag on a type.
    pub fn tag(&mut self, text: &str, target: u32) -> u32 {
        self.push(NewType { name: text, third: target, tail: &[u32::MAX], ..NewType::of(Kind::DeclTag) })
    }

    pub fn push(&mut self, new: NewType<'_>) -> u32 {
        self.0.push(new).unwrap()
    }

    pub fn relo(&mut self, kind: RelocKind, type_id: u32, access: &str) -> CoreRelo {
        CoreRelo { insn_off: 0, type_id, access_str_off: self.0.string(access).unwrap(), kind: kind as u32 }
    }

    pub fn done(self) -> Btf {
        Btf::parse(self.0.finish()).unwrap()
    }

    pub fn done_split(self, base: &Arc<Btf>) -> Btf {
        Btf::parse_split(self.0.finish(), base.clone()).unwrap()
    }
}

/// A universe of a base and standalone NIC BTFs, named `0.btf` and so on.
pub fn universe(base: Build, nics: Vec<Build>) -> Universe {
    let mut universe = Universe::new(Arc::new(base.done()));
    for (n, nic) in nics.into_iter().enumerate() {
        universe.add(&format!("{n}.btf"), Arc::new(nic.done())).unwrap();
    }
    universe
}

/// Bound to the layout with this number.
pub fn bound(layout: usize) -> Binding {
    Binding { layout: Some(layout), ..Binding::default() }
}

/// One relocation, on its own.
pub fn resolve(local: &Btf, universe: &Universe, binding: &Binding, relo: CoreRelo) -> Result<Resolution, Error> {
    Resolver::new(local, universe, binding.clone()).resolve(&relo)
}

/// The value of a relocation, `None` where it poisons.
pub fn value(local: &Btf, universe: &Universe, binding: &Binding, relo: CoreRelo) -> Option<u64> {
    let resolution = resolve(local, universe, binding, relo).unwrap();
    (!resolution.poison).then_some(resolution.new)
}

pub fn explain(local: &Btf, universe: &Universe, binding: &Binding, relo: CoreRelo) -> Explanation {
    Resolver::new(local, universe, binding.clone()).explain(&relo).unwrap()
}

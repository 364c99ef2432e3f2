//! BTFs built by hand, and relocations on them.

#![allow(dead_code)] // each test binary uses its part

use std::sync::Arc;

use xhint_btf::ext::CoreRelo;
use xhint_btf::{
    Array, Btf, Builder, ByteOrder, Composite, Def, Enumeration, Enumerator, IntEncoding, Kind, Member, Param,
};
use xhint_relo::{Binding, Error, Explanation, RelocKind, Resolution, Resolver};
use xhint_universe::Universe;

/// A BTF that grows.
#[derive(Clone)]
pub struct Build(Builder);

/// A member: name, type, first bit, width if a bitfield.
pub type M<'a> = (&'a str, u32, u32, u32);

impl Build {
    pub fn new() -> Build {
        Build::in_order(ByteOrder::Little)
    }

    pub fn in_order(order: ByteOrder) -> Build {
        Build(Builder::new(order))
    }

    pub fn split(base: &Btf) -> Build {
        Build(Builder::split(base))
    }

    pub fn next(&self) -> u32 {
        self.0.next_id()
    }

    pub fn int(&mut self, name: &str, size: u32, encoding: u32) -> u32 {
        self.odd_int(name, size, (encoding << 24) | (size * 8))
    }

    /// An int whose fourth word is said outright.
    pub fn odd_int(&mut self, name: &str, size: u32, word: u32) -> u32 {
        let encoding = IntEncoding {
            signed: word >> 24 & 1 != 0,
            char: word >> 24 & 2 != 0,
            bool: word >> 24 & 4 != 0,
            bit_offset: (word >> 16) as u8,
            bits: word as u8,
        };
        self.add(&Def::Int { name, size, encoding })
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
        self.add(&Def::Typedef { name, target })
    }

    pub fn ptr(&mut self, target: u32) -> u32 {
        self.add(&Def::Ptr(target))
    }

    pub fn array(&mut self, elem: u32, len: u32) -> u32 {
        self.add(&Def::Array(Array { elem, index: 1, len }))
    }

    pub fn composite(&mut self, kind: Kind, name: &str, size: u32, members: &[M<'_>]) -> u32 {
        let member = |(name, type_id, bit_offset, bit_size)| Member { name, type_id, bit_offset, bit_size };
        let body = Composite::new(name, size, members.iter().copied().map(member).collect::<Vec<_>>());
        self.add(&if kind == Kind::Union { Def::Union(body) } else { Def::Struct(body) })
    }

    pub fn strukt(&mut self, name: &str, size: u32, members: &[(&str, u32, u32)]) -> u32 {
        let members: Vec<M<'_>> = members.iter().map(|(name, id, byte)| (*name, *id, byte * 8, 0)).collect();
        self.composite(Kind::Struct, name, size, &members)
    }

    pub fn union(&mut self, name: &str, size: u32, members: &[(&str, u32)]) -> u32 {
        let members: Vec<M<'_>> = members.iter().map(|(name, id)| (*name, *id, 0, 0)).collect();
        self.composite(Kind::Union, name, size, &members)
    }

    pub fn enumeration(&mut self, name: &str, size: u32, signed: bool, values: &[(&'static str, i64)]) -> u32 {
        let value = |(name, value): &(&'static str, i64)| Enumerator { name, value: *value as u64 };
        let values = values.iter().map(value).collect::<Vec<_>>().into();
        self.add(&Def::Enum(Enumeration { name, size, signed, values }))
    }

    pub fn enumeration64(&mut self, name: &str, values: &[(&'static str, u64)]) -> u32 {
        let value = |(name, value): &(&'static str, u64)| Enumerator { name, value: *value };
        let values = values.iter().map(value).collect::<Vec<_>>().into();
        self.add(&Def::Enum64(Enumeration { name, size: 8, signed: false, values }))
    }

    pub fn proto(&mut self, result: u32, params: &[u32]) -> u32 {
        let params = params.iter().map(|id| Param { name: "", type_id: *id }).collect::<Vec<_>>().into();
        self.add(&Def::FuncProto { result, params })
    }

    /// A declaration tag on a type.
    pub fn tag(&mut self, text: &str, target: u32) -> u32 {
        self.add(&Def::tag(text, target))
    }

    pub fn add(&mut self, def: &Def<'_>) -> u32 {
        self.0.add(def).unwrap()
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

//! BTF made by hand to hurt its reader: well formed to the byte, and wrong in what it says.

/// `BTF_KIND_*` of `include/uapi/linux/btf.h`, as far as they are needed here.
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const TYPEDEF: u32 = 8;
    pub const CONST: u32 = 10;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const DATASEC: u32 = 15;
    pub const DECL_TAG: u32 = 17;
}

/// Writes BTF without asking whether it makes sense. Little endian.
#[derive(Debug, Clone, Default)]
pub struct Forge {
    types: Vec<u8>,
    strings: Vec<u8>,
    next_id: u32,
    first_string: u32,
}

impl Forge {
    /// No types, and the empty string.
    #[must_use]
    pub fn new() -> Forge {
        Forge { strings: vec![0], next_id: 1, ..Forge::default() }
    }

    /// No types and no strings, to go on where a base ends: with its first free id and string offset.
    #[must_use]
    pub fn split(end_id: u32, end_string: u32) -> Forge {
        Forge { next_id: end_id, first_string: end_string, ..Forge::default() }
    }

    /// Adds a string and returns its offset.
    pub fn string(&mut self, string: &str) -> u32 {
        let offset = self.first_string + self.strings.len() as u32;
        self.strings.extend_from_slice(string.as_bytes());
        self.strings.push(0);
        offset
    }

    /// Adds a type: the three words of `struct btf_type` and whatever follows. Returns its id.
    pub fn ty(&mut self, name: u32, kind: u32, vlen: u32, size_or_type: u32, rest: &[u32]) -> u32 {
        for word in [name, kind << 24 | vlen, size_or_type].iter().chain(rest) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// The BTF's bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        self.bytes_with([24, 0, types, types, strings])
    }

    /// The bytes with another `hdr_len`, `type_off`, `type_len`, `str_off`, `str_len` than the true ones.
    #[must_use]
    pub fn bytes_with(&self, header: [u32; 5]) -> Vec<u8> {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in header {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

/// Every hostile BTF, with what is wrong with it. A reader may refuse each or make sense of it; it must do so soon, in
/// little memory, and so must whatever asks it for sizes and names.
#[must_use]
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    let mut all = references();
    all.extend(depths());
    all.extend(headers());
    all
}

fn references() -> Vec<(&'static str, Vec<u8>)> {
    let one = |kind, vlen, target, rest: &[u32]| {
        let mut forge = Forge::new();
        let name = forge.string("nic_meta");
        forge.ty(name, kind, vlen, target, rest);
        forge.bytes()
    };
    let two = |first: u32, second: u32| {
        let mut forge = Forge::new();
        let name = forge.string("nic_meta");
        forge.ty(name, first, 0, 2, &[]);
        forge.ty(name, second, 0, 1, &[]);
        forge.bytes()
    };
    vec![
        ("typedef of itself", one(kind::TYPEDEF, 0, 1, &[])),
        ("const of itself", one(kind::CONST, 0, 1, &[])),
        ("typedef of a far id", one(kind::TYPEDEF, 0, u32::MAX, &[])),
        ("typedef ring", two(kind::TYPEDEF, kind::TYPEDEF)),
        ("typedef and const ring", two(kind::TYPEDEF, kind::CONST)),
        ("array of itself", one(kind::ARRAY, 0, 0, &[1, 1, 4])),
        ("array too large", one(kind::ARRAY, 0, 0, &[1, 1, u32::MAX])),
        ("struct holding itself", one(kind::STRUCT, 1, 8, &[1, 1, 0])),
        ("union holding itself", one(kind::UNION, 1, 8, &[0, 1, 0])),
        ("anonymous member holding its struct", one(kind::STRUCT, 2, 8, &[0, 1, 0, 0, 1, 64])),
        ("pointer to itself", one(kind::PTR, 0, 1, &[])),
        ("member at a far bit", one(kind::STRUCT, 1, 8, &[1, 0, u32::MAX])),
        ("member name far away", one(kind::STRUCT, 1, 8, &[u32::MAX, 0, 0])),
        ("more members than bytes", one(kind::STRUCT, 0xffff, 8, &[1, 0, 0])),
        ("func of a func", one(kind::FUNC, 0, 1, &[])),
        ("proto returning itself", one(kind::FUNC_PROTO, 1, 1, &[1, 1])),
        ("datasec of itself", one(kind::DATASEC, 1, 8, &[1, 0, 8])),
        ("tag of a far component", one(kind::DECL_TAG, 0, 1, &[0x7fff_ffff])),
        ("int of 255 bits", one(kind::INT, 0, 4, &[0x00ff_00ff])),
        ("unknown kind", one(31, 0, 0, &[])),
    ]
}

fn depths() -> Vec<(&'static str, Vec<u8>)> {
    const DEEP: u32 = 60_000;
    let chain = |kind, rest: fn(u32) -> Vec<u32>| {
        let mut forge = Forge::new();
        let name = forge.string("nic_meta");
        for id in 1..DEEP {
            let rest = rest(id + 1);
            let (target, vlen) = match rest.len() {
                0 => (id + 1, 0),
                words if words == 3 && kind != kind::ARRAY => (8, 1),
                _ => (0, 0),
            };
            forge.ty(name, kind, vlen, target, &rest);
        }
        forge.ty(name, kind::INT, 0, 4, &[32]);
        forge.bytes()
    };
    // Each struct holds the next one twice, so a walk that keeps no count of its steps takes 2^40 of them.
    let mut bomb = Forge::new();
    let name = bomb.string("nic_meta");
    for id in 1..40u32 {
        bomb.ty(name, kind::STRUCT, 2, 8, &[0, id + 1, 0, 0, id + 1, 0]);
    }
    bomb.ty(name, kind::INT, 0, 4, &[32]);
    vec![
        ("60,000 typedefs deep", chain(kind::TYPEDEF, |_| Vec::new())),
        ("60,000 pointers deep", chain(kind::PTR, |_| Vec::new())),
        ("60,000 arrays deep", chain(kind::ARRAY, |next| vec![next, next, 2])),
        ("60,000 structs deep", chain(kind::STRUCT, |next| vec![0, next, 0])),
        ("anonymous members doubling 40 times", bomb.bytes()),
    ]
}

fn headers() -> Vec<(&'static str, Vec<u8>)> {
    let mut forge = Forge::new();
    let name = forge.string("nic_meta");
    forge.ty(name, kind::STRUCT, 0, 8, &[]);
    let (types, strings) = (forge.types.len() as u32, forge.strings.len() as u32);
    let with = |header| forge.bytes_with(header);
    let mut unended = forge.bytes();
    unended.pop();
    vec![
        ("empty", Vec::new()),
        ("magic only", vec![0x9f, 0xeb]),
        ("header of 0 bytes", with([0, 0, types, types, strings])),
        ("header past the end", with([u32::MAX, 0, types, types, strings])),
        ("types past the end", with([24, 0, u32::MAX, types, strings])),
        ("types before strings by wrapping", with([24, u32::MAX - 3, types, types, strings])),
        ("types misaligned", with([24, 1, types, types, strings])),
        ("strings past the end", with([24, 0, types, types, u32::MAX])),
        ("strings over types", with([24, 0, types, 4, strings])),
        ("no strings", with([24, 0, types, types, 0])),
        ("strings not ended", unended),
    ]
}

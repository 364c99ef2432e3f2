//! Appending types to a BTF, and the flat merge of a base and its splits.
//!
//! A [`Builder`] goes on where a BTF ends: what was there keeps its ids and string offsets, byte for byte.

use std::collections::HashMap;

use crate::header::{HEADER_LEN, HEADER_LEN_LAYOUT};
use crate::kind::{KindInfo, Role};
use crate::{Btf, ByteOrder, Def, Error, SecVar, Type};

/// A BTF that grows.
///
/// ```
/// use xhint_btf::{Btf, Builder, ByteOrder, Def, Member};
/// let mut builder = Builder::new(ByteOrder::Little);
/// let int = builder.add(&Def::unsigned("unsigned int", 4))?;
/// let field = Member::new("rx_hash", int, 0);
/// builder.add(&Def::structure("meta", 4, &[field]))?;
/// let btf = Btf::parse(builder.finish())?;
/// assert_eq!(btf.ty(2).unwrap().members().next(), Some(field));
/// # Ok::<(), xhint_btf::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    order: ByteOrder,
    types: Vec<u8>,
    strings: Vec<u8>,
    /// The sizes of kinds, of the BTF it goes on from.
    layouts: Vec<u8>,
    /// Strings added here, so that each stands once.
    added: HashMap<String, u32>,
    next_id: u32,
    /// String offsets below this one stand in the base.
    first_string: u32,
}

impl Builder {
    /// An empty BTF.
    pub fn new(order: ByteOrder) -> Builder {
        let (strings, added) = (vec![0], HashMap::new());
        Builder { order, types: vec![], strings, layouts: vec![], added, next_id: 1, first_string: 0 }
    }

    /// An empty BTF that is split on `base`.
    pub fn split(base: &Btf) -> Builder {
        Builder {
            next_id: base.end_id(),
            first_string: base.end_string(),
            strings: vec![],
            ..Builder::new(base.order())
        }
    }

    /// Goes on where `btf` ends; if that is split, on the same base.
    pub fn extend(btf: &Btf) -> Builder {
        Builder {
            order: btf.order(),
            types: btf.type_bytes().to_vec(),
            strings: btf.string_bytes().to_vec(),
            layouts: btf.layouts().to_vec(),
            added: HashMap::new(),
            next_id: btf.end_id(),
            first_string: btf.first_string(),
        }
    }

    /// The id that the next type will have.
    pub fn next_id(&self) -> u32 {
        self.next_id
    }

    /// The offset of `text` among the strings; it is added unless it was before.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if the strings no longer fit in 32 bits.
    pub fn string(&mut self, text: &str) -> Result<u32, Error> {
        if text.is_empty() {
            return Ok(0);
        }
        if let Some(offset) = self.added.get(text) {
            return Ok(*offset);
        }
        let offset = self.end_string()?;
        // A zero byte inside would make two strings of it.
        self.strings.extend(text.bytes().filter(|b| *b != 0));
        self.strings.push(0);
        self.end_string()?;
        self.added.insert(text.to_owned(), offset);
        Ok(offset)
    }

    /// Adds a type and yields its id. Ids in it are taken as they are.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if ids or strings no longer fit in 32 bits, or for more elements than a type can count.
    pub fn add(&mut self, def: &Def<'_>) -> Result<u32, Error> {
        let words = def.words(|text| self.string(text))?;
        self.words(words.into_iter());
        self.take_id()
    }

    /// Gives a data section of the BTF that this builder goes on from more variables and a new size. Ids stay; types
    /// behind the section move in the file, so this can be done for one section only.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more variables than a type can count.
    pub fn add_vars(&mut self, section: Type<'_>, size: u32, vars: &[SecVar]) -> Result<(), Error> {
        let too_large = Error::TooLarge { what: "the number of variables" };
        let count =
            u32::try_from(vars.len()).ok().and_then(|n| n.checked_add(section.vlen())).ok_or(too_large.clone())?;
        let (true, Some(start)) = (count < 1 << 24, section.offset()) else { return Err(too_large) };
        let info = section.word(1) & 0xff00_0000 | count;
        let words = section.words();
        let end = start.saturating_add(words.saturating_mul(4)).min(self.types.len());
        let old = (3..words).map(|n| section.word(n));
        let new = vars.iter().flat_map(|v| [v.type_id, v.offset, v.size]);
        let all = [section.word(0), info, size].into_iter().chain(old).chain(new);
        let bytes: Vec<u8> = all.flat_map(|w| self.order.bytes(w)).collect();
        self.types.splice(start.min(end)..end, bytes);
        Ok(())
    }

    /// Adds all types of `btf`, which stands alone or is split on what this builder began with, and yields by how much
    /// the ids of its own types moved.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::BaseOrder`] if the byte orders differ; [`Error::Immovable`] for kinds newer
    /// than this crate.
    pub fn append(&mut self, btf: &Btf) -> Result<u32, Error> {
        if btf.order() != self.order {
            return Err(Error::BaseOrder);
        }
        let (first_id, first_string) = (btf.first_id(), btf.first_string());
        let by_ids = self.next_id.saturating_sub(first_id);
        let by_strings = self.end_string()?.saturating_sub(first_string);
        self.append_strings(btf.string_bytes())?;
        if self.next_id == first_id && by_strings == 0 {
            // Nothing moves, so kinds that are not known may be among them.
            self.types.extend_from_slice(btf.type_bytes());
            self.next_id = btf.end_id();
            if self.layouts.is_empty() {
                self.layouts = btf.layouts().to_vec();
            }
            return self.fits().map(|()| 0);
        }
        let id = |id: u32| if id < first_id { id } else { id.saturating_add(by_ids) };
        // Offset 0 means no name, whichever BTF says so.
        let string = |off: u32| if off == 0 || off < first_string { off } else { off.saturating_add(by_strings) };
        for ty in btf.types() {
            self.copy(ty, id, string)?;
        }
        Ok(by_ids)
    }

    /// Adds a type of another BTF, with what `id` and `string` make of its references.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Immovable`] for kinds newer than this crate.
    pub(crate) fn copy(
        &mut self,
        ty: Type<'_>,
        id: impl Fn(u32) -> u32,
        string: impl Fn(u32) -> u32,
    ) -> Result<(), Error> {
        let info = KindInfo::of(ty.word(1));
        if !info.known() {
            return Err(Error::Immovable { id: ty.id(), kind: (ty.word(1) >> 24) as u8 & 0x7f });
        }
        let third = if ty.target() != 0 { id(ty.target()) } else { ty.word(2) };
        let tail = (3..ty.words()).zip(info.shape.roles().iter().cycle()).map(|(n, role)| match role {
            Role::Id => id(ty.word(n)),
            Role::Str => string(ty.word(n)),
            Role::Plain => ty.word(n),
        });
        self.words([string(ty.word(0)), ty.word(1), third].into_iter().chain(tail));
        self.take_id().map(drop)
    }

    /// Adds whole strings, each ended by a zero byte.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if they no longer fit in 32 bits.
    pub(crate) fn append_strings(&mut self, strings: &[u8]) -> Result<(), Error> {
        self.strings.extend_from_slice(strings);
        self.end_string().map(drop)
    }

    /// The bytes of the whole: header, types, sizes of kinds if there are such, strings.
    pub fn finish(self) -> Vec<u8> {
        let word = |n: usize| self.order.bytes(n as u32);
        let (types, layouts) = (self.types.len(), self.layouts.len());
        let strings = types.saturating_add(layouts);
        let magic = match self.order {
            ByteOrder::Little => [0x9f, 0xeb],
            ByteOrder::Big => [0xeb, 0x9f],
        };
        let mut out = Vec::with_capacity(strings.saturating_add(self.strings.len()).saturating_add(HEADER_LEN_LAYOUT));
        out.extend(magic);
        out.extend([1, 0]);
        out.extend(word(if layouts == 0 { HEADER_LEN } else { HEADER_LEN_LAYOUT }));
        out.extend([word(0), word(types), word(strings), word(self.strings.len())].as_flattened());
        if layouts != 0 {
            out.extend([word(types), word(layouts)].as_flattened());
        }
        out.extend(self.types);
        out.extend(self.layouts);
        out.extend(self.strings);
        out
    }

    fn words(&mut self, words: impl Iterator<Item = u32>) {
        self.types.extend(words.flat_map(|w| self.order.bytes(w)));
    }

    fn take_id(&mut self) -> Result<u32, Error> {
        let id = self.next_id;
        self.next_id = id.checked_add(1).ok_or(Error::TooLarge { what: "the number of types" })?;
        self.fits().map(|()| id)
    }

    fn fits(&self) -> Result<(), Error> {
        u32::try_from(self.types.len()).map(drop).map_err(|_| Error::TooLarge { what: "the type section" })
    }

    /// Where the next string will stand.
    fn end_string(&self) -> Result<u32, Error> {
        let own = u32::try_from(self.strings.len()).ok();
        own.and_then(|len| self.first_string.checked_add(len)).ok_or(Error::TooLarge { what: "the string section" })
    }
}

/// One flat BTF of a base, which may itself be split, and what is split on it or stands alone: the base's types keep their
/// ids, the others follow in the order given. Nothing is folded together, so a type that two of them describe stands there twice.
///
/// # Errors
/// As [`Builder::append`].
pub fn merge(base: &Btf, others: &[&Btf]) -> Result<Vec<u8>, Error> {
    let mut chain = base.chain().into_iter();
    let mut writer = chain.next().map_or_else(|| Builder::new(base.order()), Builder::extend);
    for other in chain.chain(others.iter().copied()) {
        writer.append(other)?;
    }
    Ok(writer.finish())
}

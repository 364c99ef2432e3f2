//! Appending types to a BTF, and the flat merge of a base and its splits.
//!
//! A [`Builder`] goes on where a BTF ends: what was there keeps its ids and string offsets, byte for byte.

use std::collections::HashMap;

use crate::kind::{Role, kind_number};
use crate::reader::{HEADER_LEN, HEADER_LEN_THREE, Start};
use crate::shift::Shift;
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

/// Where the types and strings of a BTF are that was appended to another.
#[derive(Debug, Clone, Copy)]
pub struct Moved {
    ids: Shift,
    strings: Shift,
}

impl Moved {
    /// The id that a type has now.
    pub fn id(self, id: u32) -> u32 {
        self.ids.of(id)
    }

    /// The offset that a string has now. Offset 0 means no name, whichever BTF says so.
    pub fn string(self, offset: u32) -> u32 {
        if offset == 0 { 0 } else { self.strings.of(offset) }
    }
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
        self.fits()?;
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
        let place = section.place().filter(|place| count < 1 << 24 && place.end <= self.types.len());
        let Some(place) = place else { return Err(too_large) };
        let info = section.word(1) & 0xff00_0000 | count;
        let old = section.tail();
        let new = vars.iter().flat_map(|v| [v.type_id, v.offset, v.size]);
        let all = [section.word(0), info, size].into_iter().chain(old).chain(new);
        let bytes: Vec<u8> = all.flat_map(|w| self.order.bytes(w)).collect();
        self.types.splice(place, bytes);
        Ok(())
    }

    /// Adds all types of `btf`, which stands alone or is split on what this builder began with, and yields by how much
    /// the ids of its own types moved.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::BaseOrder`] if the byte orders differ; [`Error::Base`] if `btf` is split on more
    /// types than are here; [`Error::Immovable`] for kinds newer than this crate.
    pub fn append(&mut self, btf: &Btf) -> Result<u32, Error> {
        self.append_but(btf, |_| false).map(|moved| moved.ids.by())
    }

    /// The same, but `void const` stands in the place of types that `left_out` accepts, so that ids need no gap.
    ///
    /// # Errors
    /// As [`Builder::append`].
    pub fn append_but(&mut self, btf: &Btf, left_out: impl Fn(&Type<'_>) -> bool) -> Result<Moved, Error> {
        if btf.order() != self.order {
            return Err(Error::BaseOrder { own: btf.order(), base: self.order });
        }
        if btf.first_id() > self.next_id {
            return Err(Error::Base { first: btf.first_id(), here: self.next_id });
        }
        let ids = Shift::new("the number of types", btf.first_id(), btf.end_id(), self.next_id)?;
        let (first, end) = (btf.first_string(), btf.end_string());
        let strings = Shift::new("the string section", first, end, self.end_string()?)?;
        let moved = Moved { ids, strings };
        self.append_strings(btf.string_bytes())?;
        if ids.is_none() && strings.is_none() && !btf.types().any(|ty| left_out(&ty)) {
            // Nothing moves, so kinds that are not known may be among them.
            self.types.extend_from_slice(btf.type_bytes());
            self.next_id = btf.end_id();
            if self.layouts.is_empty() {
                self.layouts = btf.layouts().to_vec();
            }
            return self.fits().map(|()| moved);
        }
        for ty in btf.types() {
            if left_out(&ty) {
                self.add(&Def::Const(0))?;
            } else {
                self.copy(ty, |id| moved.id(id), |offset| moved.string(offset))?;
            }
        }
        Ok(moved)
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
        let info = ty.info();
        if !info.known() {
            return Err(Error::Immovable { id: ty.id(), kind: kind_number(ty.word(1)) });
        }
        let size_or_type = if ty.target() != 0 { id(ty.target()) } else { ty.word(2) };
        let tail = ty.tail().zip(info.shape.roles().iter().cycle()).map(|(word, role)| match role {
            Role::Id => id(word),
            Role::Str => string(word),
            Role::Plain => word,
        });
        self.words([string(ty.word(0)), ty.word(1), size_or_type].into_iter().chain(tail));
        self.take_id().map(drop)
    }

    /// Adds whole strings, each ended by a zero byte.
    ///
    /// # Errors
    /// [`Error::TooLarge`] if they no longer fit in 32 bits.
    pub(crate) fn append_strings(&mut self, strings: &[u8]) -> Result<(), Error> {
        self.strings.extend_from_slice(strings);
        self.fits()?;
        self.end_string().map(drop)
    }

    /// The bytes of the whole: header, types, sizes of kinds if there are such, strings.
    pub fn finish(self) -> Vec<u8> {
        // All together fit in 32 bits.
        let len = |section: &[u8]| section.len() as u32;
        let (types, layouts) = (len(&self.types), len(&self.layouts));
        let mut sections = vec![0, types, types.wrapping_add(layouts), len(&self.strings)];
        let length = match layouts {
            0 => HEADER_LEN,
            _ => {
                sections.extend([types, layouts]);
                HEADER_LEN_THREE
            }
        };
        let (start, order) = (Start::write(self.order, length), self.order);
        let sections: Vec<u8> = sections.into_iter().flat_map(|word| order.bytes(word)).collect();
        [start, sections, self.types, self.layouts, self.strings].concat()
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
        let sections = [&self.types, &self.layouts, &self.strings];
        let len = sections.iter().try_fold(0u32, |sum, part| sum.checked_add(u32::try_from(part.len()).ok()?));
        len.map(drop).ok_or(Error::TooLarge { what: "the sum of the sections" })
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

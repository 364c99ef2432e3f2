//! Filling in a program's constants: variables that are declared `const volatile`, which the compiler leaves to be read
//! when the program runs, and whose values the kernel knows for good once it is loaded.
//!
//! BTF says of which type a variable is, and the symbol table where it stands: in an object that clang made, the offsets
//! in BTF's data sections are not filled in yet.

use std::iter;

use bytes::Bytes;
use xhint_btf::{Btf, ByteOrder, Kind, Type};

use crate::image::{Image, SectionId, SymbolPlace};
use crate::{Error, Object, SetError};

/// A variable of a data section.
struct Variable<'a> {
    name: &'a str,
    section: &'a str,
    type_id: u32,
}

impl Object {
    /// Gives the `const volatile` variable `name` a value: an integer in decimal or, with `0x`, in hexadecimal; `true` or
    /// `false`; the name or the number of an enumerator; for an array of char any text that leaves room for a 0.
    ///
    /// # Errors
    /// [`Error::Set`]; the object is as it was.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Error> {
        self.try_set(name, value).map_err(|source| Error::Set { name: name.to_owned(), source })
    }

    fn try_set(&mut self, name: &str, value: &str) -> Result<(), SetError> {
        let variable = self.constant(name)?;
        let bytes = encoded(&self.btf, variable.type_id, value, self.image.order)?;
        let none = || SetError::NoVariable { have: self.constants() };
        let (section, offset) = place(&self.image, &variable).ok_or_else(none)?;
        let end = offset.checked_add(bytes.len()).ok_or_else(none)?;
        let mut content = self.image.bytes(section).to_vec();
        content.get_mut(offset..end).ok_or_else(none)?.copy_from_slice(&bytes);
        self.image.set_bytes(section, Bytes::from(content));
        Ok(())
    }

    /// The constant of that name.
    fn constant(&self, name: &str) -> Result<Variable<'_>, SetError> {
        let mut named = variables(&self.btf).filter(|v| v.name == name);
        let variable = named.next().ok_or_else(|| SetError::NoVariable { have: self.constants() })?;
        if named.next().is_some() {
            return Err(SetError::Several);
        }
        if !variable.is_constant() {
            return Err(SetError::NotConstant { section: variable.section.to_owned() });
        }
        if !is_volatile(&self.btf, variable.type_id) {
            return Err(SetError::NotVolatile);
        }
        Ok(variable)
    }

    /// Names of what can be set.
    fn constants(&self) -> Vec<String> {
        let no_text = |v: &Variable<'_>| {
            matches!(encoded(&self.btf, v.type_id, "", self.image.order), Err(SetError::Kind { .. }))
        };
        let can = |v: &Variable<'_>| v.is_constant() && is_volatile(&self.btf, v.type_id) && !no_text(v);
        let mut names: Vec<_> = variables(&self.btf).filter(can).map(|v| v.name.to_owned()).collect();
        names.sort_unstable();
        names
    }
}

impl Variable<'_> {
    fn is_constant(&self) -> bool {
        self.section == ".rodata" || self.section.starts_with(".rodata.")
    }
}

fn variables(btf: &Btf) -> impl Iterator<Item = Variable<'_>> {
    btf.types().filter(|t| t.kind() == Kind::Datasec).flat_map(move |section| {
        let variable = move |id| btf.ty(id).filter(|v| v.kind() == Kind::Var);
        let of = move |v: Type<'_>| (v.name_offset(), v.target());
        section.vars().filter_map(move |v| variable(v.type_id)).map(of).map(move |(name, type_id)| Variable {
            name: btf.str_at(name).unwrap_or(""),
            section: section.name(),
            type_id,
        })
    })
}

/// Section number and offset of a variable.
fn place(image: &Image, variable: &Variable<'_>) -> Option<(SectionId, usize)> {
    let section = image.section_named(variable.section)?;
    let fits =
        |s: &&crate::image::Symbol| !s.gone && s.place == SymbolPlace::Section(section) && s.name == variable.name;
    let symbol = image.symbols.iter().find(fits)?;
    Some((section, usize::try_from(symbol.value).ok()?))
}

/// Whether `volatile` stands anywhere on the way to the type, or to the array's elements.
fn is_volatile(btf: &Btf, id: u32) -> bool {
    let next = |ty: &Type<'_>| match (ty.kind(), ty.array()) {
        (Kind::Typedef, _) => Some(ty.target()),
        (kind, _) if kind.is_modifier() => Some(ty.target()),
        (_, Some(array)) => Some(array.elem),
        _ => None,
    };
    // Chains end: the BTF was checked for that.
    iter::successors(btf.ty(id), |ty| btf.ty(next(ty)?)).any(|ty| ty.kind() == Kind::Volatile)
}

/// The bytes of `value` as the type has them.
fn encoded(btf: &Btf, id: u32, value: &str, order: ByteOrder) -> Result<Vec<u8>, SetError> {
    let ty = btf.skip_mods_and_typedefs(id);
    // As it was declared.
    let declared = btf.skip_mods(id).name();
    let fault = |takes: String| SetError::Value { value: value.to_owned(), takes };
    let size = ty.size();
    let whole = |signed| Whole { signed, size, order };
    match (ty.kind(), ty.int(), ty.array()) {
        (Kind::Int, Some(int), _) if int.bool => {
            let bit = match value {
                "true" | "1" => 1,
                "false" | "0" => 0,
                _ => return Err(fault(format!("{declared} takes true or false"))),
            };
            Ok(whole(false).bytes(bit))
        }
        (Kind::Int, Some(int), _) if (1..=16).contains(&size) => {
            let whole = whole(int.signed);
            whole.parse(value).ok_or_else(|| fault(format!("{declared} takes {}", whole.range())))
        }
        (Kind::Enum | Kind::Enum64, ..) => {
            let whole = whole(ty.kind_flag());
            match ty.enumerators().find(|e| e.name == value) {
                Some(named) => Ok(whole.bytes(named.value.into())),
                None => whole.parse(value).ok_or_else(|| fault(format!("it takes {}", enumerators(&ty)))),
            }
        }
        (_, _, Some(array)) if btf.skip_mods_and_typedefs(array.elem).name() == "char" && array.len > 0 => {
            let mut bytes = value.as_bytes().to_vec();
            let most = array.len.saturating_sub(1);
            if bytes.len() > most as usize {
                return Err(fault(format!("char[{}] takes {most} bytes, and a 0 behind them", array.len)));
            }
            bytes.resize(array.len as usize, 0);
            Ok(bytes)
        }
        (_, _, Some(_)) => Err(SetError::Kind { what: "an array of something else than char".to_owned() }),
        _ => Err(SetError::Kind { what: format!("a {} {}", ty.kind(), ty.name()).trim_end().to_owned() }),
    }
}

/// Names of an enum, as many as a line has room for.
fn enumerators(ty: &Type<'_>) -> String {
    let mut names: Vec<&str> = ty.enumerators().map(|e| e.name).take(17).collect();
    if names.len() > 16 {
        names.truncate(16);
        names.push("…");
    }
    names.join(", ")
}

/// How whole numbers are written.
struct Whole {
    signed: bool,
    /// In bytes, from 1 to 16.
    size: u32,
    order: ByteOrder,
}

impl Whole {
    /// The greatest, and how far below 0 the least is.
    fn limits(&self) -> (u128, u128) {
        let unused = 128u32.saturating_sub(self.size.saturating_mul(8));
        let all = u128::MAX.unbounded_shr(unused);
        let half = all >> 1;
        if self.signed { (half, half.saturating_add(1)) } else { (all, 0) }
    }

    fn range(&self) -> String {
        let (most, below) = self.limits();
        format!("{}{below} to {most}", if below > 0 { "-" } else { "" })
    }

    /// The bytes of a number that fits; `None` if it does not, or is none.
    fn parse(&self, text: &str) -> Option<Vec<u8>> {
        let (minus, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
        let (digits, radix) = hex.map_or((digits, 10), |hex| (hex, 16));
        // What parses numbers takes a sign in front, also behind ours.
        let number = u128::from_str_radix(digits, radix).ok().filter(|_| !digits.starts_with('+'))?;
        let (most, below) = self.limits();
        let fits = number <= if minus { below } else { most };
        fits.then(|| self.bytes(if minus { number.wrapping_neg() } else { number }))
    }

    /// The low bytes of two's complement.
    fn bytes(&self, number: u128) -> Vec<u8> {
        let mut bytes: Vec<u8> = number.to_le_bytes().into_iter().take(self.size as usize).collect();
        if self.order == ByteOrder::Big {
            bytes.reverse();
        }
        bytes
    }
}

//! A layout, flattened: which value stands at which bits.

use xhint_btf::ByteOrder;

use crate::class::Class;
use crate::error::Error;
use crate::hint::Hint;
use crate::limits::{self, MAX_FIELDS, MAX_SIZE};

/// One layout and its fields, in order of their places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The layout's name: that of its struct, or of the typedef that names it.
    pub name: String,
    /// The layout id that packets carry; 0 is none.
    pub id: u32,
    /// Bytes of metadata, a multiple of 4.
    pub size: u32,
    /// The fields that have a hint, by bit offset.
    pub fields: Vec<PlanField>,
    /// Paths of the fields that have none; they stay 0.
    pub silent: Vec<String>,
}

/// A number at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanField {
    /// As C writes it from the struct on: `l3.v6.flow`, `addr[2]`.
    pub path: String,
    /// What it means.
    pub hint: Hint,
    /// Where it starts: bits from the layout's first byte on, least significant bit of a byte first.
    pub bit_offset: u32,
    /// How many bits it has, 1 to 64.
    pub bits: u32,
    /// The order of its bytes.
    pub order: ByteOrder,
    /// Whether it is a signed integer.
    pub signed: bool,
    /// Whether it is a pointer.
    pub pointer: bool,
    /// The value is shifted right by so many bits first: an array holds it cut into elements, the
    /// most significant one first.
    pub shift: u32,
    /// It is written only for packets of all of these kinds.
    pub when: Vec<Class>,
    /// Whether it lies in a union. Such a field is left alone in packets that do not have its value;
    /// any other is then 0.
    pub shared: bool,
    /// What an enumeration of ours is in this field: value here by value there. Empty if the hint
    /// has no such values.
    pub values: Vec<u64>,
}

impl PlanField {
    /// One past its last bit.
    pub fn bit_end(&self) -> u64 {
        // Two numbers of 32 bits.
        u64::from(self.bit_offset).wrapping_add(self.bits.into())
    }

    /// The largest number it can hold.
    pub fn mask(&self) -> u64 {
        !u64::MAX.unbounded_shl(self.bits)
    }

    /// Reads its number from `meta`, the layout's bytes in memory order; `None` if they are too few.
    /// Negative numbers come sign-extended.
    pub fn read(&self, meta: &[u8]) -> Option<u64> {
        let mut value = 0u64;
        for i in 0..self.bits.min(64) {
            let at = self.bit_offset.checked_add(i)?;
            let byte = meta.get(usize::try_from(at / 8).ok()?)?;
            let bit = u64::from(byte.wrapping_shr(at % 8) & 1);
            value |= bit.wrapping_shl(i);
        }
        if self.order == ByteOrder::Big {
            // Its bytes are now the upper ones.
            value = value.swap_bytes().rotate_left(self.bits);
        }
        let sign = self.mask() ^ self.mask() >> 1;
        if self.signed && value & sign != 0 {
            value |= !self.mask();
        }
        Some(value)
    }

    /// The classes that a packet with this field has for certain.
    fn classes(&self) -> impl Iterator<Item = Class> {
        self.when.iter().copied().chain(self.hint.class())
    }

    /// Whether no packet has both.
    fn excludes(&self, other: &PlanField) -> bool {
        self.classes().any(|a| other.classes().any(|b| a != b && a.layer() == b.layer() && a.layer() != 2))
    }

    fn overlaps(&self, other: &PlanField) -> bool {
        u64::from(self.bit_offset) < other.bit_end() && u64::from(other.bit_offset) < self.bit_end()
    }
}

impl Plan {
    /// Puts the fields in order and checks what must hold of any plan, whoever made it.
    pub fn checked(mut self) -> Result<Plan, Error> {
        self.check_size()?;
        self.check_count()?;
        self.fields.sort_by_key(|f| f.bit_offset);
        for field in &self.fields {
            self.check_field(field)?;
        }
        self.check_overlaps()?;
        Ok(self)
    }

    /// The field with this path.
    pub fn field(&self, path: &str) -> Option<&PlanField> {
        self.fields.iter().find(|f| f.path == path)
    }

    /// The field that holds the layout id, if any.
    pub fn selector(&self) -> Option<&PlanField> {
        self.fields.iter().find(|f| f.hint == Hint::LayoutId)
    }

    fn check_size(&self) -> Result<(), Error> {
        let (layout, size) = (self.name.clone(), self.size);
        if size > MAX_SIZE {
            return Err(Error::TooLarge { layout, size });
        }
        if size % 4 != 0 {
            return Err(Error::Misaligned { layout, size });
        }
        Ok(())
    }

    fn check_count(&self) -> Result<(), Error> {
        match self.fields.get(MAX_FIELDS) {
            None => Ok(()),
            Some(field) => Err(Error::TooManyFields { layout: self.name.clone(), path: field.path.clone() }),
        }
    }

    fn check_overlaps(&self) -> Result<(), Error> {
        let mut rest = self.fields.as_slice();
        while let [first, others @ ..] = rest {
            if let Some(second) = others.iter().find(|second| first.overlaps(second) && !first.excludes(second)) {
                return Err(Error::Overlap {
                    layout: self.name.clone(),
                    first: first.path.clone(),
                    second: second.path.clone(),
                });
            }
            rest = others;
        }
        Ok(())
    }

    fn check_field(&self, field: &PlanField) -> Result<(), Error> {
        let (layout, path) = (self.name.clone(), field.path.clone());
        let (bits, bit_offset) = (field.bits, field.bit_offset);
        if bits == 0 || bits > 64 || field.bit_end() > limits::bits(self.size) {
            return Err(Error::BadPlace {
                layout,
                path,
                bit_offset: bit_offset.into(),
                bits: bits.into(),
                size: self.size,
            });
        }
        if field.order == ByteOrder::Big && (bits % 8 != 0 || bit_offset % 8 != 0) {
            return Err(Error::OddBigEndian { layout, path, bit_offset, bits });
        }
        if field.hint == Hint::LayoutId && u64::from(self.id) > field.mask() {
            return Err(Error::IdTooWide { layout, path, id: self.id, bits });
        }
        Ok(())
    }
}

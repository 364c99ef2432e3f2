//! The one reader of bytes that nobody has checked: it goes through them, and says what is missing where.

use std::ops::Range;

use crate::number::index;
use crate::{ByteOrder, Error};

/// The first two bytes, in the order of the words behind them.
const MAGIC: u16 = 0xEB9F;
/// Bytes of a header up to its own length.
const START: usize = 8;
/// Length of a header of either that tells where two sections stand.
pub(crate) const HEADER_LEN: u32 = 24;
/// Length of one that tells of a third: how large kinds are, or what is relocated.
pub(crate) const HEADER_LEN_THREE: u32 = 32;

/// Some bytes, and how far they have been read.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    order: ByteOrder,
    at: usize,
    /// What follows there.
    rest: &'a [u8],
}

/// What `.BTF` and `.BTF.ext` begin with: where the header ends and the sections' offsets count from.
pub(crate) struct Start<'a> {
    data: &'a [u8],
    pub(crate) len: u32,
    /// Stands behind the header's length.
    pub(crate) header: Reader<'a>,
}

impl<'a> Start<'a> {
    /// Magic, version, flags and the header's length.
    pub(crate) fn read(data: &'a [u8]) -> Result<Start<'a>, Error> {
        let least = HEADER_LEN;
        let [first, second, version, _, ..] = *data else {
            return Err(Error::Truncated { what: "the header", at: 0, need: index(least), have: data.len() });
        };
        let order = match u16::from_le_bytes([first, second]) {
            MAGIC => ByteOrder::Little,
            magic if magic.swap_bytes() == MAGIC => ByteOrder::Big,
            magic => return Err(Error::Magic(magic)),
        };
        if version != 1 {
            return Err(Error::Version(version));
        }
        let mut header = Reader { order, at: 0, rest: data };
        header.take("hdr_len", START / 2)?;
        let len = header.word("hdr_len")?;
        if len < least || !len.is_multiple_of(4) || index(len) > data.len() {
            return Err(Error::Header { what: "hdr_len", value: len, at: START / 2 });
        }
        Ok(Start { data, len, header })
    }

    /// The same bytes, for a header of this length.
    pub(crate) fn write(order: ByteOrder, len: u32) -> Vec<u8> {
        let magic = match order {
            ByteOrder::Little => MAGIC.to_le_bytes(),
            ByteOrder::Big => MAGIC.to_be_bytes(),
        };
        [magic.as_slice(), &[1, 0], &order.bytes(len)].concat()
    }

    /// A section whose offset, which counts from the header's end, and length stand next in the header.
    pub(crate) fn section(&mut self, what: &'static str) -> Result<Range<usize>, Error> {
        let (offset, len) = (self.header.word(what)?, index(self.header.word(what)?));
        let at = index(self.len).checked_add(index(offset)).ok_or(Error::TooLarge { what })?;
        // One without bytes lies within the data, too: the kernel refuses it elsewhere (btf_check_sec_info).
        let have = self.data.get(at..).map(<[u8]>::len);
        let end = at.checked_add(len).filter(|_| have.is_some_and(|have| len <= have));
        end.map(|end| at..end).ok_or(Error::Truncated { what, at, need: len, have: have.unwrap_or(0) })
    }

    /// Reads a section that there is.
    pub(crate) fn within(&self, section: Range<usize>) -> Reader<'a> {
        let (order, at) = (self.header.order, section.start);
        Reader { order, at, rest: self.data.get(section).unwrap_or(&[]) }
    }
}

impl<'a> Reader<'a> {
    pub(crate) fn order(&self) -> ByteOrder {
        self.order
    }

    /// Bytes from the start of all.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub(crate) fn take(&mut self, what: &'static str, len: usize) -> Result<&'a [u8], Error> {
        let short = Error::Truncated { what, at: self.at, need: len, have: self.rest.len() };
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(short)?;
        // No further than the bytes go.
        (self.rest, self.at) = (rest, self.at.wrapping_add(len));
        Ok(taken)
    }

    /// The next word.
    pub(crate) fn word(&mut self, what: &'static str) -> Result<u32, Error> {
        let short = Error::Truncated { what, at: self.at, need: 4, have: self.rest.len() };
        let (word, _) = self.take(what, 4)?.split_first_chunk().ok_or(short)?;
        Ok(self.order.word(*word))
    }
}

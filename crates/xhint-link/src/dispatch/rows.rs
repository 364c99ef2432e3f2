//! What dispatch by a table finds a packet's layout by: one row a layout, reached from the id without a branch.
//!
//! The rows of a program are one variable `xhint_rows_PROGRAM` in the data section [`SECTION`], which nothing writes:
//!
//! ```text
//! directory   2^n words of 32 bits, or none with n = 0
//! rows        2^m rows of 2^s bytes
//! ```
//!
//! With `h = (id * MULTIPLIER) mod 2^32`, the upper n bits of `h` choose a word of the directory, and the m bits below
//! them, times 2^s, xor that word, are where the row begins. Few ids need no directory: a multiplier is found by which
//! no two meet. With many the directory parts those that do (hash and displace: Tarjan and Yao, 1979). A row begins with
//! what tells that it is the packet's. A row of nobody is zero. As packets of no layout have id 0, the row that this leads to has
//! another id if it is nobody's, one that leads elsewhere:
//!
//! | byte | bits | |
//! | --- | --- | --- |
//! | 0 | 32 | the layout's id |
//! | 4 | 16 | its length in words of 4 bytes, plus 256 times the number of the place its id stands at |
//! | 6 | 16 | its slot, under which it is counted |
//! | 8 | 8 | its copy |
//! | from 9 | | offsets and other numbers that its copy reads, each at a multiple of its width |

use xhint_btf::ByteOrder;

use super::table::Slot;
use crate::Error;

/// The data section of the rows.
pub const SECTION: &str = ".rodata.xhint";
/// What the variable's name begins with.
pub const ROWS: &str = "xhint_rows_";

/// What each row has.
const ID: Cell = Cell { offset: 0, bytes: 4 };
pub const KEY: Cell = Cell { offset: 4, bytes: 2 };
pub const SLOT: Cell = Cell { offset: 6, bytes: 2 };
pub const COPY: Cell = Cell { offset: 8, bytes: 1 };
const FIRST_FIELD: u16 = 9;
/// Bytes of the largest row: what the 15 bits of a load's offset reach is far more.
const MAX_ROW: u16 = 4096;
/// Multipliers to try before the rows are made more: with a directory, and without.
const TRIES: u32 = 64;
const DIRECT_TRIES: u32 = 2048;
/// Most ids to try without a directory, and the logarithm of how many rows there may be for each.
const DIRECT: usize = 128;
const DIRECT_ROWS: u32 = 3;
/// The logarithm of the most rows.
const MOST_ROWS: u32 = 16;

/// A number that a copy reads from the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Bytes from the start of the row.
    pub offset: i16,
    /// Bytes of it: 1, 2, 4 or 8.
    pub bytes: u32,
}

impl Cell {
    /// Puts a number there.
    fn put(self, row: &mut [u8], value: u64, order: ByteOrder) {
        let to = row.iter_mut().skip(self.offset.unsigned_abs().into());
        to.zip(number(value, self.bytes, order)).for_each(|(to, from)| *to = from);
    }
}

/// The row of one layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub id: u32,
    pub key: u16,
    pub slot: Option<Slot>,
    pub copy: u8,
    pub fields: Vec<(Cell, u64)>,
}

/// Where the entry finds a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub multiplier: u32,
    /// The logarithm to base 2 of the words of the directory, of the rows, and of the bytes of a row.
    pub directory: u32,
    pub rows: u32,
    pub row: u32,
}

impl Shape {
    /// Where the rows begin.
    pub fn start(&self) -> u32 {
        if self.directory == 0 { 0 } else { 4 << self.directory }
    }

    fn hash(&self, id: u32) -> u32 {
        id.wrapping_mul(self.multiplier)
    }

    /// How far down the bits of the directory stand in the hash.
    pub fn directory_shift(&self) -> u32 {
        32_u32.saturating_sub(self.directory)
    }

    /// How far down those of the row.
    fn row_shift(&self) -> u32 {
        self.directory_shift().saturating_sub(self.rows)
    }

    /// How far down they stand from where they are wanted; up, if negative.
    pub fn start_shift(&self) -> i32 {
        (self.row_shift() as i32).saturating_sub(self.row as i32)
    }

    /// The bits of where a row begins.
    pub fn start_mask(&self) -> i32 {
        (1i32 << self.rows.saturating_add(self.row)).saturating_sub(1 << self.row)
    }

    fn bucket(&self, id: u32) -> usize {
        self.hash(id).unbounded_shr(self.directory_shift()) as usize
    }

    fn place(&self, id: u32, displaced: u16) -> usize {
        let mask = (1u32 << self.rows).saturating_sub(1);
        ((self.hash(id) >> self.row_shift() ^ u32::from(displaced)) & mask) as usize
    }
}

/// Finds places for fields behind each other, the widest first so that none leaves a gap. Returns them in the order of
/// `widths`, and the bytes of a row.
///
/// # Errors
/// [`Error::RowTooLong`].
pub fn places(widths: &[u16]) -> Result<(Vec<Cell>, u32), Error> {
    let mut order: Vec<(usize, u16)> = widths.iter().copied().enumerate().collect();
    order.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let too_long = || Error::RowTooLong { most: MAX_ROW.into() };
    let mut out: Vec<(usize, Cell)> = Vec::with_capacity(order.len());
    let mut end = FIRST_FIELD;
    for (number, bytes) in order {
        let offset = end.checked_next_multiple_of(bytes).ok_or_else(too_long)?;
        end = offset.checked_add(bytes).filter(|end| *end <= MAX_ROW).ok_or_else(too_long)?;
        out.push((number, Cell { offset: offset.cast_signed(), bytes: bytes.into() }));
    }
    out.sort_by_key(|(number, _)| *number);
    Ok((out.into_iter().map(|(_, field)| field).collect(), end.next_power_of_two().into()))
}

/// The bytes of the variable, and how they are laid out. `row` is the bytes of a row, a power of two; ids differ.
///
/// # Errors
/// [`Error::TableFull`] for ids that were made to fall together.
pub fn build(rows: &[Row], row: u32, order: ByteOrder) -> Result<(Vec<u8>, Shape), Error> {
    let least = rows.len().saturating_mul(2).next_power_of_two().max(4).trailing_zeros();
    let some =
        |sizes: std::ops::RangeInclusive<u32>, tries: u32| sizes.flat_map(move |m| (0..tries).map(move |n| (m, n)));
    let few = if rows.len() <= DIRECT { DIRECT_ROWS } else { 0 };
    let direct = some(least..=least.saturating_add(few).saturating_sub(1), DIRECT_TRIES).map(|(m, n)| (m, n, 0));
    let displaced = some(least..=MOST_ROWS, TRIES).map(|(m, n)| (m, n, m.saturating_sub(2).max(2)));
    for (number, n, directory) in direct.chain(displaced) {
        // Odd, and any: multiples of the golden ratio.
        let multiplier = n.wrapping_mul(2).wrapping_add(1).wrapping_mul(0x9e37_79b1);
        let shape = Shape { multiplier, directory, rows: number, row: row.trailing_zeros() };
        if let Some(found) = displace(rows, &shape) {
            return Ok((bytes(rows, &found, &shape, order), shape));
        }
    }
    Err(Error::TableFull { id: rows.first().map_or(0, |r| r.id) })
}

/// Which place each row has.
struct Displaced {
    /// By bucket, what its rows' places are displaced by.
    directory: Vec<u16>,
    /// Rows and places, by their numbers.
    places: Vec<(usize, usize)>,
}

/// Places for all rows, no two the same: the fullest buckets choose first. Without a directory all ids are in one bucket,
/// which stays where it is.
fn displace(rows: &[Row], shape: &Shape) -> Option<Displaced> {
    let mut buckets: Vec<(usize, Vec<usize>)> = (0..1 << shape.directory).map(|bucket| (bucket, Vec::new())).collect();
    for (number, row) in rows.iter().enumerate() {
        buckets.get_mut(shape.bucket(row.id))?.1.push(number);
    }
    buckets.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    let mut taken = vec![false; 1 << shape.rows];
    let mut out = Displaced { directory: vec![0; 1 << shape.directory], places: Vec::with_capacity(rows.len()) };
    for (bucket, numbers) in buckets {
        let ids: Vec<u32> = numbers.iter().filter_map(|n| Some(rows.get(*n)?.id)).collect();
        let places = |by: u16| ids.iter().map(move |id| shape.place(*id, by));
        let free = |by: &u16| {
            let mut places: Vec<usize> = places(*by).collect();
            places.sort_unstable();
            let differ = places.iter().zip(places.iter().skip(1)).all(|(a, b)| a != b);
            differ && places.iter().all(|p| taken.get(*p) == Some(&false))
        };
        let choices = if shape.directory == 0 { 1 } else { 1 << shape.rows };
        let by = (0..=u16::MAX).take(choices).find(free)?;
        for place in places(by) {
            *taken.get_mut(place)? = true;
        }
        out.places.extend(numbers.iter().copied().zip(places(by)));
        *out.directory.get_mut(bucket)? = by;
    }
    Some(out)
}

fn bytes(rows: &[Row], found: &Displaced, shape: &Shape, order: ByteOrder) -> Vec<u8> {
    let directory = found.directory.iter().filter(|_| shape.directory > 0);
    let directory = directory.flat_map(|word| number(u64::from(*word) << shape.row, 4, order));
    let mut table = vec![vec![0; 1 << shape.row]; 1 << shape.rows];
    let place = |id: u32| found.directory.get(shape.bucket(id)).map(|by| shape.place(id, *by));
    let elsewhere = (1..=u32::MAX).find(|id| place(*id) != place(0));
    if let (Some(id), Some(row)) = (elsewhere, place(0).and_then(|place| table.get_mut(place))) {
        ID.put(row, id.into(), order);
    }
    for (row, place) in &found.places {
        let (Some(row), Some(place)) = (rows.get(*row), table.get_mut(*place)) else { continue };
        let mut put = |cell: Cell, value: u64| cell.put(place, value, order);
        put(ID, row.id.into());
        put(KEY, row.key.into());
        row.slot.into_iter().for_each(|slot| put(SLOT, slot.number().into()));
        put(COPY, row.copy.into());
        row.fields.iter().for_each(|(field, value)| put(*field, *value));
    }
    directory.chain(table.into_iter().flatten()).collect()
}

/// The low `bytes` of a number.
fn number(value: u64, bytes: u32, order: ByteOrder) -> Vec<u8> {
    let mut out: Vec<u8> = (0..bytes).zip(value.to_le_bytes()).map(|(_, byte)| byte).collect();
    if order == ByteOrder::Big {
        out.reverse();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u32) -> Row {
        Row { id, key: 16, slot: None, copy: 0, fields: vec![] }
    }

    #[test]
    fn every_id_has_a_place_of_its_own() {
        let derived = |n: u32| n.wrapping_mul(0x85eb_ca6b) ^ n.wrapping_mul(0xc2b2_ae35).rotate_left(13) | 1;
        let ids: [&dyn Fn(u32) -> u32; 4] = [&|n| n + 1, &|n| (n + 1) << 8, &|n| (n + 1) << 20 | 7, &derived];
        for id in ids {
            for count in [1, 2, 3, 64, 1000] {
                let rows: Vec<Row> = (0..count).map(|n| row(id(n))).collect();
                let (bytes, shape) = build(&rows, 16, ByteOrder::Little).unwrap();
                assert!(bytes.len() <= 256 * count as usize + 1000, "{count}: {}", bytes.len());
                let none = row(0);
                for row in rows.iter().chain([&none]) {
                    // As the entry does it.
                    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
                    let shift = shape.start_shift();
                    let hash = shape.hash(row.id);
                    let hash = if shift < 0 { hash << -shift } else { hash >> shift };
                    let word = if shape.directory > 0 { word(4 * shape.bucket(row.id)) } else { 0 };
                    let place = (hash ^ word) & shape.start_mask() as u32;
                    let start = (shape.start() + place) as usize;
                    // Nobody has the id 0.
                    assert_eq!(bytes[start..start + 4] == row.id.to_le_bytes(), row.id != 0, "{count}");
                }
            }
        }
    }

    #[test]
    fn fields_stand_at_multiples_of_their_widths_without_gaps() {
        let (fields, row) = places(&[1, 8, 2, 1]).unwrap();
        let at: Vec<i16> = fields.iter().map(|f| f.offset).collect();
        assert_eq!((at, row), (vec![26, 16, 24, 27], 32));
        assert_eq!(places(&[]).unwrap(), (vec![], 16));
        assert!(places(&[8; 600]).is_err());
        assert_eq!(number(0x0102, 2, ByteOrder::Big), [1, 2]);
    }
}

//! Valid files broken systematically: cut short, bits flipped, each number replaced by ones that hurt.
//!
//! The same bytes and seed give the same damage in the same order, so a failing case is named by its number.

/// A small generator of reproducible numbers (xorshift64*, Vigna 2016).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }
}

/// One broken file.
#[derive(Debug, Clone)]
pub struct Broken {
    /// What was done to it.
    pub how: String,
    /// The bytes after that.
    pub bytes: Vec<u8>,
}

/// Calls `test` with about `count` broken forms of each sort of `bytes`: cut at even distances, a bit flipped, a
/// stretch overwritten, removed or repeated, and 32-bit words replaced, within `region` of the file (all of it for `..`).
pub fn each(bytes: &[u8], count: usize, seed: u64, mut test: impl FnMut(&Broken)) {
    let mut random = Random::new(seed);
    if bytes.is_empty() {
        return;
    }
    let step = (bytes.len() / count).max(1);
    for length in (0..bytes.len()).step_by(step) {
        test(&Broken { how: format!("cut to {length} of {} bytes", bytes.len()), bytes: bytes[..length].to_vec() });
    }
    for _ in 0..count {
        test(&flip(bytes, &mut random));
        test(&overwrite(bytes, &mut random));
        test(&remove(bytes, &mut random));
        test(&repeat(bytes, &mut random));
    }
    let words = bytes.len() / 4;
    for nth in 0..count.min(words) {
        let at = words * nth / count.min(words) * 4;
        each_value(bytes, at, &mut test);
    }
}

/// Calls `test` with every 32-bit word of `bytes[from..to]` replaced, in turn, by each of the numbers that hurt.
pub fn each_word(bytes: &[u8], from: usize, to: usize, mut test: impl FnMut(&Broken)) {
    let to = to.min(bytes.len());
    for at in (from..to).step_by(4) {
        each_value(bytes, at, &mut test);
    }
}

/// One file, changed once in a way that the generator picks. For fuzzing.
#[must_use]
pub fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    if bytes.is_empty() {
        return vec![0; random.below(64)];
    }
    let mut broken = bytes.to_vec();
    for _ in 0..=random.below(4) {
        if broken.is_empty() {
            break;
        }
        broken = match random.below(6) {
            0 => broken[..random.below(broken.len())].to_vec(),
            1 => flip(&broken, random).bytes,
            2 => overwrite(&broken, random).bytes,
            3 => remove(&broken, random).bytes,
            4 => repeat(&broken, random).bytes,
            _ => {
                let at = random.below(broken.len()) & !3;
                let values = values_for(&broken, at);
                put(&broken, at, values[random.below(values.len())])
            }
        };
    }
    broken
}

fn flip(bytes: &[u8], random: &mut Random) -> Broken {
    let (at, bit) = (random.below(bytes.len()), random.below(8));
    let mut broken = bytes.to_vec();
    broken[at] ^= 1 << bit;
    Broken { how: format!("bit {bit} of byte {at} flipped"), bytes: broken }
}

fn overwrite(bytes: &[u8], random: &mut Random) -> Broken {
    let (from, length) = stretch(bytes, random);
    let mut broken = bytes.to_vec();
    for byte in &mut broken[from..from + length] {
        *byte = random.next() as u8;
    }
    Broken { how: format!("{length} bytes at {from} overwritten"), bytes: broken }
}

fn remove(bytes: &[u8], random: &mut Random) -> Broken {
    let (from, length) = stretch(bytes, random);
    Broken {
        how: format!("{length} bytes at {from} removed"),
        bytes: [&bytes[..from], &bytes[from + length..]].concat(),
    }
}

fn repeat(bytes: &[u8], random: &mut Random) -> Broken {
    let (from, length) = stretch(bytes, random);
    Broken {
        how: format!("{length} bytes at {from} repeated"),
        bytes: [&bytes[..from + length], &bytes[from..]].concat(),
    }
}

fn stretch(bytes: &[u8], random: &mut Random) -> (usize, usize) {
    let from = random.below(bytes.len());
    let length = 1 + random.below((bytes.len() - from).min(64));
    (from, length)
}

fn each_value(bytes: &[u8], at: usize, test: &mut impl FnMut(&Broken)) {
    for value in values_for(bytes, at) {
        test(&Broken { how: format!("word at {at} replaced by {value:#x}"), bytes: put(bytes, at, value) });
    }
}

/// Numbers on which parsers stumble: ends of ranges, signs, the file's own length, and the old number's neighbours.
fn values_for(bytes: &[u8], at: usize) -> Vec<u32> {
    let mut word = [0; 4];
    let there = &bytes[at..bytes.len().min(at + 4)];
    word[..there.len()].copy_from_slice(there);
    let old = u32::from_le_bytes(word);
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut values = vec![
        0,
        1,
        2,
        3,
        0x7fff_ffff,
        0x8000_0000,
        u32::MAX - 3,
        u32::MAX,
        length - 1,
        length,
        old.wrapping_add(1),
        old.wrapping_sub(1),
        old ^ 0xffff,
        old ^ 0x8000_0000,
        old.swap_bytes(),
    ];
    values.retain(|value| *value != old);
    values
}

fn put(bytes: &[u8], at: usize, value: u32) -> Vec<u8> {
    let mut broken = bytes.to_vec();
    let end = broken.len().min(at + 4);
    broken[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
    broken
}

/// A 64-bit ELF file, read just well enough to know where to hit it.
#[derive(Debug)]
pub struct Elf<'a> {
    /// The whole file.
    pub bytes: &'a [u8],
    big_endian: bool,
}

/// A section of an [`Elf`], by its header.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Where its bytes start in the file.
    pub offset: usize,
    /// How many they are.
    pub size: usize,
    /// Where its header starts in the file.
    pub header: usize,
}

impl<'a> Elf<'a> {
    /// Takes a file with ELF's magic and 64-bit class.
    #[must_use]
    pub fn read(bytes: &'a [u8]) -> Option<Elf<'a>> {
        (bytes.len() >= 64 && bytes.starts_with(b"\x7fELF\x02")).then(|| Elf { bytes, big_endian: bytes[5] == 2 })
    }

    fn number(&self, at: usize, size: usize) -> usize {
        let place = |(index, byte): (usize, &u8)| {
            let power = if self.big_endian { size - 1 - index } else { index };
            usize::from(*byte) << (8 * power)
        };
        let bytes = &self.bytes[at..at + size];
        bytes.iter().enumerate().map(place).sum()
    }

    /// All sections, the null section included, in the order of their headers.
    #[must_use]
    pub fn sections(&self) -> Vec<Section> {
        let (headers, size) = (self.number(40, 8), self.number(58, 2));
        let (count, names) = (self.number(60, 2), self.number(62, 2));
        let names = self.number(headers + names * size + 24, 8);
        let read = |index| {
            let header = headers + index * size;
            let name = &self.bytes[names + self.number(header, 4)..];
            let end = name.iter().position(|byte| *byte == 0).unwrap_or(0);
            Section {
                name: String::from_utf8_lossy(&name[..end]).into_owned(),
                offset: self.number(header + 24, 8),
                size: self.number(header + 32, 8),
                header,
            }
        };
        (0..count).map(read).collect()
    }

    /// Calls `test` with the numbers of the file's own structure replaced: its header, each section's header, and the
    /// first `words` words of each section.
    pub fn each_broken(&self, words: usize, mut test: impl FnMut(&Broken)) {
        each_word(self.bytes, 16, 64, &mut test);
        for section in self.sections() {
            each_word(self.bytes, section.header, section.header + 64, &mut test);
            let size = section.size.min(words * 4);
            let label = |broken: &Broken| Broken {
                how: format!("in section {}: {}", section.name, broken.how),
                bytes: broken.bytes.clone(),
            };
            each_word(self.bytes, section.offset, section.offset + size, |broken| test(&label(broken)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_reproducible_and_real() {
        let bytes: Vec<u8> = (0..=255).collect();
        let collect = || {
            let mut all = Vec::new();
            each(&bytes, 20, 7, |broken| all.push(broken.bytes.clone()));
            all
        };
        let all = collect();
        assert_eq!(all, collect());
        let unchanged = all.iter().filter(|broken| **broken == bytes).count();
        assert!(unchanged * 20 < all.len(), "{unchanged} of {}", all.len());
    }

    #[test]
    fn sections_of_either_byte_order_are_found() {
        for compile in [crate::fixture::program("fields.bpf.c"), crate::fixture::program("fields.bpf.c").big_endian()] {
            let bytes = std::fs::read(compile.object()).unwrap();
            let sections = Elf::read(&bytes).unwrap().sections();
            let btf = sections.iter().find(|s| s.name == ".BTF").unwrap();
            let magic = &bytes[btf.offset..btf.offset + 2];
            assert!(magic == [0x9f, 0xeb] || magic == [0xeb, 0x9f]);
        }
    }
}

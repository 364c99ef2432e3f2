//! Numbers that may be added to an address, and so places in the metadata: as far as they are known.

/// Bytes that metadata can have at most: its length is a byte and a multiple of 4 (`xdp_metalen_invalid` of
/// include/net/xdp.h).
const BYTES: u16 = 256;
/// Numbers that one register is followed as, where it is none always: a choice between fields, and few rounds of a loop.
const MOST_NUMBERS: u32 = 8;
/// Sums with relocated numbers that one register is followed as.
const MOST_SUMS: usize = 6;

/// What a number may be on one way or another. Nothing is certain of it: it tells where metadata may be read, and decides
/// no branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// A bit for each small number that no relocation had a part in.
    known: [u64; 4],
    /// Sums with what relocation will tell.
    sums: Sums,
    /// Whether it may be another number that no relocation had a part in.
    pub others: bool,
}

/// So many bytes behind the place of a field that relocation will tell; any number of them, if it is not known how many.
pub type Sum = (u16, Option<u16>);

/// Sums with places that relocation will tell, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sums {
    list: [Option<Sum>; MOST_SUMS],
    /// There are others, of which no more is known than that relocation has a part in them.
    others: bool,
}

impl Sums {
    const NONE: Sums = Sums { list: [None; MOST_SUMS], others: false };
    const OTHERS: Sums = Sums { list: [None; MOST_SUMS], others: true };

    fn is_empty(&self) -> bool {
        *self == Sums::NONE
    }

    fn iter(self) -> impl Iterator<Item = Sum> {
        self.list.into_iter().flatten()
    }

    /// One more. Where there is no room, those by one relocation are taken for any sum with it, and if there is none even then,
    /// all for others. So a loop comes to an end.
    fn add(&mut self, (field, by): Sum) {
        let has = |(own, at): Sum| own == field && (at == by || at.is_none());
        if self.others || self.iter().any(has) {
            return;
        }
        let mut all: Vec<Sum> = self.iter().filter(|(own, _)| by.is_some() || *own != field).collect();
        all.push((field, by));
        if all.len() > MOST_SUMS {
            all.iter_mut().for_each(|sum| sum.1 = None);
        }
        all.sort_unstable();
        all.dedup();
        if all.len() > MOST_SUMS {
            *self = Sums::OTHERS;
            return;
        }
        self.list = [None; MOST_SUMS];
        self.list.iter_mut().zip(all).for_each(|(to, sum)| *to = Some(sum));
    }

    fn or(mut self, other: Sums) -> Sums {
        if self.others || other.others {
            return Sums::OTHERS;
        }
        other.iter().for_each(|sum| self.add(sum));
        self
    }
}

impl Offsets {
    /// None.
    const NONE: Offsets = Offsets { known: [0; 4], sums: Sums::NONE, others: false };
    /// 0 alone.
    pub const ZERO: Offsets = Offsets { known: [1, 0, 0, 0], ..Offsets::NONE };
    /// Any that no relocation had a part in.
    pub const OTHERS: Offsets = Offsets { others: true, ..Offsets::NONE };

    /// This number alone.
    pub fn number(number: u64) -> Offsets {
        let mut out = Offsets::NONE;
        out.add(Some(number));
        out
    }

    /// The place of this field, which relocation will tell; of none, another number of which it tells.
    pub fn relocated(field: Option<u16>) -> Offsets {
        let mut sums = if field.is_some() { Sums::NONE } else { Sums::OTHERS };
        field.into_iter().for_each(|field| sums.add((field, Some(0))));
        Offsets { sums, ..Offsets::NONE }
    }

    fn add(&mut self, number: Option<u64>) {
        let small = number.and_then(|n| u16::try_from(n).ok()).filter(|n| *n < BYTES);
        match small.and_then(|n| Some((self.known.get_mut(usize::from(n >> 6))?, n & 63))) {
            Some((word, bit)) => *word |= 1 << bit,
            None => self.others = true,
        }
    }

    /// Those of either.
    pub fn or(self, other: Offsets) -> Offsets {
        let [a, b, c, d] = self.known;
        let [e, f, g, h] = other.known;
        let known = [a | e, b | f, c | g, d | h];
        Offsets { known, sums: self.sums.or(other.sums), others: self.others || other.others }
    }

    /// Each, so much more.
    pub fn plus(self, by: i32) -> Offsets {
        if by == 0 {
            return self;
        }
        let more = |at: u16| u64::try_from(i32::from(at).checked_add(by)?).ok();
        let mut out = Offsets { others: self.others, ..Offsets::NONE };
        self.iter().for_each(|at| out.add(more(at)));
        out.sums.others = self.sums.others;
        let further = |at: u16| more(at).and_then(|at| u16::try_from(at).ok());
        self.sums.iter().for_each(|(field, at)| out.sums.add((field, at.and_then(further))));
        out
    }

    /// The sums of each of these and each of those.
    pub fn sums_with(self, other: Offsets) -> Offsets {
        let mut out =
            Offsets { others: self.others && other.has_plain() || other.others && self.has_plain(), ..Offsets::NONE };
        for at in other.iter() {
            out = out.or(Offsets { sums: Sums::NONE, ..self }.plus(at.into()));
        }
        for (sums, plain) in [(self.sums, other), (other.sums, self)] {
            out.sums.others |= sums.others && (plain.has_plain() || !plain.sums.is_empty());
            for (field, at) in sums.iter() {
                plain.iter().for_each(|by| out.sums.add((field, at.and_then(|at| at.checked_add(by)))));
                if plain.others {
                    out.sums.add((field, None));
                }
            }
        }
        // Of two relocations it is not known which field lies in the other.
        if out.sums.others || !self.sums.is_empty() && !other.sums.is_empty() {
            out.sums = Sums::OTHERS;
        }
        out
    }

    /// What `with` makes of each; what is not known of relocated numbers stays so.
    pub fn map(self, with: impl Fn(u64) -> Option<u64>) -> Offsets {
        let sums = if self.is_relocated() { Sums::OTHERS } else { Sums::NONE };
        let mut out = Offsets { sums, others: self.others, ..Offsets::NONE };
        self.iter().for_each(|number| out.add(with(number.into())));
        out
    }

    /// The same for a register that is no address: where these are many, any.
    pub fn few(self) -> Offsets {
        let many = self.known.iter().map(|word| word.count_ones()).sum::<u32>() > MOST_NUMBERS;
        if many || self.others { Offsets { known: [0; 4], others: true, ..self } } else { self }
    }

    /// Whether relocation may have a part in it.
    pub fn is_relocated(&self) -> bool {
        !self.sums.is_empty()
    }

    /// Whether it may be one that no relocation had a part in.
    fn has_plain(&self) -> bool {
        self.others || self.known != [0; 4]
    }

    /// Those that are known and that no relocation had a part in.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        let has = move |at: &u16| self.known.get(usize::from(at >> 6)).is_some_and(|word| word >> (at & 63) & 1 != 0);
        (0..BYTES).filter(has)
    }

    /// Those that are the sum of a field's place and so many bytes.
    pub fn sums(self) -> impl Iterator<Item = Sum> {
        self.sums.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_each_with_each() {
        let (one, four, hash, other) =
            (Offsets::number(1), Offsets::number(4), Offsets::relocated(Some(7)), Offsets::OTHERS);
        let either = one.or(four);
        assert_eq!(either.sums_with(either).iter().collect::<Vec<_>>(), [2, 5, 8]);
        assert_eq!(either.sums_with(hash).sums().collect::<Vec<_>>(), [(7, Some(1)), (7, Some(4))]);
        assert_eq!(hash.sums_with(either), either.sums_with(hash));
        assert_eq!(hash.sums_with(other).sums().collect::<Vec<_>>(), [(7, None)]);
        assert!(!hash.sums_with(other).others && hash.or(one).sums_with(other).others);
        let two = hash.sums_with(Offsets::relocated(Some(8)));
        assert!(two.is_relocated() && !two.others && two.sums().next().is_none());
        assert!(Offsets::number(255).plus(1).others && four.plus(-5).others);
        assert_eq!(hash.plus(4).plus(-4), hash);
    }

    #[test]
    fn what_grows_without_end_becomes_any() {
        let mut sums = Offsets::NONE;
        let mut numbers = Offsets::NONE;
        for n in 0..100 {
            sums = sums.or(Offsets::relocated(Some(3)).plus(n));
            numbers = numbers.or(Offsets::number(n as u64)).few();
        }
        assert_eq!(sums.sums().collect::<Vec<_>>(), [(3, None)]);
        assert_eq!(numbers, Offsets::OTHERS);
        for n in 0..100 {
            sums = sums.or(Offsets::relocated(Some(n)));
        }
        assert!(sums.is_relocated() && sums.sums().next().is_none());
    }
}

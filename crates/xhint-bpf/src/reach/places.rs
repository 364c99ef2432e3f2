//! Places in the metadata that an address may have.

/// Bytes that metadata can have at most: its length is a byte and a multiple of 4 (`xdp_metalen_invalid` of
/// include/net/xdp.h).
const BYTES: u16 = 256;

/// What is known of an address that is one in the metadata on some way at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    /// A bit for each byte that it may be the address of, as far as that is known.
    bytes: [u64; 4],
    /// Whether it may be the address of others.
    pub others: bool,
    /// Whether it is, on every way, an address as the context has it: never 0.
    pub loaded: bool,
}

impl Places {
    /// The start.
    pub const START: Places = Places { bytes: [1, 0, 0, 0], others: false, loaded: true };
    /// Anywhere.
    pub const UNKNOWN: Places = Places { bytes: [0; 4], others: true, loaded: false };

    /// The same, of an address that is `loaded` from the context, or may as well be something else.
    pub fn known(self, loaded: bool) -> Places {
        Places { loaded, ..self }
    }

    /// Those of either.
    pub fn or(self, other: Places) -> Places {
        let [a, b, c, d] = self.bytes;
        let [e, f, g, h] = other.bytes;
        Places {
            bytes: [a | e, b | f, c | g, d | h],
            others: self.others || other.others,
            loaded: self.loaded && other.loaded,
        }
    }

    /// So many bytes further on.
    pub fn moved(self, by: i32) -> Places {
        if by == 0 {
            return self;
        }
        let mut out = Places { bytes: [0; 4], others: self.others, loaded: false };
        for at in self.iter() {
            let moved = i32::from(at).checked_add(by).and_then(|at| u16::try_from(at).ok()).filter(|at| *at < BYTES);
            let word = moved.and_then(|at| Some((out.bytes.get_mut(usize::from(at >> 6))?, at & 63)));
            match word {
                Some((word, bit)) => *word |= 1 << bit,
                None => out.others = true,
            }
        }
        out
    }

    /// Those that are known, by their distance from the start.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        let has = move |at: &u16| self.bytes.get(usize::from(at >> 6)).is_some_and(|word| word >> (at & 63) & 1 != 0);
        (0..BYTES).filter(has)
    }
}

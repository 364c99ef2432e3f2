//! A layout's id in text.

use std::fmt;

use crate::hint::number_from;

/// An id as it is shown: `0x` and eight digits, everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayoutId(pub u32);

impl fmt::Display for LayoutId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As text, so that a width can be asked for.
        f.pad(&format!("{:#010x}", self.0))
    }
}

impl LayoutId {
    /// An id as somebody types it: decimal, or hexadecimal behind `0x`, with or without zeroes in front.
    pub fn read(text: &str) -> Option<LayoutId> {
        number_from(text).and_then(|id| u32::try_from(id).ok()).map(LayoutId)
    }
}

/// What somebody calls a layout by: its id, or a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayoutRef<'t> {
    /// Its id, in any form that [`LayoutId::read`] takes: no name of C begins with a digit.
    Id(LayoutId),
    /// Its struct's name, or another that it answers to.
    Name(&'t str),
}

impl<'t> LayoutRef<'t> {
    /// What `text` calls one by.
    pub fn read(text: &'t str) -> LayoutRef<'t> {
        LayoutId::read(text).map_or(LayoutRef::Name(text), LayoutRef::Id)
    }

    /// The name, if it is one.
    pub fn name(self) -> Option<&'t str> {
        match self {
            LayoutRef::Id(_) => None,
            LayoutRef::Name(name) => Some(name),
        }
    }

    /// The places of those of `all` that it means: by id or by name, else by a name that they are declared `as`. `own` tells
    /// the first two of one, `answers` whether it answers to a name.
    pub fn among<'a, T: 'a>(
        self,
        all: &'a [T],
        own: impl Fn(&'a T) -> (LayoutId, &'a str),
        answers: impl Fn(&'a T, &str) -> bool,
    ) -> Vec<usize> {
        let places = |is_it: &dyn Fn(&'a T) -> bool| -> Vec<usize> {
            all.iter().enumerate().filter(|(_, one)| is_it(one)).map(|(n, _)| n).collect()
        };
        match self {
            LayoutRef::Id(id) => places(&|one| own(one).0 == id),
            LayoutRef::Name(name) => match places(&|one| own(one).1 == name) {
                none if none.is_empty() => places(&|one| answers(one, name)),
                some => some,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LayoutId, LayoutRef};

    #[test]
    fn shown_in_one_form_and_read_in_all() {
        assert_eq!(LayoutId(0x11).to_string(), "0x00000011");
        assert_eq!(format!("{:>12}|", LayoutId(0x11)), "  0x00000011|");
        for text in ["0x11", "0X11", "0x00000011", "17", "0x000000000011"] {
            assert_eq!(LayoutId::read(text), Some(LayoutId(0x11)), "{text}");
        }
        for text in ["", "0x", "11x", "0x100000000", "+17", "0x+11", "-1", "nic_meta"] {
            assert_eq!(LayoutId::read(text), None, "{text}");
        }
    }

    #[test]
    fn found_by_id_in_any_form_by_name_and_else_by_what_it_answers_to() {
        let all = [(0x11, "a", "meta"), (0x12, "b", "meta"), (0x13, "meta2", "a")];
        let among = |text| LayoutRef::read(text).among(&all, |l| (LayoutId(l.0), l.1), |l, name| l.2 == name);
        assert_eq!((among("0x12"), among("0X12"), among("18"), among("b")), (vec![1], vec![1], vec![1], vec![1]));
        assert_eq!((among("meta"), among("a"), among("19")), (vec![0, 1], vec![0], vec![2]), "its own name goes first");
        assert_eq!((among("20"), among("nothing")), (vec![], vec![]));
    }
}

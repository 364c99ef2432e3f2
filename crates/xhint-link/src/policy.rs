//! Which dispatch a program gets where that is left to the linker: the one place that decides it.
//!
//! The choice is a function of [`Criteria`] alone. It loads nothing and asks nobody, so that the same object comes of the same
//! input wherever it is linked. Where a kernel refuses what was chosen, whoever loads it links again and says so
//! ([`crate::LinkOptions::refused`]): then the next candidate has its turn.
//!
//! What the figures behind the limits are is told in docs/dispatch.md.

use crate::Dispatch;
use crate::table::SLOT_COUNT;

/// So many layouts are read sooner by a table, unless the packets of each come for long before those of another do.
const MANY_MIXED: usize = 4;
/// More layouts than this are found sooner by a table of ids and tail calls than by comparisons.
const MANY_LAYOUTS: usize = 64;
/// More instructions than this, over all copies, are too many for one program: the verifier looks at each program that is
/// called by tail call by itself, and gives up beyond a million steps.
const MANY_INSNS: usize = 100_000;

/// Whether a program gets an entry that tells packets apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// It does not, for this reason.
    None(String),
    /// It does, unless its packets cannot be told apart or nothing of it depends on them.
    IfPossible,
    /// It does, or linking is refused.
    Always,
}

/// Whether there is to be an entry. `layouts` is how many there are, `several` whether more than one of them answers to one
/// name, `count` whether packets are to be counted, which entries do.
pub fn entry(asked: Dispatch, layouts: usize, several: bool, count: bool) -> Entry {
    match asked {
        Dispatch::None => Entry::None(String::new()),
        Dispatch::Auto if several => Entry::Always,
        Dispatch::Auto if count && layouts > 0 => Entry::IfPossible,
        Dispatch::Auto => Entry::None("no name has more than one layout to answer to it".to_owned()),
        Dispatch::Static | Dispatch::Tail | Dispatch::Table => Entry::Always,
    }
}

/// What the choice among dispatches hangs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Criteria {
    /// Layouts that are linked for.
    pub layouts: usize,
    /// Instructions of all functions of the object.
    pub insns: usize,
    /// Programs that are dispatched.
    pub programs: usize,
    /// Why no program could have slots that tail calls find, if so.
    pub no_slots: Option<String>,
    /// What a table would be, if one can be made and is to be thought of.
    pub table: Option<Kinds>,
    /// Whether it is known that whoever loads the object may load a table.
    pub may_load: bool,
}

/// What a table makes of layouts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Layouts that are read.
    pub layouts: usize,
    /// Kinds of them, which is copies of the program; the most, if there are several programs.
    pub copies: usize,
}

impl std::fmt::Display for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.layouts, self.copies) {
            (1, _) => f.write_str("one layout is read, by one copy"),
            (layouts, 1) => write!(f, "{layouts} layouts are of one kind, and one copy reads them all"),
            (layouts, copies) => write!(f, "{layouts} layouts are of {copies} kinds, and each has a copy"),
        }
    }
}

/// A dispatch, and why it is one to try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Never [`Dispatch::Auto`], nor [`Dispatch::None`].
    pub kind: Dispatch,
    /// Empty where it was asked for.
    pub why: String,
}

/// Whether it is worth finding out what a table would be.
pub fn considers_table(asked: Dispatch, layouts: usize) -> bool {
    asked == Dispatch::Auto && layouts >= MANY_MIXED
}

/// Whether there are more layouts than tail calls have slots for. Unless few copies read them all, nothing but a table takes so
/// many, whoever will load it.
pub fn exceeds_slots(layouts: usize) -> bool {
    layouts > SLOT_COUNT as usize
}

/// The dispatches to try, the best first: one, where it was asked for.
pub fn candidates(asked: Dispatch, criteria: &Criteria, refused: &[Dispatch]) -> Vec<Candidate> {
    match (asked, &criteria.no_slots) {
        (Dispatch::Tail, Some(why)) => vec![Candidate { kind: Dispatch::Static, why: why.clone() }],
        (Dispatch::Auto, _) => {
            let mut all = vec![by_copies(criteria)];
            if let Some(kinds) = criteria.table {
                // An object asks for more rights than its author expects only where there is no other.
                let pays = criteria.may_load && kinds.copies <= criteria.layouts / 2;
                let more =
                    if pays { "in which order their packets come costs nothing" } else { "copies would be too many" };
                let table = Candidate { kind: Dispatch::Table, why: format!("{kinds}; {more}") };
                all.insert(if pays { 0 } else { 1 }, table);
            }
            all.retain(|candidate| !refused.contains(&candidate.kind));
            all
        }
        (asked, _) => vec![Candidate { kind: asked, why: String::new() }],
    }
}

/// A dispatch with a copy for each layout.
fn by_copies(criteria: &Criteria) -> Candidate {
    let Criteria { layouts, insns, programs, ref no_slots, .. } = *criteria;
    let all = insns.checked_mul(layouts).and_then(|n| n.checked_mul(programs));
    let (kind, why) = if layouts == 1 {
        (Dispatch::Static, "one layout; the entry tells its packets from others, and counts".to_owned())
    } else if exceeds_slots(layouts) {
        (Dispatch::Static, format!("{layouts} layouts are more than tail calls have slots for"))
    } else if layouts > MANY_LAYOUTS {
        (Dispatch::Tail, format!("{layouts} layouts are more than {MANY_LAYOUTS}, so a table finds them sooner"))
    } else if all.is_none_or(|all| all > MANY_INSNS) {
        let why = format!("{layouts} copies of {insns} instructions might be too much for the verifier in one program");
        (Dispatch::Tail, why)
    } else {
        let why = "layouts are few enough to be told apart by comparisons, which need nothing at run time";
        (Dispatch::Static, format!("{layouts} {why}"))
    };
    match no_slots {
        Some(why) if kind == Dispatch::Tail => Candidate { kind: Dispatch::Static, why: why.clone() },
        _ => Candidate { kind, why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn criteria(layouts: usize) -> Criteria {
        Criteria { layouts, insns: 100, programs: 1, no_slots: None, table: None, may_load: true }
    }

    fn kinds(asked: Dispatch, criteria: &Criteria) -> Vec<Dispatch> {
        let all = candidates(asked, criteria, &[]);
        assert!(all.iter().all(|c| c.why.is_empty() == (asked == c.kind)), "{all:?}");
        all.into_iter().map(|c| c.kind).collect()
    }

    #[test]
    fn what_is_asked_for_is_what_there_is() {
        for asked in [Dispatch::Static, Dispatch::Tail, Dispatch::Table] {
            assert_eq!(kinds(asked, &criteria(1000)), [asked]);
            assert_eq!(entry(asked, 1, false, false), Entry::Always);
        }
        assert!(matches!(entry(Dispatch::None, 3, true, true), Entry::None(_)));
    }

    #[test]
    fn left_alone_layouts_are_told_apart_by_what_fits_their_number_and_the_program() {
        for (layouts, kind) in [
            (1, Dispatch::Static),
            (64, Dispatch::Static),
            (65, Dispatch::Tail),
            (4096, Dispatch::Tail),
            // What no table can be made for.
            (4097, Dispatch::Static),
        ] {
            assert_eq!(kinds(Dispatch::Auto, &criteria(layouts)), [kind], "{layouts}");
        }
        assert_eq!(kinds(Dispatch::Auto, &Criteria { insns: 50_000, ..criteria(3) }), [Dispatch::Tail]);
        assert_eq!(kinds(Dispatch::Auto, &Criteria { insns: usize::MAX, ..criteria(3) }), [Dispatch::Tail]);
    }

    #[test]
    fn a_table_comes_first_where_it_may_be_and_copies_are_shared() {
        let with = |layouts, copies| Criteria { table: Some(Kinds { layouts, copies }), ..criteria(layouts) };
        assert_eq!(kinds(Dispatch::Auto, &with(8, 4)), [Dispatch::Table, Dispatch::Static]);
        assert_eq!(kinds(Dispatch::Auto, &with(100, 1)), [Dispatch::Table, Dispatch::Tail]);
        // Else only if there can be no copies.
        assert_eq!(kinds(Dispatch::Auto, &with(8, 5)), [Dispatch::Static, Dispatch::Table]);
        // Where it is not known who will load it, only then too.
        let unknown = Criteria { may_load: false, ..with(5000, 1) };
        assert_eq!(kinds(Dispatch::Auto, &unknown), [Dispatch::Static, Dispatch::Table]);
        assert!(considers_table(Dispatch::Auto, 4) && !considers_table(Dispatch::Auto, 3));
        assert!(!considers_table(Dispatch::Static, 4));
        assert!(exceeds_slots(4097) && !exceeds_slots(4096));
    }

    #[test]
    fn what_a_kernel_refused_is_not_tried_again() {
        let criteria = Criteria { table: Some(Kinds { layouts: 8, copies: 2 }), ..criteria(8) };
        let all = candidates(Dispatch::Auto, &criteria, &[Dispatch::Table]);
        assert_eq!(all.iter().map(|c| c.kind).collect::<Vec<_>>(), [Dispatch::Static]);
        assert_eq!(candidates(Dispatch::Auto, &criteria, &[Dispatch::Table, Dispatch::Static]), []);
    }

    #[test]
    fn without_slots_there_are_no_tail_calls() {
        for asked in [Dispatch::Auto, Dispatch::Tail] {
            let criteria = Criteria { no_slots: Some("it is loaded on demand".to_owned()), ..criteria(100) };
            assert_eq!(kinds(asked, &criteria), [Dispatch::Static]);
        }
    }

    #[test]
    fn one_layout_alone_has_an_entry_only_to_count() {
        assert!(matches!(entry(Dispatch::Auto, 1, false, false), Entry::None(_)));
        assert_eq!(entry(Dispatch::Auto, 1, false, true), Entry::IfPossible);
        assert!(matches!(entry(Dispatch::Auto, 0, false, true), Entry::None(_)));
        assert_eq!(entry(Dispatch::Auto, 2, true, false), Entry::Always);
    }
}

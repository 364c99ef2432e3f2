//! Which layouts an object is linked for.

use std::collections::BTreeSet;

use xhint_btf::essential;
use xhint_relo::{Resolver, Wanted, check_binds};
use xhint_universe::{LayoutId, SourceId, Universe};

use crate::bind::asked;
use crate::plain::plain;
use crate::report::{LayoutReport, Report, Unbound};
use crate::{Error, LinkOptions, Object, Plain};

/// What is wrong where no layout is chosen.
const NONE: &str = "no layout answers to what the program asks for";
/// Layouts named where a name could be bound to one of them.
const MAX_OFFERED: usize = 3;

/// The layouts to link for.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Indices among the universe's.
    pub layouts: Vec<usize>,
    /// A name that several of them answer to, and their names.
    pub several: Option<(String, Vec<String>)>,
    pub unbound: Option<Unbound>,
    pub plain: Vec<Plain>,
    pub warnings: Vec<String>,
}

/// The names that the object asks for, of which layouts may be meant.
fn wanted<'o>(
    object: &'o Object,
    universe: &Universe,
    options: &'o LinkOptions,
) -> Result<BTreeSet<Wanted<'o>>, Error> {
    if universe.order() != object.order() {
        let nic = universe.sources().get(1).filter(|_| universe.absent_base().is_some());
        return Err(nic.map_or(Error::OtherOrder, |nic| Error::NicOrder { nic: nic.name().to_owned() }));
    }
    bound_once(options)?;
    Ok(object.relos().iter().filter_map(|r| asked(object, r, options)).collect())
}

/// The places among the universe's of the layouts that the object asks for.
///
/// # Errors
/// As [`Choice::of`].
pub fn all_asked(object: &Object, universe: &Universe, options: &LinkOptions) -> Result<Vec<usize>, Error> {
    let wanted = wanted(object, universe, options)?;
    let all = universe.layouts().iter().enumerate();
    Ok(all.filter(|(_, layout)| wanted.iter().any(|w| w.means(layout))).map(|(n, _)| n).collect())
}

impl Choice {
    /// The layouts that `options` name, else all that the object asks for.
    ///
    /// # Errors
    /// [`Error::NoLayout`] for a name that no layout has, [`Error::OtherOrder`] and its like.
    pub fn of(object: &Object, universe: &Universe, options: &LinkOptions) -> Result<Choice, Error> {
        let wanted = wanted(object, universe, options)?;
        let idle = check_binds(&options.bind_fields, object.btf(), universe)?;
        let is_asked = |n: &usize| universe.layouts().get(*n).is_some_and(|l| wanted.iter().any(|w| w.means(l)));
        let mut out = Choice::default();
        // All names that linking will ask for in one pass over each BTF, not one pass a name or a question.
        let look = || {
            Resolver::new(object.btf(), universe, options.binding(None))
                .prepare(object.relos().iter().map(|relo| &relo.core));
        };
        if let Some(names) = &options.layouts {
            for name in names {
                let found = named(universe, name)?;
                if !found.iter().any(is_asked) {
                    out.warnings.push(format!("the program asks for no struct that layout '{name}' answers to"));
                    look();
                    out.offer(universe, &wanted, found.iter().copied());
                }
                out.layouts.extend(found);
            }
            out.layouts.sort_unstable();
            out.layouts.dedup();
        } else {
            out.layouts = (0..universe.layouts().len()).filter(is_asked).collect();
        }
        // Who reads all without CO-RE asks for none.
        let all: Vec<usize> = (0..universe.layouts().len()).collect();
        let found = plain(object, universe, options, if options.layouts.is_none() { &all } else { &out.layouts });
        out.plain = found.plain;
        if out.layouts.is_empty() {
            look();
            out.linked_for_none(universe, &wanted, found.anything);
        }
        out.warnings.extend(out.plain.iter().map(Plain::to_string));
        out.useless_binds(object, options);
        out.warnings.extend(idle.iter().map(|bind| {
            format!(
                "no layout is called '{}', so binding '{}' to '{}' does nothing",
                bind.target.of, bind.local, bind.target
            )
        }));
        out.warnings.extend(universe.sources().iter().filter_map(xhint_universe::Source::differs));
        for wanted in &wanted {
            let all: Vec<_> =
                out.layouts.iter().filter(|n| universe.layouts().get(**n).is_some_and(|l| wanted.means(l))).collect();
            if all.len() > 1 {
                let label = |n: &&usize| LayoutReport::of(universe, **n).map(|l| l.label());
                let name = wanted.bound.unwrap_or(wanted.name).to_owned();
                out.several.get_or_insert((name, all.iter().filter_map(label).collect()));
            }
        }
        Ok(out)
    }

    /// A report that tells of the choice, and of nothing that was done.
    pub fn report(&self, universe: &Universe) -> Report {
        Report {
            layouts: self.layouts.iter().filter_map(|n| LayoutReport::of(universe, *n)).collect(),
            unbound: self.unbound.clone(),
            plain: self.plain.clone(),
            warnings: self.warnings.clone(),
            ..Report::default()
        }
    }

    /// Says what a program gets that is linked for no layout.
    fn linked_for_none(&mut self, universe: &Universe, wanted: &BTreeSet<Wanted<'_>>, plainly: Option<String>) {
        let lacks = |w: &&Wanted<'_>| universe.candidates(SourceId::BASE, w.name).is_empty();
        let lacking: BTreeSet<_> = wanted.iter().filter(lacks).copied().collect();
        for w in &lacking {
            if let Some((source, _)) = universe.nic_candidates(w.name).first() {
                let file = universe.source(*source).map_or("", |s| s.name());
                self.warnings.push(format!(
                    "{NONE}; it is linked for none, and reads '{name}' as {file} has it, whatever a packet carries; to make \
                     that a layout, tag it with xhint:layout, or name it",
                    name = w.name
                ));
            }
        }
        self.offer(universe, &lacking, 0..universe.layouts().len());
        let nowhere = self.unbound.as_ref().map(|u| u.names.join("', '"));
        if let Some(names) = nowhere {
            self.warnings.push(format!("{NONE}; it is linked for none, and finds nothing of '{names}'"));
        } else if self.warnings.is_empty() && self.plain.is_empty() {
            self.warnings.push(match plainly {
                Some(place) => format!(
                    "{NONE}, which is nothing by CO-RE; it is linked for none, and {place} reads metadata at an offset that the \
                     program was compiled with, whatever a packet carries"
                ),
                None => format!("{NONE}, which is nothing of metadata; it is linked for none"),
            });
        }
    }

    /// Notes names that lead nowhere, and layouts that they could be bound to.
    fn offer(&mut self, universe: &Universe, wanted: &BTreeSet<Wanted<'_>>, layouts: impl Iterator<Item = usize>) {
        let lost = |w: &&Wanted<'_>| {
            !w.is_metadata(universe)
                && universe.candidates(SourceId::BASE, w.name).is_empty()
                && universe.nic_candidates(w.name).is_empty()
        };
        let mut names: Vec<String> = wanted.iter().filter(lost).map(|w| w.name.to_owned()).collect();
        names.dedup();
        let layouts = layouts.filter_map(|n| universe.layouts().get(n)).map(|l| l.name.clone()).take(MAX_OFFERED);
        if !names.is_empty() {
            self.unbound = Some(Unbound { names, layouts: layouts.collect() });
        }
    }

    fn useless_binds(&mut self, object: &Object, options: &LinkOptions) {
        let roots: Vec<_> = object.relos().iter().filter_map(|r| object.btf().ty(r.core.type_id)).collect();
        let known = |from: &str| roots.iter().any(|root| root.name() == from || essential(root.name()) == from);
        for (from, to) in options.bind.iter().filter(|(from, _)| !known(from)) {
            self.warnings.push(format!("the program asks nothing of a '{from}', so binding it to '{to}' does nothing"));
        }
    }
}

/// Checks that no name is bound to two.
fn bound_once(options: &LinkOptions) -> Result<(), Error> {
    for (n, (name, to)) in options.bind.iter().enumerate() {
        let before = options.bind.iter().take(n).find(|(other, old)| other == name && old != to);
        if let Some((_, first)) = before {
            return Err(Error::BoundTwice { name: name.clone(), first: first.clone(), second: to.clone() });
        }
    }
    Ok(())
}

/// The layouts that a name or an id means, at least one.
pub fn named(universe: &Universe, wanted: &str) -> Result<Vec<usize>, Error> {
    let found = universe.called(wanted);
    if found.is_empty() {
        let have: Vec<_> = universe.layouts().iter().map(|l| format!("{} ({})", l.name, LayoutId(l.id))).collect();
        let have = if have.is_empty() { "none".to_owned() } else { have.join(", ") };
        return Err(Error::NoLayout { name: wanted.to_owned(), have });
    }
    Ok(found)
}

//! One more NIC BTF, held against what runs.

use std::collections::HashSet;
use std::sync::Arc;

use xhint_link::Link;
use xhint_universe::{Layout, LayoutId, LayoutRef, SourceId, Universe};

use crate::described::Described;
use crate::error::{Error, Result};
use crate::linker::{Linker, link_options};
use crate::named::names;
use crate::parsed::Parsed;
use crate::state::{Addition, Change, LayoutState, Source, State};

/// Which layouts of a NIC BTF are to come, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Which {
    /// Only those that are called so, by name, by id or by a name that they answer to; a struct becomes one by being named. None
    /// stands for all.
    pub layouts: Vec<String>,
    /// Names or ids of those that are tried first, where a packet can pass for several.
    pub first: Vec<String>,
}

/// A NIC BTF that is to come to what runs, which may have come before with fewer layouts.
pub(crate) struct Coming<'r> {
    /// What was written down before.
    pub before: &'r State,
    nic: Source,
    /// The place it had already.
    pub at: Option<usize>,
    /// Its place among those of the state.
    pub number: usize,
    /// What is known of all that are there, and the one that comes.
    pub universe: Universe,
    /// What will be written down, but for the layouts that come.
    pub state: State,
    /// The places of these among the universe's.
    pub new: Vec<usize>,
    /// Names that make layouts of structs which no tag does.
    pub named: Vec<String>,
}

impl<'r> Coming<'r> {
    /// # Errors
    /// [`Error::NoLayout`] and [`Error::NotAsked`] if nothing can come of it; [`Error::Layout`] if it cannot stand beside
    /// what is there.
    pub fn new(linker: &Linker, before: &'r State, object: &Parsed, nic: Source, which: &Which) -> Result<Coming<'r>> {
        let named = names(&which.layouts).filter(|name| !before.options.named.contains(name));
        let named: Vec<String> = named.cloned().collect();
        let mut state = before.clone();
        // The same file is noted once.
        let at = before.nics.iter().position(|there| *there == nic);
        let number = state.put_nic(at, nic.clone());
        state.options.named.extend_from_slice(&named);
        // All together, so that two layouts with one id are found out.
        let source = SourceId::nic(number);
        let universe = linker.universe_beside(&state, source, &object.object)?;
        let own: Vec<&Layout> = universe.layouts().iter().filter(|l| l.is_of(source)).collect();
        let called = |name: &String| {
            LayoutRef::read(name).among(&own, |l| (LayoutId(l.id), l.name.as_str()), |l, name| l.answers(name))
        };
        let called: Vec<Vec<usize>> = which.layouts.iter().map(called).collect();
        if let Some((name, _)) = which.layouts.iter().zip(&called).find(|(_, called)| called.is_empty()) {
            let have: Vec<_> = own.iter().map(|l| format!("{} ({})", l.name, LayoutId(l.id))).collect();
            return Err(Error::NoLayoutCalled { path: nic.path, which: name.clone(), have: have.join(", ") });
        }
        if own.is_empty() {
            return Err(Error::NoLayout { path: nic.path });
        }
        let options = link_options(&state.options);
        let described = Described::of(&universe, source, &object.object, &options);
        let mut nic = nic;
        nic.described = Some(Arc::new(described));
        state.put_nic(Some(number), nic.clone());
        let asked = object.object.asked(&universe, &options).map_err(|e| object.refused(e))?;
        let asked: HashSet<u32> = asked.into_iter().map(|l| l.id).collect();
        let chosen = |n: usize| called.is_empty() || called.iter().flatten().any(|called| *called == n);
        let wanted = own.iter().enumerate().filter(|(n, l)| asked.contains(&l.id) && chosen(*n));
        let wanted: HashSet<u32> = wanted.map(|(_, l)| l.id).collect();
        let there: HashSet<u32> = before.layouts.iter().map(|l| l.id).collect();
        let own: HashSet<u32> = own.iter().map(|l| l.id).collect();
        let new = positions(&universe, |l| wanted.contains(&l.id) && !there.contains(&l.id));
        state.layouts.iter_mut().filter(|l| own.contains(&l.id)).for_each(|l| l.is_also_of(number));
        if new.is_empty() && own.is_disjoint(&there) {
            return Err(Error::NotAsked { path: nic.path });
        }
        Ok(Coming { before, nic, at, number, universe, state, new, named })
    }

    /// That it came with these `layouts`.
    pub fn change(&self, layouts: Vec<LayoutState>) -> Change {
        let (has, named) = (|l: &LayoutState| l.also.contains(&self.number), self.named.clone());
        let also = (0..).zip(&self.state.layouts).filter(|(_, l)| has(l)).map(|(n, _)| n).collect();
        Change::Added(Addition { nic: self.nic.clone(), at: self.at, also, layouts, named })
    }

    /// The layouts that come.
    pub fn layouts(&self) -> impl Iterator<Item = &Layout> {
        self.new.iter().filter_map(|n| self.universe.layouts().get(*n))
    }
}

/// The places among the universe's of layouts that are so.
pub(crate) fn positions(universe: &Universe, is_so: impl Fn(&Layout) -> bool) -> Vec<usize> {
    let all = universe.layouts().iter().enumerate();
    all.filter(|(_, layout)| is_so(layout)).map(|(n, _)| n).collect()
}

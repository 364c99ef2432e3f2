//! What resolvers of one object and one universe have in common: the tags of each BTF are found once, however many of its
//! layouts are asked.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use xhint_btf::Btf;
use xhint_layout::Tags;
use xhint_universe::{SourceId, Universe};

use crate::meeting::LocalHints;

/// It comes to be as it is asked for.
#[derive(Debug, Default)]
pub struct Shared<'a> {
    tags: RefCell<HashMap<SourceId, Rc<Tags<'a>>>>,
    hints: OnceCell<LocalHints<'a>>,
}

impl<'a> Shared<'a> {
    /// The tags of one of the universe's BTFs.
    pub(crate) fn tags(&self, universe: &'a Universe, source: SourceId) -> Option<Rc<Tags<'a>>> {
        let btf: &Btf = universe.source(source)?.btf();
        Some(Rc::clone(self.tags.borrow_mut().entry(source).or_insert_with(|| Rc::new(Tags::of(btf)))))
    }

    /// What the fields of the program mean, whose BTF is `local`.
    pub(crate) fn hints(&self, local: &'a Btf) -> &LocalHints<'a> {
        self.hints.get_or_init(|| LocalHints::of(local))
    }
}

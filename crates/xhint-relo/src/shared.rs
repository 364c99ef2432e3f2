//! What resolvers of one object and one universe have in common: the tags of each BTF are found once, however many of its
//! layouts are asked.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use xhint_btf::Btf;
use xhint_layout::Tags;
use xhint_universe::{SourceId, Universe};

/// It comes to be as it is asked for.
#[derive(Debug, Default)]
pub struct Shared<'a> {
    tags: RefCell<HashMap<SourceId, Rc<Tags<'a>>>>,
    /// The program's.
    own: OnceCell<Rc<Tags<'a>>>,
}

impl<'a> Shared<'a> {
    /// The tags of one of the universe's BTFs.
    pub(crate) fn tags(&self, universe: &'a Universe, source: SourceId) -> Option<Rc<Tags<'a>>> {
        let btf: &Btf = universe.source(source)?.btf();
        Some(Rc::clone(self.tags.borrow_mut().entry(source).or_insert_with(|| Rc::new(Tags::of(btf)))))
    }

    /// The tags of the program, whose BTF is `local`.
    pub(crate) fn own_tags(&self, local: &'a Btf) -> Rc<Tags<'a>> {
        Rc::clone(self.own.get_or_init(|| Rc::new(Tags::of(local))))
    }
}

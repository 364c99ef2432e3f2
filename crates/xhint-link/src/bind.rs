//! An object's relocations under a choice of layouts: which layout each name means, and what the answers make of the
//! code.

use xhint_relo::binding::may_be_layout;
use xhint_relo::{Binding, Bits, Explanation, Miss, RelocKind, Resolution, Resolver, Wanted, patch};
use xhint_universe::{Layout, Universe};

use crate::variant::Variant;
use crate::{Error, LinkOptions, Object, Relo};

/// One choice of layouts. A name means one of them at most.
pub struct Bound<'a> {
    object: &'a Object,
    /// One for each layout, or a single one for none.
    resolvers: Vec<Resolver<'a>>,
    /// What the layouts are called.
    names: Vec<&'a str>,
    /// By relocation: which of them answers.
    which: Vec<usize>,
    /// By relocation.
    answers: Vec<Resolution>,
    /// By relocation: whether its instruction was poisoned.
    poisoned: Vec<bool>,
}

impl<'a> Bound<'a> {
    /// Resolves all relocations with these layouts (indices among the universe's) bound, or with none.
    ///
    /// # Errors
    /// [`Error::Relo`] for a relocation that makes no sense or has several answers; [`Error::Patch`] for an
    /// instruction that it does not fit.
    pub fn new(
        object: &'a Object,
        universe: &'a Universe,
        layouts: &[usize],
        options: &LinkOptions,
    ) -> Result<(Bound<'a>, Variant<'a>), Error> {
        let binding = |layout| Binding { layout, bind: options.bind.clone(), walk: options.walk };
        let resolver = |layout| Resolver::new(object.btf(), universe, binding(layout));
        let mut resolvers: Vec<_> = layouts.iter().map(|n| resolver(Some(*n))).collect();
        if resolvers.is_empty() {
            resolvers.push(resolver(None));
        }
        // All names in one pass over each BTF; which resolver asks is no matter, for the universe remembers.
        if let Some(resolver) = resolvers.first_mut() {
            resolver.reserve(object.relos().len());
            resolver.prepare(object.relos().iter().map(|relo| &relo.core));
        }
        let which = object.relos().iter().map(|relo| {
            let means = |n: &usize| universe.layouts().get(*n).is_some_and(|l| asks_for(object, relo, l, options));
            layouts.iter().position(means).unwrap_or(0)
        });
        let which: Vec<usize> = which.collect();
        let mut answers = Vec::with_capacity(object.relos().len());
        for (number, (relo, which)) in object.relos().iter().zip(&which).enumerate() {
            let Some(resolver) = resolvers.get_mut(*which) else { continue };
            let answer = resolver.resolve(&relo.core);
            answers.push(answer.map_err(|source| relo_error(object, number, relo, source))?);
        }
        let names = layouts.iter().filter_map(|n| universe.layouts().get(*n)).map(|l| l.name.as_str()).collect();
        let mut bound = Bound { object, resolvers, names, which, answers, poisoned: Vec::new() };
        let variant = bound.patch()?;
        Ok((bound, variant))
    }

    fn patch(&mut self) -> Result<Variant<'a>, Error> {
        let (object, answers, poisoned) = (self.object, &self.answers, &mut self.poisoned);
        Variant::new(object, |number, relo, insn| {
            let Some(answer) = answers.get(number) else { return Ok(Some(insn)) };
            let place = || object.location(relo);
            let patched = patch(insn, answer).map_err(|source| Error::Patch { place: place(), number, source })?;
            poisoned.push(patched.is_none());
            Ok(patched)
        })
    }

    /// The answer to relocation `number`, if its instruction has a value.
    pub fn value(&self, number: usize) -> Option<u64> {
        let answer = self.answers.get(number)?;
        (self.poisoned.get(number) == Some(&false)).then_some(answer.new)
    }

    /// What the compiler wrote.
    pub fn was(&self, number: usize) -> u64 {
        self.answers.get(number).map_or(0, |a| a.orig)
    }

    /// The layout that answers to relocation `number`, or that is bound where it asks for none.
    pub fn layout(&self, number: usize) -> Option<&'a str> {
        self.names.get(*self.which.get(number)?).copied()
    }

    /// Relocation `number` in words.
    ///
    /// # Errors
    /// As [`Bound::new`].
    pub fn explain(&mut self, number: usize) -> Result<Explanation, Error> {
        let relo = self.object.relos().get(number).ok_or(Error::NoRelo { number })?;
        let which = self.which.get(number).copied().unwrap_or(0);
        let resolver = self.resolvers.get_mut(which).ok_or(Error::NoRelo { number })?;
        resolver.explain(&relo.core).map_err(|source| relo_error(self.object, number, relo, source))
    }

    /// Why relocation `number` has no value, in words.
    pub fn why(&self, number: usize, words: &Explanation) -> String {
        match (&words.miss, &words.found, self.answers.get(number)) {
            (Some(miss), ..) => miss.to_string(),
            (None, Some(found), _) if found.bitfield => format!(
                "it is a bitfield of {} bits there, which no plain read can get at; read it with \
                 BPF_CORE_READ_BITFIELD(), or where its struct is behind a kernel pointer with \
                 BPF_CORE_READ_BITFIELD_PROBED()",
                found.bits
            ),
            (None, _, Some(answer)) if answer.bits == Bits::Differ => {
                "it is a bitfield in the program and none there, which \
                 no plain read can get at; read it with BPF_CORE_READ_BITFIELD()"
                    .to_owned()
            }
            (None, _, Some(answer)) if answer.size_conflict => format!(
                "it has {} bytes there and {} in the program; as it is signed or not a number, it cannot be read with another width",
                answer.new_size, answer.orig_size
            ),
            _ => Miss::Mismatch.to_string(),
        }
    }
}

/// Whether the root of a relocation means `layout`, as [`xhint_relo`] binds names.
pub fn asks_for(object: &Object, relo: &Relo, layout: &Layout, options: &LinkOptions) -> bool {
    asked(object, relo, options).is_some_and(|wanted| wanted.means(layout))
}

/// What a relocation looks for, if it may be a layout.
pub fn asked<'o>(object: &'o Object, relo: &Relo, options: &'o LinkOptions) -> Option<Wanted<'o>> {
    if relo.core.kind == RelocKind::TypeIdLocal.raw() {
        return None;
    }
    let root = object.btf().ty(relo.core.type_id)?;
    let own = root.name();
    (may_be_layout(root.kind()) && !own.is_empty()).then(|| Wanted::of(&options.bind, own))
}

fn relo_error(object: &Object, number: usize, relo: &Relo, source: xhint_relo::Error) -> Error {
    Error::Relo { place: object.location(relo), number, source }
}

//! An object's relocations under a choice of layouts: which layout each name means, and what the answers make of the
//! code.

use std::rc::Rc;

use xhint_relo::binding::may_be_layout;
use xhint_relo::{Bits, Explanation, Miss, RelocKind, Resolution, Resolver, Shared, Wanted, patch};
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
    /// By relocation.
    answers: Vec<Answered>,
}

/// What a relocation was answered.
struct Answered {
    /// Which of the layouts it asks for. What asks for none is answered alike by all, so the first does.
    which: Option<usize>,
    resolution: Resolution,
    /// Whether its instruction was poisoned.
    poisoned: bool,
}

impl<'a> Bound<'a> {
    /// Resolves all relocations with these layouts (indices among the universe's) bound, or with none. Others for the same object
    /// and universe share `shared`.
    ///
    /// # Errors
    /// [`Error::Relo`] for a relocation that makes no sense or has several answers; [`Error::Patch`] for an
    /// instruction that it does not fit.
    pub fn new(
        object: &'a Object,
        universe: &'a Universe,
        layouts: &[usize],
        options: &LinkOptions,
        shared: &Rc<Shared<'a>>,
    ) -> Result<(Bound<'a>, Variant<'a>), Error> {
        let resolver = |layout| Resolver::sharing(object.btf(), universe, options.binding(layout), Rc::clone(shared));
        let mut resolvers: Vec<_> = layouts.iter().map(|n| resolver(Some(*n))).collect();
        if resolvers.is_empty() {
            resolvers.push(resolver(None));
        }
        // All names in one pass over each BTF; which resolver asks is no matter, for the universe remembers.
        if let Some(resolver) = resolvers.first_mut() {
            resolver.reserve(object.relos().len());
            resolver.prepare(object.relos().iter().map(|relo| &relo.core));
        }
        let mut answers = Vec::with_capacity(object.relos().len());
        for (number, relo) in object.relos().iter().enumerate() {
            let means = |n: &usize| universe.layouts().get(*n).is_some_and(|l| asks_for(object, relo, l, options));
            let which = layouts.iter().position(means);
            let resolver = one_of(&mut resolvers, which).ok_or(Error::NoRelo { number })?;
            let resolution = resolver.resolve(&relo.core);
            let resolution = resolution.map_err(|source| relo_error(object, number, relo, source))?;
            answers.push(Answered { which, resolution, poisoned: false });
        }
        let names = layouts.iter().filter_map(|n| universe.layouts().get(*n)).map(|l| l.name.as_str()).collect();
        let mut bound = Bound { object, resolvers, names, answers };
        let variant = bound.patch()?;
        Ok((bound, variant))
    }

    fn patch(&mut self) -> Result<Variant<'a>, Error> {
        let (object, answers) = (self.object, &mut self.answers);
        Variant::new(object, |number, relo, insn| {
            let answered = answers.get_mut(number).ok_or(Error::NoRelo { number })?;
            let place = || object.location(relo);
            let patched = patch(insn, &answered.resolution);
            let patched = patched.map_err(|source| Error::Patch { place: place(), number, source })?;
            answered.poisoned = patched.is_none();
            Ok(patched)
        })
    }

    fn answered(&self, number: usize) -> Result<&Answered, Error> {
        self.answers.get(number).ok_or(Error::NoRelo { number })
    }

    /// The answer to relocation `number`, if its instruction has a value.
    ///
    /// # Errors
    /// [`Error::NoRelo`].
    pub fn value(&self, number: usize) -> Result<Option<u64>, Error> {
        self.answered(number).map(|a| (!a.poisoned).then_some(a.resolution.new))
    }

    /// The first bit of the field that relocation `number` leads to, from the start of its layout, if it has a place there.
    pub fn bit_offset(&self, number: usize) -> Option<u32> {
        let answered = self.answers.get(number).filter(|a| !a.poisoned)?;
        answered.resolution.target.map(|_| answered.resolution.bit_offset)
    }

    /// The path of the field that relocation `number` leads to, in its layout.
    pub fn path(&mut self, number: usize) -> Option<String> {
        let relo = self.object.relos().get(number)?;
        let which = self.answers.get(number)?.which;
        one_of(&mut self.resolvers, which)?.path(&relo.core).ok()?
    }

    /// What the compiler wrote.
    ///
    /// # Errors
    /// [`Error::NoRelo`].
    pub fn was(&self, number: usize) -> Result<u64, Error> {
        self.answered(number).map(|a| a.resolution.orig)
    }

    /// The layout that answers to relocation `number`, or that is bound where it asks for none.
    ///
    /// # Errors
    /// [`Error::NoRelo`].
    pub fn layout(&self, number: usize) -> Result<Option<&'a str>, Error> {
        let which = self.answered(number)?.which;
        Ok(which.map_or_else(|| self.names.first(), |n| self.names.get(n)).copied())
    }

    /// Relocation `number` in words.
    ///
    /// # Errors
    /// As [`Bound::new`].
    pub fn explain(&mut self, number: usize) -> Result<Explanation, Error> {
        let relo = self.object.relos().get(number).ok_or(Error::NoRelo { number })?;
        let which = self.answered(number)?.which;
        let resolver = one_of(&mut self.resolvers, which).ok_or(Error::NoRelo { number })?;
        resolver.explain(&relo.core).map_err(|source| relo_error(self.object, number, relo, source))
    }

    /// Why relocation `number` has no value, in words.
    ///
    /// # Errors
    /// [`Error::NoRelo`].
    pub fn why(&self, number: usize, explanation: &Explanation) -> Result<String, Error> {
        let answer = &self.answered(number)?.resolution;
        Ok(match (&explanation.miss, &explanation.found) {
            (Some(miss), _) => miss.to_string(),
            (None, Some(found)) if found.bitfield => format!(
                "it is a bitfield of {} bits there, which no plain read can get at; read it with \
                 BPF_CORE_READ_BITFIELD(), or where its struct is behind a kernel pointer with \
                 BPF_CORE_READ_BITFIELD_PROBED()",
                found.bits
            ),
            (None, _) if answer.bits == Bits::Differ => "it is a bitfield in the program and none there, which \
                 no plain read can get at; read it with BPF_CORE_READ_BITFIELD()"
                .to_owned(),
            (None, _) if answer.size_conflict => format!(
                "it has {} bytes there and {} in the program; as it is signed or not a number, it cannot be read with another width",
                answer.new_size, answer.orig_size
            ),
            _ => Miss::Mismatch.to_string(),
        })
    }
}

/// The resolver of a layout, or where none is asked for, the first.
fn one_of<'r, 'a>(resolvers: &'r mut [Resolver<'a>], which: Option<usize>) -> Option<&'r mut Resolver<'a>> {
    match which {
        Some(n) => resolvers.get_mut(n),
        None => resolvers.first_mut(),
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

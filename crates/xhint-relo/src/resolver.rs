//! The relocations of one object against one universe.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::rc::Rc;

use xhint_btf::ext::CoreRelo;
use xhint_btf::{Btf, Type};
use xhint_universe::{SourceId, TypeRef, Universe};

use crate::binding::Targets;
use crate::matching::{Nonsense, Target, Way, by_names, find};
use crate::meeting::{Access, LayoutFields, LocalHints, Met, MetBy, asks_elsewhere};
use crate::shared::Shared;
use crate::spec::Spec;
use crate::value::{Value, conflict, value};
use crate::{Binding, Error, RelocKind};

/// The answer to a relocation: what [`patch()`](crate::patch()) needs to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolution {
    /// What is asked.
    pub kind: RelocKind,
    /// What the compiler put into the instruction.
    pub orig: u64,
    /// What belongs there.
    pub new: u64,
    /// There is no answer: the instruction must never run.
    pub poison: bool,
    /// Whether the instruction must hold `orig`.
    pub validate: bool,
    /// Bytes that the field takes locally; 0 if it is no plain field.
    pub orig_size: u32,
    /// Bytes that it takes in the target.
    pub new_size: u32,
    /// The sizes differ, and the value would not survive that: a load or store must be poisoned.
    pub size_conflict: bool,
    /// The type that answered; `None` if none did.
    pub target: Option<TypeRef>,
    /// Bits from the start of that type to the field.
    pub bit_offset: u32,
    /// Whether a load or store is of a bitfield: the compiler wrote its place within the word into the code behind it.
    pub bits: Bits,
}

/// What a layout's field is, if it or the program's is a bitfield.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bits {
    /// Neither is; or the type is no layout, of which is said what libbpf says.
    #[default]
    Plain,
    /// Both are the same bits, so that the code is right as it was compiled.
    Same,
    /// They differ, and no plain load or store can follow.
    Differ,
}

impl std::fmt::Display for Resolution {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.poison {
            true => f.write_str("nothing"),
            false if self.kind == RelocKind::FieldExists => write!(f, "bit {}", self.bit_offset),
            false => write!(f, "{}", self.new),
        }
    }
}

/// Resolves the relocations of one object, and remembers what it found.
#[derive(Debug)]
pub struct Resolver<'a> {
    pub(crate) local: &'a Btf,
    pub(crate) universe: &'a Universe,
    pub(crate) binding: Binding,
    /// By local type. As in libbpf, a type that failed once where others fitted is not asked again.
    targets: HashMap<u32, Targets>,
    answers: HashMap<(u32, u32, u32), Resolution>,
    /// The bound layout's fields, and what the program's mean, once they are asked for.
    fields: OnceCell<Option<LayoutFields<'a>>>,
    hints: OnceCell<LocalHints<'a>>,
    shared: Rc<Shared<'a>>,
}

impl<'a> Resolver<'a> {
    /// A resolver for the object whose `.BTF` is `local`.
    pub fn new(local: &'a Btf, universe: &'a Universe, binding: Binding) -> Self {
        Resolver::sharing(local, universe, binding, Rc::default())
    }

    /// The same, beside others for that object and universe, which find out once what is the same for all.
    pub fn sharing(local: &'a Btf, universe: &'a Universe, binding: Binding, shared: Rc<Shared<'a>>) -> Self {
        let (targets, answers) = (HashMap::new(), HashMap::new());
        let (fields, hints) = (OnceCell::new(), OnceCell::new());
        Resolver { local, universe, binding, targets, answers, fields, hints, shared }
    }

    /// Makes room for the answers to so many relocations.
    pub fn reserve(&mut self, relos: usize) {
        self.answers.reserve(relos);
    }

    /// Looks for all names that these relocations will ask for, in one pass over each BTF.
    pub fn prepare<'r>(&self, relos: impl IntoIterator<Item = &'r CoreRelo>) {
        let mut last = 0;
        let mut names: Vec<&str> = Vec::new();
        for relo in relos {
            // Relocations of one type mostly stand together.
            if relo.type_id != last && relo.kind != RelocKind::TypeIdLocal.raw() {
                last = relo.type_id;
                names.extend(self.local.ty(last).map(|ty| self.binding.wanted(ty.name()).name));
            }
        }
        names.sort_unstable();
        names.dedup();
        self.universe.require(names.into_iter().filter(|name| !name.is_empty()));
    }

    /// The answer to one relocation.
    ///
    /// # Errors
    /// [`Error`] if the relocation makes no sense or has several answers. That there is none is not an error: the
    /// resolution then says 0 (for "does it exist") or `poison`.
    pub fn resolve(&mut self, relo: &CoreRelo) -> Result<Resolution, Error> {
        let key = (relo.type_id, relo.access_str_off, relo.kind);
        if let Some(known) = self.answers.get(&key) {
            return Ok(*known);
        }
        let question = Question::of(self.local, relo)?;
        let answer = self.answer(&question)?;
        self.answers.insert(key, answer);
        Ok(answer)
    }

    fn answer(&mut self, question: &Question<'a>) -> Result<Resolution, Error> {
        let local = question.local_value(self.local)?;
        if question.kind == RelocKind::TypeIdLocal {
            return Ok(resolution(question.kind, local, Some(local), None));
        }
        if question.root.name().is_empty() {
            return Err(Error::Anonymous { id: question.root.id(), kind: question.root.kind().name() });
        }
        let targets = match self.targets.get(&question.root.id()) {
            Some(known) => known.clone(),
            None => self.binding.targets(self.universe, question.root.name(), question.root.kind()),
        };
        let (answer, narrowed) = match targets {
            Targets::Layout(at) => (self.ask(question, local, at, true)?, Targets::Layout(at)),
            Targets::Types(types) => match self.ask_all(question, local, &types) {
                Err(error) if self.is_open(&error) => (None, Targets::Types(types)),
                asked => asked?,
            },
            Targets::NoBase => {
                let why = self.universe.absent_base().unwrap_or_default().to_owned();
                return Err(Error::NoBase { what: self.describe(question), why });
            }
        };
        self.targets.insert(question.root.id(), narrowed);
        Ok(answer.unwrap_or_else(|| resolution(question.kind, local, None, None)))
    }

    /// Asks several types. All that answer must agree; those that don't fit are not asked again if any does.
    fn ask_all(
        &self,
        question: &Question<'a>,
        local: Value,
        types: &[TypeRef],
    ) -> Result<(Option<Resolution>, Targets), Error> {
        let mut fitting = Vec::new();
        let mut answer: Option<Resolution> = None;
        for &at in types {
            let Some(new) = self.ask(question, local, at, false)? else { continue };
            match &answer {
                Some(first) if question.differ(first, &new) => return Err(self.ambiguous(question, first, &new)),
                Some(_) => {}
                None => answer = Some(new),
            }
            fitting.push(at);
        }
        Ok((answer, Targets::Types(if fitting.is_empty() { types.to_vec() } else { fitting })))
    }

    /// Whether this is a question that nobody can answer, rather than a fault: for packets of no layout it is not known
    /// which NIC is meant, so where NICs disagree none of them answers.
    fn is_open(&self, error: &Error) -> bool {
        self.binding.layout.is_none() && !self.universe.layouts().is_empty() && error.is_between_nics()
    }

    /// The disagreement that left a question open.
    pub(crate) fn disagreement(&self, question: &Question<'a>, types: &[TypeRef]) -> Option<Error> {
        let local = question.local_value(self.local).ok()?;
        self.ask_all(question, local, types).err().filter(|e| self.is_open(e))
    }

    /// Asks one type; `None` if it does not fit.
    fn ask(
        &self,
        question: &Question<'a>,
        local: Value,
        at: TypeRef,
        layout: bool,
    ) -> Result<Option<Resolution>, Error> {
        let Some(source) = self.universe.source(at.source) else { return Ok(None) };
        let btf: &Btf = source.btf();
        let nonsense = |why: Nonsense| {
            let what = self.describe(question);
            Error::Target { what: format!("{what} in {}", self.place(at)), why }
        };
        let target = Target { btf, id: at.id, layout, walk: self.binding.walk };
        let Met::Field(spec, _) = self.meet(question, &question.spec, target)?.map_err(nonsense)? else {
            return Ok(None);
        };
        let mut new = value(btf, &spec, question.kind, self.local.order()).map_err(nonsense)?;
        if let (RelocKind::TypeIdTarget, true, Some(l)) = (question.kind, layout, self.binding.layout(self.universe)) {
            new.value = l.id.into();
        }
        let bits = match (bits(self.local, &question.spec), bits(btf, &spec)) {
            _ if !layout || question.kind != RelocKind::FieldByteOffset => Bits::Plain,
            (None, None) => Bits::Plain,
            (own, there) if own == there => Bits::Same,
            _ => Bits::Differ,
        };
        let answer = resolution(question.kind, local, Some(new), Some(at));
        Ok(Some(Resolution { bit_offset: spec.bit_offset, bits, ..answer }))
    }

    /// What a local spec meets in a target, if that is no nonsense.
    pub(crate) fn meet<'t>(
        &self,
        question: &Question<'a>,
        spec: &Spec<'a>,
        target: Target<'t>,
    ) -> Result<Result<Met<'t>, Nonsense>, Error> {
        let by_name = |found: Option<Spec<'t>>| found.map_or(Met::Nothing, |spec| Met::Field(spec, MetBy::Name));
        let layout = self.binding.layout(self.universe).filter(|_| target.layout && question.kind.is_field());
        let Some(layout) = layout else { return Ok(find(self.local, spec, target, question.kind).map(by_name)) };
        // Nearly always the name is all, and the layout's fields need not be gone through.
        if self.binding.bind_fields.is_empty() && !asks_elsewhere(layout, spec) {
            match by_names(self.local, spec, target) {
                Ok(Way::Lacking) => {}
                Ok(Way::Unfit) => return Ok(Ok(Met::Nothing)),
                Ok(Way::To(found)) => return Ok(Ok(by_name(Some(found)))),
                Err(nonsense) => return Ok(Err(nonsense)),
            }
        }
        let Some(fields) = self.fields()? else { return Ok(Ok(Met::Nothing)) };
        let access = Access { local: self.local, hints: self.hints()?, spec, binds: &self.binding.bind_fields };
        Ok(access.meet(target, fields))
    }

    fn fields(&self) -> Result<Option<&LayoutFields<'a>>, Error> {
        if let Some(known) = self.fields.get() {
            return Ok(known.as_ref());
        }
        let universe = self.universe;
        let Some(layout) = self.binding.layout(universe) else { return Ok(None) };
        let fault = |cause| Error::Layout { layout: layout.name.clone(), cause };
        let fields = LayoutFields::of(universe, layout, &self.shared).map_err(fault)?;
        Ok(self.fields.get_or_init(|| fields).as_ref())
    }

    /// What the program's fields mean; all tags of theirs are understood.
    fn hints(&self) -> Result<&LocalHints<'a>, Error> {
        if let Some(known) = self.hints.get() {
            return Ok(known);
        }
        let hints = LocalHints::sharing(self.local, &self.shared);
        if let Some((id, member, tag, cause)) = hints.fault() {
            let of = self.local.ty(id);
            let field = of.and_then(|of| of.member(member)).map_or("", |field| field.name).to_owned();
            let of = of.map_or_else(String::new, |of| format!("{} '{}'", of.kind(), of.name()));
            return Err(Error::Tag { of, field, tag: tag.to_owned(), cause });
        }
        Ok(self.hints.get_or_init(|| hints))
    }

    fn ambiguous(&self, question: &Question<'a>, first: &Resolution, second: &Resolution) -> Error {
        let place = |r: &Resolution| r.target.map_or_else(String::new, |at| self.place(at));
        let at = |r: &Resolution| r.target.unwrap_or(TypeRef { source: SourceId::BASE, id: 0 });
        Error::Ambiguous {
            what: self.describe(question),
            types: (at(first), at(second)),
            first: place(first),
            first_value: first.to_string(),
            second: place(second),
            second_value: second.to_string(),
        }
    }

    /// A type with its file, for messages.
    pub(crate) fn place(&self, at: TypeRef) -> String {
        let file = self.universe.source(at.source).map_or("?", |s| s.name());
        match self.universe.ty(at) {
            Some(ty) => format!("{} '{}' [{}] of {file}", ty.kind(), ty.name(), at.id),
            None => format!("type [{}] of {file}", at.id),
        }
    }
}

/// A relocation, read.
pub(crate) struct Question<'a> {
    pub(crate) kind: RelocKind,
    pub(crate) root: Type<'a>,
    pub(crate) spec: Spec<'a>,
    pub(crate) access: &'a str,
}

impl<'a> Question<'a> {
    pub(crate) fn of(local: &'a Btf, relo: &CoreRelo) -> Result<Self, Error> {
        let kind = RelocKind::from_raw(relo.kind).ok_or(Error::Kind(relo.kind))?;
        let root = local.ty(relo.type_id).filter(|_| relo.type_id != 0).ok_or(Error::NoType(relo.type_id))?;
        let access = local.str_at(relo.access_str_off);
        let wrong = |why| Error::Access {
            text: access.unwrap_or_default().to_owned(),
            id: root.id(),
            name: root.name().to_owned(),
            kind: root.kind().name(),
            why,
        };
        let access = access.ok_or_else(|| wrong("the string lies outside the string section"))?;
        let spec = Spec::parse(local, root.id(), access, kind).map_err(wrong)?;
        Ok(Question { kind, root, spec, access })
    }

    /// Whether two answers contradict each other. Two types never share an id, whatever the numbers in their BTFs.
    fn differ(&self, a: &Resolution, b: &Resolution) -> bool {
        self.kind == RelocKind::TypeIdTarget || (a.new, a.poison, a.bit_offset) != (b.new, b.poison, b.bit_offset)
    }

    fn local_value(&self, local: &Btf) -> Result<Value, Error> {
        value(local, &self.spec, self.kind, local.order()).map_err(|why| Error::Access {
            text: self.access.to_owned(),
            id: self.root.id(),
            name: self.root.name().to_owned(),
            kind: self.root.kind().name(),
            why,
        })
    }
}

fn resolution(kind: RelocKind, local: Value, new: Option<Value>, target: Option<TypeRef>) -> Resolution {
    use RelocKind::*;
    // What asks whether something exists, or for a type's id or size, has 0 for an answer where there is nothing.
    let zero = matches!(kind, FieldExists | EnumeratorExists | TypeExists | TypeMatches | TypeSize | TypeIdTarget);
    let found = new.unwrap_or_default();
    let size_conflict = new.is_some() && conflict(local, found);
    Resolution {
        kind,
        orig: local.value,
        new: found.value,
        poison: new.is_none() && !zero,
        validate: local.validate,
        orig_size: local.size,
        new_size: found.size,
        size_conflict,
        target,
        bit_offset: 0,
        bits: Bits::Plain,
    }
}

/// Of a bitfield, its first bit and how many it has.
fn bits(btf: &Btf, spec: &Spec<'_>) -> Option<(u32, u32)> {
    let last = spec.steps.last().filter(|step| step.name.is_some())?;
    let member = btf.ty(last.type_id)?.member(last.index)?;
    (member.bit_size != 0).then_some((spec.bit_offset, member.bit_size))
}

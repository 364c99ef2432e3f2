//! What a relocation means, in words for a person: the access as C has it, where it leads, and, if nowhere, what could
//! be meant instead. Made only when asked for; linking needs none of it.

use std::collections::HashSet;

use xhint_btf::ext::CoreRelo;
use xhint_btf::{Btf, Differs, Kind, Type, essential};
use xhint_layout::{FieldOrder, Hint, field_order};
use xhint_universe::{Source, SourceId, TypeRef};

use crate::binding::{Targets, may_be_layout};
use crate::matching::{Target, field_type, find, is_pointer};
use crate::meeting::{ID_FIELD, Met, MetBy};
use crate::resolver::Question;
use crate::spec::Spec;
use crate::{Error, RelocKind, Resolver, compat};

/// Levels of members that are searched for something similar.
const MAX_DEPTH: usize = 6;
/// How many suggestions are made.
const MAX_HINTS: usize = 3;

/// A relocation in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// What is asked.
    pub kind: RelocKind,
    /// The local root's name.
    pub root: String,
    /// The access in C words, such as `nic_meta.l3.v6.flow`.
    pub access: String,
    /// Where it leads.
    pub found: Option<FoundField>,
    /// Why it leads nowhere.
    pub miss: Option<Miss>,
}

/// Where an access leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundField {
    /// The BTF's name.
    pub file: String,
    /// The access in C words, as it reads there.
    pub access: String,
    /// By what the field was met.
    pub by: MetBy,
    /// Bits from the root type's start.
    pub bit_offset: u32,
    /// Width in bits; 0 if it has none.
    pub bits: u32,
    /// Whether it is a bitfield.
    pub bitfield: bool,
    /// The field's type in C words.
    pub ty: String,
}

/// Why an access leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Miss {
    /// No type of that name, or not of that kind; what similar names there are.
    NoType {
        /// The name looked for.
        name: String,
        /// Names that could be meant.
        similar: Vec<String>,
        /// Layouts there are, if the name could be meant for one.
        layouts: Vec<String>,
    },
    /// The name means metadata, and no layout is bound that answers to it.
    NoLayout,
    /// NIC BTFs give different answers, and no layout is bound that would tell whose counts: what they give.
    Disagree(Box<Error>),
    /// The type lacks a member or enumerator.
    NoMember {
        /// The type that was looked into.
        within: String,
        /// The name that is missing.
        name: String,
        /// Paths that could be meant.
        similar: Vec<String>,
        /// Where the layout has its id, if that is what was looked for.
        selector: Option<String>,
    },
    /// The type stands in the NIC BTF's distilled base by its size alone, and is not the base's of that name.
    Distilled {
        /// The type that was looked into.
        within: String,
        /// The member or enumerator that was looked for.
        name: String,
        /// In what it is not the base's.
        why: Differs,
    },
    /// The member is there, but of a type that does not fit.
    Type {
        /// The member's path.
        member: String,
        /// Its type as the program has it.
        local: String,
        /// Its type in the target.
        target: String,
    },
    /// The member is there, in the other byte order.
    ByteOrder {
        /// The member's path.
        member: String,
        /// Its type as the program has it.
        local: String,
        /// Its type in the target.
        target: String,
        /// A flavour of the struct, in the program, that has it in the target's order.
        flavour: Option<String>,
    },
    /// No member has the name, and several mean what it means.
    Several {
        /// The type that was looked into.
        within: String,
        /// The name that is missing.
        name: String,
        /// What it means.
        hint: Hint,
        /// The paths of those that mean it, too.
        fields: Vec<String>,
    },
    /// The index lies beyond the target's array.
    Index {
        /// The array's path.
        array: String,
        /// The index.
        index: u32,
        /// The array's length in the target.
        len: u32,
    },
    /// The member is a pointer, and pointers are not to be followed.
    Pointer {
        /// The member's path.
        member: String,
    },
    /// The type is there, but does not match member by member.
    Mismatch,
}

impl std::fmt::Display for Miss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let instead = |f: &mut std::fmt::Formatter<'_>, similar: &[String]| match similar {
            [] => Ok(()),
            some => write!(f, "; there is {}", some.join(", ")),
        };
        match self {
            Miss::NoType { name, similar, layouts } if !layouts.is_empty() => {
                let layouts = layouts.join(", ");
                write!(
                    f,
                    "no such type; if '{name}' stands for metadata, bind it to a layout, of which there is {layouts}"
                )?;
                match similar.as_slice() {
                    [] => Ok(()),
                    some => write!(f, "; of other types there is {}", some.join(", ")),
                }
            }
            Miss::NoType { similar, .. } => {
                f.write_str("no such type")?;
                instead(f, similar)
            }
            Miss::NoLayout => f.write_str("no layout is bound that answers to this name"),
            Miss::Disagree(error) => write!(f, "no layout is bound that decides between them: {error}"),
            Miss::NoMember { within, name, selector: Some(field), .. } => write!(
                f,
                "{within} has no '{name}', its packets say which layout they have in '{field}': where xhint dispatches, that \
                 is tested before the program runs, so ask for {name} only where it exists"
            ),
            Miss::NoMember { within, name, similar, .. } => {
                write!(f, "{within} has no '{name}'")?;
                instead(f, similar)
            }
            Miss::Distilled { within, name, why } => {
                write!(
                    f,
                    "the place of '{name}' in {within} is not known: only the size of {within} was given, and {why}"
                )
            }
            Miss::Type { member, local, target } => write!(f, "'{member}' is {target}, not {local}"),
            Miss::ByteOrder { member, local, target, flavour } => {
                write!(f, "'{member}' is {target}, but {local} in the program, the other byte order; ")?;
                match flavour {
                    Some(flavour) => write!(f, "{flavour} has it so"),
                    None => f.write_str("declare it so in a flavour of the struct, and ask for both"),
                }
            }
            Miss::Several { within, name, hint, fields } => write!(
                f,
                "{within} has no '{name}', and '{}' have the hint {hint}, each with a place of its own: bind {name} to one of them",
                fields.join("' and '")
            ),
            Miss::Index { array, index, len } => write!(f, "'{array}' has {len} elements, none with index {index}"),
            Miss::Pointer { member } => {
                write!(
                    f,
                    "'{member}' is a pointer, and without CAP_PERFMON, or linked to be loaded without it, pointers count as missing"
                )
            }
            Miss::Mismatch => f.write_str("the type does not match"),
        }
    }
}

impl<'a> Resolver<'a> {
    /// Explains one relocation.
    ///
    /// # Errors
    /// As [`Resolver::resolve`].
    pub fn explain(&mut self, relo: &CoreRelo) -> Result<Explanation, Error> {
        let answer = self.resolve(relo)?;
        let question = Question::of(self.local, relo)?;
        let found = answer.target.map(|at| self.found(&question, at)).transpose()?.flatten();
        let asked = question.kind != RelocKind::TypeIdLocal;
        let miss = if answer.target.is_none() && asked { Some(self.miss(&question)) } else { None };
        let (root, access) = (question.root.name().to_owned(), self.describe(&question));
        Ok(Explanation { kind: question.kind, root, access, found, miss })
    }

    /// The access in C words.
    pub(crate) fn describe(&self, question: &Question<'_>) -> String {
        describe(question.root.name(), &question.spec, question.kind)
    }

    /// The names that lead to what a relocation's field is in the layout that it was found in, joined by dots.
    ///
    /// # Errors
    /// As [`Resolver::resolve`].
    pub fn path(&mut self, relo: &CoreRelo) -> Result<Option<String>, Error> {
        let answer = self.resolve(relo)?;
        let question = Question::of(self.local, relo)?;
        let Some(at) = answer.target else { return Ok(None) };
        Ok(self.met(&question, at)?.map(|(_, spec, _)| spec.names()))
    }

    /// What a question that has an answer found in a type.
    fn met(&self, question: &Question<'a>, at: TypeRef) -> Result<Option<(&'a Source, Spec<'a>, MetBy)>, Error> {
        let universe = self.universe;
        let Some(source) = universe.source(at.source) else { return Ok(None) };
        let layout = self.binding.layout(universe).is_some_and(|l| (l.source, l.type_id) == (at.source, at.id));
        let target = Target { btf: source.btf(), id: at.id, layout, walk: self.binding.walk };
        Ok(match self.meet(question, &question.spec, target)? {
            Ok(Met::Field(spec, by)) => Some((source, spec, by)),
            _ => None,
        })
    }

    fn found(&self, question: &Question<'a>, at: TypeRef) -> Result<Option<FoundField>, Error> {
        let Some((source, spec, by)) = self.met(question, at)? else { return Ok(None) };
        let btf: &Btf = source.btf();
        let (bits, ty) = field_told(btf, &spec, question.kind);
        let bitfield = question.kind.is_field() && is_bitfield(btf, &spec);
        let root = btf.ty(at.id).map_or("", |root| root.name());
        let (file, access) = (source.name().to_owned(), describe(root, &spec, question.kind));
        Ok(Some(FoundField { file, access, by, bit_offset: spec.bit_offset, bits, bitfield, ty }))
    }

    fn miss(&self, question: &Question<'a>) -> Miss {
        let name = question.root.name();
        let (types, layout) = match self.binding.targets(self.universe, name, question.root.kind()) {
            Targets::Layout(at) => (vec![at], true),
            Targets::Types(types) => (types, false),
            // What has no answer for want of a base is an error, and no miss.
            Targets::NoBase => (Vec::new(), false),
        };
        if let Some(error) = self.disagreement(question, &types) {
            return Miss::Disagree(Box::new(error));
        }
        let Some((at, source)) = types.first().and_then(|at| Some((*at, self.universe.source(at.source)?))) else {
            let wanted = self.binding.wanted(name);
            if may_be_layout(question.root.kind()) && wanted.is_metadata(self.universe) {
                return Miss::NoLayout;
            }
            return self.no_type(question.root, wanted.name);
        };
        let btf: &Btf = source.btf();
        if question.kind.is_enumerator() {
            return missing_enumerator(question, btf.skip_mods_and_typedefs(at.id));
        }
        if !question.kind.is_field() {
            return Miss::Mismatch;
        }
        let target = Target { btf, id: at.id, layout: false, walk: true };
        let met = self.meet(question, &question.spec, Target { layout, walk: self.binding.walk, ..target });
        match met.map(|met| met.unwrap_or(Met::Nothing)) {
            Ok(Met::Unfit(member, id)) => self.unfit(question, target, member, id),
            Ok(Met::Several(hint, fields)) => {
                let within = btf.ty(at.id).map_or_else(String::new, type_name);
                Miss::Several { within, name: question.spec.names(), hint, fields }
            }
            _ => self.missing_field(question, target, layout),
        }
    }

    /// A field of the layout is meant, and is none that can be read as the program does.
    fn unfit(&self, question: &Question<'a>, target: Target<'_>, member: String, id: u32) -> Miss {
        let own = field_type(self.local, &question.spec).unwrap_or(0);
        let (local, theirs) = (type_text(self.local, own), type_text(target.btf, id));
        if !compat::fields(self.local, own, target.btf, id) {
            return Miss::Type { member, local, target: theirs };
        }
        if is_pointer(target.btf, id) && !self.binding.walk {
            return Miss::Pointer { member };
        }
        if compat::same_order(self.local, own, target.btf, id) {
            // A selector that is no whole field, or of another width.
            let within = target.btf.ty(target.id).map_or_else(String::new, type_name);
            return Miss::NoMember { within, name: question.spec.names(), similar: Vec::new(), selector: Some(member) };
        }
        Miss::ByteOrder { flavour: self.flavour(question, target), member, local, target: theirs }
    }

    /// Goes as far as the target follows, and says what is wrong at the next step.
    fn missing_field(&self, question: &Question<'a>, target: Target<'_>, layout: bool) -> Miss {
        let steps = &question.spec.steps;
        let prefix = |n: usize| Spec { steps: steps.iter().take(n).copied().collect(), ..question.spec.clone() };
        let reach = |n: usize| find(self.local, &prefix(n), target, RelocKind::FieldExists).ok().flatten();
        let path = |n: usize| -> String { steps.iter().take(n).filter_map(|s| s.name).collect::<Vec<_>>().join(".") };
        if let Some(spec) = reach(steps.len()).filter(|_| layout) {
            return self.unfit(question, target, path(steps.len()), field_type(target.btf, &spec).unwrap_or(0));
        }
        let far = (1..steps.len()).rev().find_map(|n| Some((n, reach(n)?)));
        let Some((n, spec)) = far else { return Miss::Mismatch };
        let within = match spec.steps.last() {
            Some(s) if s.name.is_some() => {
                target.btf.skip_mods_and_typedefs(field_type(target.btf, &spec).unwrap_or(0))
            }
            Some(s) => target.btf.skip_mods_and_typedefs(s.type_id),
            None => target.btf.skip_mods_and_typedefs(target.id),
        };
        let Some(name) = steps.get(n).and_then(|s| s.name) else {
            let (array, index) = (path(n), steps.get(n).map_or(0, |s| s.index));
            return match within.array() {
                Some(shape) => Miss::Index { array, index, len: shape.len },
                None => Miss::Type {
                    member: array,
                    local: "an array".to_owned(),
                    target: type_text(target.btf, within.id()),
                },
            };
        };
        if let Some(why) = within.btf().differs(within.id()) {
            return Miss::Distilled { within: type_name(within), name: name.to_owned(), why };
        }
        let mut all = Vec::new();
        members(target.btf, target.btf.skip_mods_and_typedefs(target.id), "", 0, &mut all);
        // The same path, yet not taken: it is there with another type.
        let wanted = path(n.saturating_add(1));
        if let Some((member, id)) = all.iter().find(|(p, _)| *p == wanted) {
            let local = steps.get(n).and_then(|s| self.local.ty(s.type_id)?.member(s.index));
            let local = local.map_or_else(String::new, |m| type_text(self.local, m.type_id));
            return Miss::Type { member: member.clone(), local, target: type_text(target.btf, *id) };
        }
        let similar = similar(name, all.iter().map(|(p, _)| p.as_str()));
        let bound = self.binding.layout(self.universe).filter(|_| layout && wanted == ID_FIELD);
        let selector = bound.and_then(|l| l.selector.as_ref()).map(|s| s.field.clone());
        let within = type_name(target.btf.ty(target.id).unwrap_or(within));
        Miss::NoMember { within, name: wanted, similar, selector }
    }

    /// Another flavour of the root, in the program, by which the layout's field can be had.
    fn flavour(&self, question: &Question<'a>, target: Target<'_>) -> Option<String> {
        let target = Target { layout: true, walk: self.binding.walk, ..target };
        let root = question.root;
        let like = |t: &Type<'_>| t.kind() == root.kind() && essential(t.name()) == essential(root.name());
        let mut others = self.local.types().filter(|t| like(t) && t.id() != root.id());
        others.find_map(|other| {
            let spec = find(
                self.local,
                &question.spec,
                Target { btf: self.local, id: other.id(), layout: false, walk: true },
                question.kind,
            );
            let spec = spec.ok()??;
            let met = self.meet(question, &spec, target).ok()?.ok()?;
            matches!(met, Met::Field(..)).then(|| other.name().to_owned())
        })
    }

    fn no_type(&self, root: Type<'_>, wanted: &str) -> Miss {
        let could_be = root.kind() == Kind::Struct;
        let all = || self.universe.layouts().iter().filter(|_| could_be).map(|l| l.name.as_str());
        let mut layouts = similar(wanted, all());
        let rest: Vec<_> = all().filter(|name| layouts.iter().all(|l| l != name)).map(str::to_owned).collect();
        layouts.extend(rest);
        let mut similar = self.similar_types(root, wanted);
        similar.retain(|name| !layouts.contains(name));
        layouts.dedup();
        layouts.truncate(MAX_HINTS);
        Miss::NoType { name: essential(root.name()).to_owned(), similar, layouts }
    }

    /// Names of layouts and of NIC BTFs' types, and of the base's, that are close to the one wanted.
    fn similar_types(&self, root: Type<'_>, wanted: &str) -> Vec<String> {
        let mut names: Vec<&str> = self.universe.layouts().iter().map(|l| l.name.as_str()).collect();
        for (n, source) in (0u32..).zip(self.universe.sources()) {
            // In a kernel's 130,000 types something is always similar to a short name.
            if SourceId(n) == SourceId::BASE && wanted.len() <= 4 {
                continue;
            }
            let near = |name: &str| name.len().abs_diff(wanted.len()) <= 2 && strsim::levenshtein(wanted, name) <= 2;
            let types = source.types().filter(|t| t.kind() == root.kind());
            names.extend(types.map(|t| t.name()).filter(|name| near(essential(name))));
        }
        similar(wanted, names.into_iter())
    }
}

/// An access in C words.
fn describe(root: &str, spec: &Spec<'_>, kind: RelocKind) -> String {
    let mut out = if root.is_empty() { "(anonymous)".to_owned() } else { root.to_owned() };
    for (n, step) in spec.steps.iter().enumerate() {
        match step.name {
            Some(name) if kind.is_enumerator() => return format!("{out}::{name}"),
            // A struct without a name that answers to one.
            Some("") => {}
            Some(name) => {
                out.push('.');
                out.push_str(name);
            }
            // Pointing at one struct is the rule, and goes without saying.
            None if n == 0 && step.index == 0 => {}
            None => out.push_str(&format!("[{}]", step.index)),
        }
    }
    out
}

fn missing_enumerator(question: &Question<'_>, ty: Type<'_>) -> Miss {
    let name = question.spec.steps.first().and_then(|s| s.name).unwrap_or_default();
    let similar = similar(name, ty.enumerators().map(|e| e.name));
    Miss::NoMember { within: type_name(ty), name: name.to_owned(), similar, selector: None }
}

/// Paths and types of all members, anonymous structs and unions looked into.
fn members(btf: &Btf, ty: Type<'_>, prefix: &str, depth: usize, out: &mut Vec<(String, u32)>) {
    for member in ty.members() {
        if depth > MAX_DEPTH || out.len() > 4096 {
            return;
        }
        let path = match (prefix, member.name) {
            ("", name) => name.to_owned(),
            (prefix, "") => prefix.to_owned(),
            (prefix, name) => format!("{prefix}.{name}"),
        };
        if !member.name.is_empty() {
            out.push((path.clone(), member.type_id));
        }
        let inner = btf.skip_mods_and_typedefs(member.type_id);
        if inner.kind().is_composite() {
            members(btf, inner, &path, depth.saturating_add(1), out);
        }
    }
}

/// What comes close to `wanted`, best first: the same last name elsewhere, then few letters' difference.
fn similar<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let last = |path: &'n str| path.rsplit('.').next().unwrap_or(path);
    let mut seen = HashSet::new();
    let mut close: Vec<(usize, &str)> = names
        .filter(|path| !path.is_empty() && seen.insert(*path))
        .filter_map(|path| {
            let name = last(path);
            let distance = strsim::damerau_levenshtein(wanted, name);
            let limit = wanted.chars().count().max(name.chars().count()) / 3;
            let part = name.len() > 3 && wanted.len() > 3 && (name.contains(wanted) || wanted.contains(name));
            (distance <= limit || part).then_some((distance, path))
        })
        .collect();
    close.sort();
    close.into_iter().take(MAX_HINTS).map(|(_, path)| path.to_owned()).collect()
}

fn field_told(btf: &Btf, spec: &Spec<'_>, kind: RelocKind) -> (u32, String) {
    if !kind.is_field() {
        let bits = btf.type_size(spec.root).unwrap_or(0).saturating_mul(8);
        return (bits, type_text(btf, spec.root));
    }
    let Some(last) = spec.steps.last() else { return (0, String::new()) };
    let size = |id| btf.type_size(id).unwrap_or(0).saturating_mul(8);
    match last.name.and_then(|_| btf.ty(last.type_id)?.member(last.index)) {
        Some(member) if member.bit_size != 0 => (member.bit_size, type_text(btf, member.type_id)),
        Some(member) => (size(member.type_id), type_text(btf, member.type_id)),
        None => (size(last.type_id), type_text(btf, last.type_id)),
    }
}

fn is_bitfield(btf: &Btf, spec: &Spec<'_>) -> bool {
    let last = spec.steps.last().filter(|s| s.name.is_some());
    last.and_then(|s| btf.ty(s.type_id)?.member(s.index)).is_some_and(|m| m.bit_size != 0)
}

fn type_name(ty: Type<'_>) -> String {
    match (ty.kind(), ty.name()) {
        (kind, "") => format!("an anonymous {kind}"),
        (Kind::Int | Kind::Typedef | Kind::Float, name) => name.to_owned(),
        (kind, name) => format!("{kind} {name}"),
    }
}

/// A type as C would write it, with the byte order if a typedef hides it.
pub fn type_text(btf: &Btf, id: u32) -> String {
    let (mut id, mut suffix) = (id, String::new());
    for _ in 0..32 {
        let ty = btf.skip_mods(id);
        match ty.kind() {
            Kind::Void => return format!("void{suffix}"),
            Kind::Ptr => suffix = format!(" *{}", suffix.trim_start()),
            Kind::Array => suffix.push_str(&format!("[{}]", ty.array().map_or(0, |a| a.len))),
            Kind::Typedef if field_order(btf, id) != FieldOrder::Host && !is_order_name(ty.name()) => {
                let order = if field_order(btf, id) == FieldOrder::Big { "big" } else { "little" };
                return format!("{}{suffix} ({order}-endian)", ty.name());
            }
            Kind::FuncProto => return format!("function{suffix}"),
            _ => return format!("{}{suffix}", type_name(ty)),
        }
        id = ty.array().map_or(ty.target(), |a| a.elem);
    }
    suffix
}

fn is_order_name(name: &str) -> bool {
    name.starts_with("__be") || name.starts_with("__le")
}

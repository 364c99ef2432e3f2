//! Discovery: which structs of a NIC BTF are layouts.
//!
//! 1. A struct, union or typedef with one of the declaration tags `xhint:layout`, `xhint:id=` and `xhint:as=`.
//! 2. Where there is no such tag: the members of unions that list layouts. Such a union is called `xdp_hints_union`, the
//!    convention proposed on the mailing list, or `xhint_layouts`.
//! 3. Where there is no such union either: the members of any named union that is no member of something else itself,
//!    if each of them ends in a `btf_id` as the default selector wants it. Chance does not make such a union.
//! 4. A struct or typedef that the user names ([`crate::Universe::add_layout`]).

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use xhint_btf::{Btf, Kind, Type, essential};
use xhint_layout::content::told;
use xhint_layout::tag::{FieldTag, unknown_on_type};
use xhint_layout::{LayoutId, Selection, Selector, TagFault, Tags, derived_id, ends_in_id, selector};

use crate::layout::{Content, Layout, MAX_SIZE};
use crate::{Error, SourceId};

/// Unions that list layouts, by the convention proposed on the mailing list, and ours.
const LISTS: [&str; 2] = ["xdp_hints_union", "xhint_layouts"];

/// All layouts that `btf` declares or lists, in order of the struct's id.
pub(crate) fn find(file: &str, source: SourceId, btf: &Btf) -> Result<Vec<Layout>, Error> {
    let maker = Maker::of(file, source, btf);
    maker.check_fields()?;
    // By struct: a typedef and its struct may both be tagged.
    let mut found: BTreeMap<u32, (u32, Vec<&str>)> = BTreeMap::new();
    for (id, list) in maker.tags.types() {
        let body = btf.skip_mods_and_typedefs(id).id();
        if maker.is_of_a_field(id, list)? {
            continue;
        }
        let (named, tags) = found.entry(body).or_insert((id, Vec::new()));
        if *named == body {
            *named = id;
        }
        tags.extend(list);
    }
    if found.is_empty() {
        let listed = maker.listed();
        found.extend(listed.into_iter().map(|id| (btf.skip_mods_and_typedefs(id).id(), (id, Vec::new()))));
    }
    found.into_values().map(|(id, tags)| maker.layout(id, &tags)).collect()
}

/// The struct or typedef called `name` as a layout; `None` if there is none.
pub(crate) fn named(file: &str, source: SourceId, btf: &Btf, name: &str) -> Result<Option<Layout>, Error> {
    let fits = |t: &Type<'_>| {
        matches!(t.kind(), Kind::Struct | Kind::Typedef)
            && t.name() == name
            && btf.skip_mods_and_typedefs(t.id()).kind() == Kind::Struct
    };
    let Some(ty) = btf.types().find(fits) else { return Ok(None) };
    let maker = Maker::of(file, source, btf);
    let tags = maker.tags.on_type(ty.id()).to_vec();
    maker.layout(ty.id(), &tags).map(|layout| Some(Layout { by_name: true, ..layout }))
}

struct Maker<'a> {
    file: &'a str,
    source: SourceId,
    btf: &'a Btf,
    tags: Tags<'a>,
    /// Unions that have a name, and so could list layouts.
    unions: Vec<Type<'a>>,
    /// Structs and unions without a name, by id: the first typedef that names them, and the first member that has them as
    /// its type. Found in one pass, when one is asked for.
    nameless: OnceCell<Nameless>,
}

#[derive(Default)]
struct Nameless {
    typedefs: HashMap<u32, u32>,
    members: HashMap<u32, (u32, u32)>,
}

impl<'a> Maker<'a> {
    /// Looks once through all types.
    fn of(file: &'a str, source: SourceId, btf: &'a Btf) -> Self {
        let (mut tags, mut unions) = (Tags::default(), Vec::new());
        for ty in btf.of_kinds([Kind::DeclTag, Kind::Union]) {
            match ty.kind() {
                Kind::DeclTag => tags.see(ty),
                _ if !btf.is_string(ty.name_offset(), "") => unions.push(ty),
                _ => {}
            }
        }
        Maker { file, source, btf, tags, unions, nameless: OnceCell::new() }
    }

    fn nameless(&self) -> &Nameless {
        self.nameless.get_or_init(|| {
            let mut all = Nameless::default();
            let body =
                |id: u32| Some(self.btf.skip_mods(id)).filter(|t| t.kind().is_composite() && t.name().is_empty());
            for ty in self.btf.types() {
                if ty.kind() == Kind::Typedef
                    && let Some(body) = body(ty.target())
                {
                    all.typedefs.entry(body.id()).or_insert(ty.id());
                }
                for (n, member) in (0u32..).zip(ty.members()) {
                    if let Some(body) = body(member.type_id) {
                        all.members.entry(body.id()).or_insert((ty.id(), n));
                    }
                }
            }
            all
        })
    }

    /// Refuses tags on fields that nobody understands: whoever wrote one meant something.
    fn check_fields(&self) -> Result<(), Error> {
        let wrong = |((id, member), tags): ((u32, u32), &[&'a str])| {
            let bad = |tag: &&'a str| FieldTag::parse(tag).err().map(|why| (id, member, *tag, why));
            tags.iter().find_map(bad)
        };
        // The first of them, so that the answer is always the same.
        match self.tags.members().filter_map(wrong).min_by_key(|(id, member, ..)| (*id, *member)) {
            Some((id, member, tag, why)) => Err(self.bad_field(id, member, tag, why)),
            None => Ok(()),
        }
    }

    fn bad_field(&self, id: u32, member: u32, tag: &str, why: TagFault) -> Error {
        let ty = self.btf.ty(id);
        let field = match ty.and_then(|t| t.member(member)) {
            Some(field) if !field.name.is_empty() => format!("'{}'", field.name),
            Some(_) => format!("member {member}, which has no name,"),
            None => format!("member {member}, which is not there,"),
        };
        let (file, of) = (self.file.to_owned(), ty.map_or_else(String::new, |t| self.called(t)));
        Error::FieldTag { file, id, of, field, tag: tag.to_owned(), why }
    }

    /// Whether these tags on the type `id` are its member's: C takes an attribute behind the closing brace of a struct or
    /// union without a name for the struct's.
    fn is_of_a_field(&self, id: u32, tags: &[&'a str]) -> Result<bool, Error> {
        let Some(ty) = self.btf.ty(id).filter(|t| t.kind().is_composite() && t.name().is_empty()) else {
            return Ok(false);
        };
        let nameless = self.nameless();
        let Some((of, member)) = nameless.members.get(&ty.id()).filter(|_| !nameless.typedefs.contains_key(&ty.id()))
        else {
            return Ok(false);
        };
        match tags.iter().find_map(|tag| FieldTag::parse(tag).err().map(|why| (*tag, why))) {
            Some((tag, why)) => Err(self.bad_field(*of, *member, tag, why)),
            None => Ok(true),
        }
    }

    /// A struct or union in words, by what it is in if it has no name.
    fn called(&self, ty: Type<'_>) -> String {
        let (mut ty, mut words) = (ty, String::new());
        for _ in 0..MAX_NAMES {
            if !ty.name().is_empty() {
                return format!("{words}'{}'", ty.name());
            }
            let nameless = self.nameless();
            let outer = nameless.typedefs.get(&ty.id()).copied().or(nameless.members.get(&ty.id()).map(|(of, _)| *of));
            words = format!("{words}a {} without a name in ", ty.kind());
            match outer.and_then(|id| self.btf.ty(id)) {
                Some(outer) => ty = outer,
                None => break,
            }
        }
        format!("{words}nothing that has one")
    }

    /// Types that a union lists as layouts.
    fn listed(&self) -> Vec<u32> {
        let unions = || self.unions.iter().copied();
        let members = |union: Type<'_>| union.members().map(|m| m.type_id).collect::<Vec<_>>();
        let listed: Vec<u32> = unions().filter(|t| LISTS.contains(&t.name())).flat_map(members).collect();
        if !listed.is_empty() {
            return listed;
        }
        let mut candidates = unions().filter(|u| self.lists_layouts(*u)).peekable();
        if candidates.peek().is_none() {
            return Vec::new();
        }
        let inner: HashSet<u32> = self
            .btf
            .types()
            .flat_map(|t| t.members())
            .map(|m| self.btf.skip_mods_and_typedefs(m.type_id).id())
            .collect();
        candidates.filter(|u| !inner.contains(&u.id())).flat_map(members).collect()
    }

    /// Whether all members are structs with a name and a `btf_id` at their end.
    fn lists_layouts(&self, union: Type<'_>) -> bool {
        let fits = |id: u32| {
            let (ty, body) = (self.btf.skip_mods(id), self.btf.skip_mods_and_typedefs(id));
            body.kind() == Kind::Struct && !ty.name().is_empty() && ends_in_id(self.btf, id)
        };
        union.vlen() > 0 && union.members().all(|m| !m.name.is_empty() && fits(m.type_id))
    }

    fn layout(&self, type_id: u32, tags: &[&'a str]) -> Result<Layout, Error> {
        let body = self.btf.skip_mods_and_typedefs(type_id);
        let ty = self.named(self.btf.skip_mods(type_id), body);
        let name = ty.name();
        let not = |why: String| Error::NotALayout { file: self.file.into(), id: type_id, name: name.into(), why };
        if !body.kind().is_composite() {
            return Err(not(format!("it is a {}, not a struct", body.kind())));
        }
        if name.is_empty() {
            return Err(not("it has no name; give it one, or a typedef".into()));
        }
        let size = body.size();
        if size == 0 || size > MAX_SIZE || !size.is_multiple_of(4) {
            return Err(not(format!("its size is {size} bytes; metadata takes 4 to {MAX_SIZE}, a multiple of 4")));
        }
        let (declared, answers_to) = self.read_tags(ty, body, tags)?;
        // Also when the id is declared: what has no content can't be read.
        let content = told(self.btf, name, type_id).map_err(|fault| not(fault.to_string()))?;
        let text = content.text;
        let id = match (declared, content.unknown) {
            (Some(id), _) => id,
            (None, None) => derived_id(&text),
            (None, Some(why)) => {
                let cure = "declare one (tag xhint:id=…)";
                return Err(not(format!("no id can be derived from its content, since {why}; {cure}")));
            }
        };
        let selector = match selector(self.btf, &self.tags, body.id()).map_err(|fault| not(fault.to_string()))? {
            Selection::Field(selector) => Some(selector),
            Selection::None(_) => None,
        };
        if let Some(selector) = selector.as_ref().filter(|s| s.bits < 32 && id >> s.bits != 0) {
            let Selector { field, bits, .. } = selector;
            return Err(not(match declared {
                Some(id) => {
                    format!("its id {} does not fit in the {bits} bits of its selector '{field}'", LayoutId(id))
                }
                None => format!(
                    "its selector '{field}' has {bits} bits, too few for a derived id; declare one (tag xhint:id=…)"
                ),
            }));
        }
        let (name, declared) = (name.to_owned(), declared.is_some());
        let (source, type_id, also) = (self.source, ty.id(), Vec::new());
        let (by_name, content) = (false, Content::Text(text.into()));
        Ok(Layout { name, id, declared, source, also, type_id, size, answers_to, selector, by_name, content })
    }

    /// The type whose name the layout bears: the type itself, or the first typedef of a struct without a name.
    fn named(&self, ty: Type<'a>, body: Type<'a>) -> Type<'a> {
        if !ty.name().is_empty() {
            return ty;
        }
        match self.nameless().typedefs.get(&body.id()).and_then(|id| self.btf.ty(*id)) {
            Some(typedef) => typedef,
            None => ty,
        }
    }

    /// The declared id and all names.
    fn read_tags(&self, ty: Type<'a>, body: Type<'a>, tags: &[&'a str]) -> Result<(Option<u32>, Vec<String>), Error> {
        let (mut answers_to, mut known) = (Vec::new(), HashSet::new());
        let mut answer = |name| {
            let name = essential(name);
            if !name.is_empty() && known.insert(name) {
                answers_to.push(name.to_owned());
            }
        };
        answer(ty.name());
        answer(body.name());
        let mut declared = None;
        for tag in tags {
            let bad = |why: &str| {
                let (file, name, tag) = (self.file.to_owned(), ty.name().to_owned(), (*tag).to_owned());
                Error::Tag { file, id: ty.id(), name, tag, why: why.to_owned() }
            };
            match tag.split_once('=') {
                Some(("xhint:id", text)) => {
                    let id = parse_id(text).ok_or_else(|| bad(BAD_ID))?;
                    if declared.replace(id).is_some_and(|other| other != id) {
                        return Err(bad("another tag declares another id"));
                    }
                }
                Some(("xhint:as", "")) => return Err(bad("a name must follow the '='")),
                Some(("xhint:as", alias)) => answer(alias),
                None if *tag == "xhint:layout" => {}
                _ => return Err(bad(&unknown_on_type(tag).to_string())),
            }
        }
        Ok((declared, answers_to))
    }
}

/// Structs without a name, one in the other, that are told when one of them is at fault.
const MAX_NAMES: usize = 8;
const BAD_ID: &str = "an id is a number from 1 to 0xffffffff, decimal or 0x…";

fn parse_id(text: &str) -> Option<u32> {
    LayoutId::read(text).map(|id| id.0).filter(|id| *id != 0)
}

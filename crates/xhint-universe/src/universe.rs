//! The sources together.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use xhint_btf::{Btf, ByteOrder, Type};

use crate::base::Base;
use crate::discover;
use crate::index::{Candidate, Index, Wanted};
use crate::layout::{Content, KnownLayout, Layout};
use crate::{Error, LayoutId, LayoutRef, SourceId, TypeRef};

/// One source of a universe: a NIC BTF, or the base with all that it is split on.
#[derive(Debug, Clone)]
pub struct Source {
    name: Arc<str>,
    /// `None` of the base, and of what is not at hand.
    own: Option<Arc<Btf>>,
    base: Arc<Base>,
    at_hand: bool,
    index: Arc<Index>,
}

impl Source {
    /// The name it was added under, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The BTF; of the base, the last link of its chain; of what is not at hand, the base's.
    pub fn btf(&self) -> &Arc<Btf> {
        self.own.as_ref().unwrap_or_else(|| self.base.btf())
    }

    /// Which types of its distilled base the base has no equal of, in words; `None` if there are none.
    pub fn differs(&self) -> Option<String> {
        // Of a base that nobody has asked for there is nothing to say.
        let btf = self.own.as_ref().or_else(|| self.base.if_read())?;
        let kept = btf.kept();
        let told = |kept: &xhint_btf::KeptType| {
            let ty = btf.ty(kept.id)?;
            Some(format!("{} {} ({} bytes there, {})", ty.kind(), ty.name(), ty.size(), kept.why))
        };
        let some: Vec<String> = kept.iter().take(3).filter_map(told).collect();
        let more = match kept.len().checked_sub(some.len()) {
            None | Some(0) => String::new(),
            Some(more) => format!(" and {more} more"),
        };
        let what = "split on types that differ from the base's; only their sizes are known, so every field in them counts as missing";
        (!some.is_empty()).then(|| format!("{}: {what}: {}{more}", self.name, some.join(", ")))
    }

    /// The BTFs whose own types are this source's: of the base all links of its chain, what stands alone first.
    fn links(&self) -> Vec<&Btf> {
        match &self.own {
            Some(own) => vec![own],
            None if self.at_hand => self.base.btf().chain(),
            None => Vec::new(),
        }
    }

    /// The types of this source, in order of id; of a split NIC BTF not its base's.
    pub fn types(&self) -> impl Iterator<Item = Type<'_>> {
        self.links().into_iter().flat_map(Btf::types)
    }
}

/// Types of several BTFs.
type Spread = Arc<[(SourceId, Candidate)]>;

/// One base BTF, which may be a chain (vmlinux, a module, its `.inline`), and any number of NIC BTFs.
///
/// A clone shares the BTFs and what has been found in them, so a program that links again and again keeps one universe
/// with the base and clones it for each choice of NIC BTFs.
#[derive(Debug, Clone)]
pub struct Universe {
    sources: Vec<Source>,
    layouts: Vec<Layout>,
    /// The place of each among them, by its id.
    by_id: HashMap<u32, usize>,
    /// Every name that some layout answers to.
    metadata: HashSet<String>,
    /// What all NIC BTFs together have for a name; new whenever one is added.
    nics: Arc<RwLock<HashMap<Arc<str>, Spread>>>,
    base: Arc<Base>,
}

impl Universe {
    /// A universe for NIC BTFs of this byte order, whose base could not be had, and why. That is an error for who asks for
    /// one of its types, and for nobody else: NIC BTFs that stand alone have their layouts.
    pub fn without_base(why: &str, order: ByteOrder) -> Universe {
        let why = why.to_owned();
        Universe::deferred(order, move || Err(why.clone()))
    }

    /// A universe with nothing but its base, of this byte order, which is read when one of its types is asked for. If that
    /// cannot be done, it is as [`Universe::without_base`].
    pub fn deferred(order: ByteOrder, read: impl Fn() -> Result<Btf, String> + Send + Sync + 'static) -> Universe {
        Universe::on(Base::deferred(order, Box::new(read)))
    }

    /// A universe with nothing but its base.
    pub fn new(base: Arc<Btf>) -> Universe {
        Universe::on(Base::here(base))
    }

    fn on(base: Base) -> Universe {
        let base = Arc::new(base);
        let sources = vec![Source::new("base", None, &base)];
        let (layouts, by_id) = (Vec::new(), HashMap::new());
        Universe { sources, layouts, by_id, metadata: HashSet::new(), nics: Arc::default(), base }
    }

    /// Why there is no base, if there is none.
    pub fn absent_base(&self) -> Option<&str> {
        self.base.absent()
    }

    /// The base BTF: the last link, if it is a chain.
    pub fn base(&self) -> &Arc<Btf> {
        self.base.btf()
    }

    /// The byte order of all BTFs in it.
    pub fn order(&self) -> ByteOrder {
        self.base.order()
    }

    /// Whether something was asked of the base.
    pub fn has_read_base(&self) -> bool {
        self.base.if_read().is_some()
    }

    /// Adds a NIC BTF, standalone or split on the base (on any link, if that is a chain), with the layouts it declares.
    /// `name` (a file's, mostly) is for messages. A layout that is there already, equal in name, content, id and
    /// selector, is one with that, and answers to the names of both.
    ///
    /// # Errors
    /// [`Error::OtherBase`], [`Error::ByteOrder`], a tag or a layout that makes no sense, or an id that a different
    /// layout has. The universe is unchanged then.
    pub fn add(&mut self, name: &str, btf: Arc<Btf>) -> Result<SourceId, Error> {
        let (own, other) = (btf.order(), self.order());
        if own != other {
            return Err(Error::ByteOrder { file: name.to_owned(), own, other });
        }
        if btf.base().is_some_and(|base| !self.base().chain().iter().any(|link| same(base, link))) {
            return Err(Error::OtherBase { file: name.to_owned() });
        }
        let id = self.next_source();
        let found = discover::find(name, id, &btf)?;
        let source = Source::new(name, Some(btf), &self.base);
        self.check_ids(&found, &source)?;
        self.sources.push(source);
        self.nics = Arc::default();
        found.into_iter().for_each(|layout| _ = self.push(layout));
        Ok(id)
    }

    /// The id of the source that is added next. Memory has no room for more of them than 32 bits count.
    fn next_source(&self) -> SourceId {
        SourceId(self.sources.len() as u32)
    }

    /// Adds a NIC BTF that is not at hand, with what is known of its layouts: others are held against them, and nothing is
    /// found in it. What [`Universe::known`] told of sources that stood together can stand together.
    pub fn add_known(&mut self, name: &str, layouts: impl IntoIterator<Item = KnownLayout>) -> SourceId {
        let source = self.next_source();
        self.sources.push(Source { at_hand: false, ..Source::new(name, None, &self.base) });
        self.nics = Arc::default();
        for known in layouts {
            let KnownLayout { name, id, size, answers_to, selector, by_name, content } = known;
            let (declared, also, type_id, content) = (false, Vec::new(), 0, Content::Digest(content));
            let layout =
                Layout { name, id, declared, source, also, type_id, size, answers_to, selector, by_name, content };
            self.push(layout);
        }
        source
    }

    /// What is known of the layouts of one source, so that it need not be at hand.
    pub fn known(&self, source: SourceId) -> Vec<KnownLayout> {
        self.layouts.iter().filter(|l| l.is_of(source)).map(Layout::known).collect()
    }

    /// Adds a layout, or makes it one with the equal one that is there; yields its place.
    fn push(&mut self, layout: Layout) -> usize {
        self.metadata.extend(layout.answers_to.iter().cloned());
        let place = *self.by_id.entry(layout.id).or_insert(self.layouts.len());
        let Some(there) = self.layouts.get_mut(place) else {
            self.layouts.push(layout);
            return place;
        };
        if layout.is_at_hand() && !there.is_at_hand() {
            // What can be linked for comes first.
            let before = std::mem::replace(there, Layout { also: there.sources().collect(), ..layout.clone() });
            there.answers_to = before.answers_to;
        } else if !there.is_of(layout.source) {
            there.also.push(layout.source);
        }
        let new = layout.answers_to.into_iter().filter(|name| !there.answers(name)).collect::<Vec<_>>();
        there.answers_to.extend(new);
        place
    }

    /// The places among [`Universe::layouts`] of those that `text` means: an id, a name, or else a name that they answer to.
    pub fn called(&self, text: &str) -> Vec<usize> {
        LayoutRef::read(text).among(&self.layouts, |l| (LayoutId(l.id), &l.name), |l, name| l.answers(name))
    }

    /// Makes the struct or typedef `name` a layout, of each NIC BTF that has it, if no layout is called so yet, and yields
    /// the place of the first among [`Universe::layouts`]. One that stands in several files is one layout. If it is no
    /// struct's name, layouts may answer to it that are there.
    ///
    /// # Errors
    /// [`Error::NoSuchLayout`], or as [`Universe::add`].
    pub fn add_layout(&mut self, name: &str) -> Result<usize, Error> {
        // One that is not at hand and was made a layout so speaks for its own file alone.
        let settles = |l: &Layout| l.name == name && (l.is_at_hand() || !l.by_name);
        if let Some(n) = self.layouts.iter().position(settles) {
            return Ok(n);
        }
        let mut found = Vec::<Layout>::new();
        for (n, source) in (0u32..).zip(&self.sources).skip(1).filter(|(_, s)| s.at_hand) {
            found.extend(discover::named(&source.name, SourceId(n), source.btf(), name)?);
        }
        if let Some(last) = self.sources.last() {
            self.check_ids(&found, last)?;
        }
        let mut places = found.into_iter().map(|layout| self.push(layout));
        if let Some(first) = places.next() {
            places.for_each(drop);
            return Ok(first);
        }
        drop(places);
        if let Some(n) = self.called(name).first() {
            return Ok(*n);
        }
        let files: Vec<_> = self.sources.iter().skip(1).map(|s| &*s.name).collect();
        let known: Vec<_> = self.layouts.iter().map(|l| l.name.as_str()).collect();
        Err(Error::NoSuchLayout {
            name: name.to_owned(),
            files: if files.is_empty() { "no NIC BTF at all".to_owned() } else { files.join(", ") },
            hint: if known.is_empty() { String::new() } else { format!("; layouts are {}", known.join(", ")) },
        })
    }

    /// Whether each of `found` may join: it has an id of its own, or is equal to the layout that has it. `last` is the
    /// source that is not among the universe's yet.
    fn check_ids(&self, found: &[Layout], last: &Source) -> Result<(), Error> {
        let source = |l: &Layout| match self.source(l.source) {
            Some(source) => source.clone(),
            None => last.clone(),
        };
        let mut own: HashMap<u32, &Layout> = HashMap::new();
        for new in found {
            let there = self.by_id.get(&new.id).and_then(|n| self.layouts.get(*n));
            let Some(first) = there.or_else(|| own.get(&new.id).copied()) else {
                own.insert(new.id, new);
                continue;
            };
            if !first.is_equal(new) {
                let (a, b) = (source(first), source(new));
                return Err(Error::SameId {
                    id: new.id,
                    first: first.name.clone(),
                    first_file: a.name().to_owned(),
                    second: new.name.clone(),
                    second_file: b.name().to_owned(),
                });
            }
        }
        Ok(())
    }

    /// The layout with this id.
    pub fn layout_of_id(&self, id: u32) -> Option<&Layout> {
        self.by_id.get(&id).and_then(|n| self.layouts.get(*n))
    }

    /// Whether `layout` of this universe and the one with its id in `other`, if there is one, are different layouts.
    pub fn contradicts(&self, layout: &Layout, other: &Universe) -> bool {
        other.layout_of_id(layout.id).is_some_and(|there| !layout.is_equal(there))
    }

    /// All BTFs, the base first.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// One BTF.
    pub fn source(&self, id: SourceId) -> Option<&Source> {
        self.sources.get(usize::try_from(id.0).ok()?)
    }

    /// All layouts, in the order their BTFs were added.
    pub fn layouts(&self) -> &[Layout] {
        &self.layouts
    }

    /// The type behind a reference.
    pub fn ty(&self, at: TypeRef) -> Option<Type<'_>> {
        self.source(at.source)?.btf().ty(at.id)
    }

    /// Whether some layout answers to this essential name: then it means metadata, and is looked for nowhere else.
    pub fn is_metadata(&self, essential_name: &str) -> bool {
        self.metadata.contains(essential_name)
    }

    /// Looks for these essential names: for all of them in one pass over the base, for those that it does not have in
    /// one pass over each NIC BTF. Not needed before [`Universe::candidates`] and
    /// [`Universe::nic_candidates`], but faster than one pass a name.
    pub fn require<'n>(&self, names: impl IntoIterator<Item = &'n str>) {
        let Some(base) = self.source(SourceId::BASE) else { return };
        // What means metadata is looked for nowhere else.
        let wanted = Wanted::new(names.into_iter().filter(|name| !self.is_metadata(name)));
        let found = base.index.find(|| base.links(), &wanted);
        // Where the base has an answer NIC BTFs are hardly ever asked, and there may be many.
        let lacking = wanted.names().iter().zip(&found).filter(|(_, list)| list.is_empty());
        self.require_of_nics(lacking.map(|(name, _)| &**name));
    }

    fn require_of_nics<'n>(&self, names: impl Iterator<Item = &'n str>) {
        let known = self.nics.read().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<&str> = names.filter(|name| !known.contains_key(*name)).collect();
        drop(known);
        if names.is_empty() {
            return;
        }
        let wanted = Wanted::new(names);
        let mut spreads: Vec<Vec<(SourceId, Candidate)>> = vec![Vec::new(); wanted.names().len()];
        for (id, nic) in self.nics() {
            for (spread, list) in spreads.iter_mut().zip(nic.index.find(|| nic.links(), &wanted)) {
                spread.extend(list.iter().map(|candidate| (id, *candidate)));
            }
        }
        let mut known = self.nics.write().unwrap_or_else(PoisonError::into_inner);
        for (name, spread) in wanted.names().iter().zip(spreads) {
            known.insert(name.clone(), if spread.is_empty() { Arc::default() } else { spread.into() });
        }
    }

    /// Types of one source that answer to an essential name, in order of id.
    pub fn candidates(&self, source: SourceId, essential_name: &str) -> Arc<[Candidate]> {
        match self.source(source) {
            Some(source) => source.index.get(|| source.links(), essential_name),
            None => Arc::default(),
        }
    }

    /// Types of all NIC BTFs that answer to an essential name, in the order the BTFs were added.
    pub fn nic_candidates(&self, essential_name: &str) -> Arc<[(SourceId, Candidate)]> {
        let known = || self.nics.read().unwrap_or_else(PoisonError::into_inner).get(essential_name).cloned();
        known().unwrap_or_else(|| {
            self.require_of_nics([essential_name].into_iter());
            known().unwrap_or_default()
        })
    }

    fn nics(&self) -> impl Iterator<Item = (SourceId, &Source)> {
        (0u32..).map(SourceId).zip(&self.sources).skip(1)
    }
}

/// Whether two BTFs are one: the same in memory, or read twice from the same bytes on the same base.
fn same(a: &Btf, b: &Btf) -> bool {
    let bases = || match (a.base(), b.base()) {
        (None, None) => true,
        (Some(a), Some(b)) => same(a, b),
        _ => false,
    };
    std::ptr::eq(a, b) || a.raw() == b.raw() && bases()
}

impl Source {
    fn new(name: &str, own: Option<Arc<Btf>>, base: &Arc<Base>) -> Source {
        Source { name: name.into(), own, base: Arc::clone(base), at_hand: true, index: Arc::default() }
    }
}

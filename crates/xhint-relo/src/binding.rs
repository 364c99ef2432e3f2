//! Where a local type's name leads.

use serde::{Deserialize, Serialize};
use xhint_btf::{Kind, essential};
use xhint_universe::{Candidate, Layout, SourceId, TypeRef, Universe};

/// The choice of a layout, for one link of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The layout's place among [`Universe::layouts`]; `None` links the fallback, for which no layout exists.
    pub layout: Option<usize>,
    /// Local and target name, as in `--bind nic_meta=mlx_rx_v3`. A local name without flavour stands for all flavours of
    /// it that are not named themselves.
    pub bind: Vec<(String, String)>,
    /// Fields of local structs, and the layouts' fields that they are.
    pub bind_fields: Vec<FieldBind>,
    /// Whether pointers in metadata may be followed, which takes CAP_PERFMON. If not, they count as absent.
    pub walk: bool,
}

impl Default for Binding {
    fn default() -> Self {
        Binding { layout: None, bind: Vec::new(), bind_fields: Vec::new(), walk: true }
    }
}

/// A field of a local struct, and the field of a layout that it is in a link for that: `nic_meta.hash` and
/// `mlx_rx.rss.result`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldBind {
    /// The struct by its name, which without flavour stands for all flavours of it that are not named themselves.
    pub local: FieldName,
    /// The layout by its name, or one that it answers to.
    pub target: FieldName,
}

/// A field of a struct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldName {
    /// The struct's name.
    pub of: String,
    /// The field's path in it.
    pub path: String,
}

impl FieldName {
    /// Reads `STRUCT.FIELD`, where the field may be a path itself.
    pub fn read(text: &str) -> Option<FieldName> {
        let (of, path) = text.split_once('.')?;
        let whole = !of.is_empty() && path.split('.').all(|name| !name.is_empty());
        whole.then(|| FieldName { of: of.to_owned(), path: path.to_owned() })
    }
}

impl std::fmt::Display for FieldName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.of, self.path)
    }
}

impl FieldBind {
    /// Whether the layout is the one that is meant.
    pub fn means(&self, layout: &Layout) -> bool {
        layout.name == self.target.of || layout.answers(essential(&self.target.of))
    }

    /// The path that the field at `path` of the local struct is bound to in `layout`.
    pub(crate) fn target<'b>(binds: &'b [FieldBind], layout: &Layout, local: &str, path: &str) -> Option<&'b str> {
        let of = |name: &str| {
            let fits = |bind: &&FieldBind| bind.local.of == name && bind.local.path == path && bind.means(layout);
            binds.iter().find(fits).map(|bind| bind.target.path.as_str())
        };
        of(local).or_else(|| of(essential(local)))
    }
}

/// What can stand for a local type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Targets {
    /// The bound layout, and nothing else.
    Layout(TypeRef),
    /// These types, maybe none.
    Types(Vec<TypeRef>),
    /// Nobody knows: it is asked of the base, and there is none.
    NoBase,
}

impl Binding {
    /// The bound layout.
    pub fn layout<'u>(&self, universe: &'u Universe) -> Option<&'u Layout> {
        self.layout.and_then(|n| universe.layouts().get(n))
    }

    /// What a local type of this name looks for.
    pub fn wanted<'b>(&'b self, local: &'b str) -> Wanted<'b> {
        Wanted::of(&self.bind, local)
    }

    /// The layout if the name means metadata; else types of the base; else of the BTFs that have the layout; else of all
    /// NIC BTFs. The first that has any answers alone.
    pub(crate) fn targets(&self, universe: &Universe, local: &str, kind: Kind) -> Targets {
        let wanted = self.wanted(local);
        let name = wanted.name;
        let layout = self.layout(universe);
        if may_be_layout(kind) && wanted.is_metadata(universe) {
            return match layout {
                Some(l) if wanted.means(l) => Targets::Layout(TypeRef { source: l.source, id: l.type_id }),
                _ => Targets::Types(Vec::new()),
            };
        }
        if universe.absent_base().is_some() {
            return Targets::NoBase;
        }
        let fits = |c: &Candidate| c.kind == kind || c.kind.is_any_enum() && kind.is_any_enum();
        let of = |source| {
            let list = universe.candidates(source, name);
            list.iter().filter(|c| fits(c)).map(|c| TypeRef { source, id: c.id }).collect::<Vec<_>>()
        };
        let kernels = of(SourceId::BASE);
        if !kernels.is_empty() {
            return Targets::Types(kernels);
        }
        // Files that share the layout must agree on what goes with it.
        let own: Vec<_> = layout.into_iter().flat_map(Layout::sources).flat_map(of).collect();
        if !own.is_empty() {
            return Targets::Types(own);
        }
        let list = universe.nic_candidates(name);
        Targets::Types(
            list.iter().filter(|(_, c)| fits(c)).map(|(source, c)| TypeRef { source: *source, id: c.id }).collect(),
        )
    }
}

/// Whether a local type of this kind may stand for a layout: a typedef is looked for as a typedef, but a layout is one
/// whatever it is called by.
pub fn may_be_layout(kind: Kind) -> bool {
    kind.is_composite() || kind == Kind::Typedef
}

/// What a local name looks for. Names lose their flavour here and nowhere after: `nic_meta___a___b` looks for
/// `nic_meta___a`, which is another name than `nic_meta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted<'n> {
    /// The essential name by which types and layouts answer.
    pub name: &'n str,
    /// What the local name is bound to, flavour and all, if it is: a layout of just this name is meant, too.
    pub bound: Option<&'n str>,
}

impl<'n> Wanted<'n> {
    /// For a local name: what it is renamed to with its flavour, or else without, or else itself.
    pub fn of(bind: &'n [(String, String)], local: &'n str) -> Wanted<'n> {
        let to = |name: &str| bind.iter().find(|(from, _)| from == name).map(|(_, to)| to.as_str());
        let bound = to(local).or_else(|| to(essential(local)));
        Wanted { name: essential(bound.unwrap_or(local)), bound }
    }

    /// Whether it means this layout.
    pub fn means(&self, layout: &Layout) -> bool {
        layout.answers(self.name) || self.bound == Some(&layout.name)
    }

    /// Whether it means any layout of the universe, and so nothing else.
    pub fn is_metadata(&self, universe: &Universe) -> bool {
        let named = |name| universe.layouts().iter().any(|l| l.name == name);
        universe.is_metadata(self.name) || self.bound.filter(|b| *b != self.name).is_some_and(named)
    }
}

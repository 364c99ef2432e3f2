//! Where a local type's name leads.

use xhint_btf::Kind;
use xhint_universe::{Candidate, Layout, SourceId, TypeRef, Universe, name::essential};

/// The choice of a layout, for one link of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The layout's place among [`Universe::layouts`]; `None` links the fallback, for which no layout exists.
    pub layout: Option<usize>,
    /// Local and target name, as in `--bind nic_meta=mlx_rx_v3`. A local name without flavour stands for all flavours of
    /// it that are not named themselves.
    pub rename: Vec<(String, String)>,
    /// Whether pointers in metadata may be followed, which takes CAP_PERFMON. If not, they count as absent.
    pub walk: bool,
}

impl Default for Binding {
    fn default() -> Self {
        Binding { layout: None, rename: Vec::new(), walk: true }
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

    /// The name to look for, for a local type of this name.
    pub fn target_name<'b>(&'b self, local: &'b str) -> &'b str {
        renamed(&self.rename, local)
    }

    /// The layout if the name means metadata; else types of the base; else of the layout's own BTF; else of all NIC
    /// BTFs. The first that has any answers alone.
    pub(crate) fn targets(&self, universe: &Universe, local: &str, kind: Kind) -> Targets {
        let wanted = self.target_name(local);
        let name = essential(wanted);
        // A typedef is looked for as a typedef, but a layout is one whatever it is called by.
        let may_be_layout = kind.is_composite() || kind == Kind::Typedef;
        let layout = self.layout(universe);
        if may_be_layout
            && (universe.is_metadata(name) || wanted != name && universe.layouts().iter().any(|l| l.name == wanted))
        {
            return match layout {
                Some(l) if l.answers(name) || l.name == wanted => {
                    Targets::Layout(TypeRef { source: l.source, id: l.type_id })
                }
                _ => Targets::Types(Vec::new()),
            };
        }
        if universe.absent_base().is_some() {
            return Targets::NoBase;
        }
        let fits = |c: &Candidate| c.kind == kind || c.kind.is_any_enum() && kind.is_any_enum();
        for source in [Some(SourceId::BASE), layout.map(|l| l.source)].into_iter().flatten() {
            let list = universe.candidates(source, name);
            let types: Vec<_> = list.iter().filter(|c| fits(c)).map(|c| TypeRef { source, id: c.id }).collect();
            if !types.is_empty() {
                return Targets::Types(types);
            }
        }
        let list = universe.nic_candidates(name);
        Targets::Types(
            list.iter().filter(|(_, c)| fits(c)).map(|(source, c)| TypeRef { source: *source, id: c.id }).collect(),
        )
    }
}

/// The name to look for, for a local type of this name: what it is renamed to with its flavour, or else without, or else
/// its essential name.
pub fn renamed<'n>(rename: &'n [(String, String)], local: &'n str) -> &'n str {
    let to = |name: &str| rename.iter().find(|(from, _)| from == name).map(|(_, to)| to.as_str());
    to(local).or_else(|| to(essential(local))).unwrap_or_else(|| essential(local))
}

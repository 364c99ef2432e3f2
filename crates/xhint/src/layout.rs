//! The layouts that NIC BTFs describe: where each field lies, and what it means.

use std::collections::HashMap;

use xhint_layout::{Fields, Selection, Tags, selector};
use xhint_runtime::{Error, Result};
use xhint_universe::{SourceId, Universe};

pub use xhint_layout::walk::What;
pub use xhint_layout::{ByteOrder, Field, Gap, Hint, LayoutId, LayoutRef, Plan, hint, plan};

/// A layout: what stands in front of a packet that has its id.
#[derive(Debug)]
#[non_exhaustive]
pub struct Layout {
    /// The name of its struct, or of the typedef that names it.
    pub name: String,
    /// The id by which packets say that they have it.
    pub id: LayoutId,
    /// Whether the id stands in the BTF; otherwise it is derived from the content.
    pub declared: bool,
    /// Bytes in front of the packet.
    pub size: u32,
    /// The file that describes it.
    pub file: String,
    /// The names by which programs may ask for it.
    pub answers_to: Vec<String>,
    /// The field that holds the id; `None` if packets do not say what they have.
    pub selector: Option<String>,
    /// Why a field that looks like it does not hold the id.
    pub no_selector: Option<String>,
    /// Every field, in the order of the BTF; a struct, union or array of such is followed by what is in it.
    pub fields: Vec<Field>,
    /// Bits that no field has, in order.
    pub gaps: Vec<Gap>,
    plan: std::result::Result<Plan, xhint_layout::Error>,
}

impl Layout {
    /// The field at this path, as C writes it from the struct on: `l3.v6.flow`.
    pub fn field(&self, path: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.path == path)
    }

    /// The fields that have a hint, each with how its value is read from the bytes in front of a packet.
    ///
    /// # Errors
    /// Why its fields cannot be read or written one by one.
    pub fn plan(&self) -> std::result::Result<&Plan, &xhint_layout::Error> {
        self.plan.as_ref()
    }

    /// The first field with this hint.
    pub fn field_for(&self, hint: Hint) -> Option<&Field> {
        self.fields.iter().find(|f| f.hint == Some(hint))
    }
}

/// The layouts of `universe`, in its order. The BTFs of all are at hand: they were added whole.
///
/// # Errors
/// [`Error::Layout`] for one that cannot be walked through.
pub fn layouts(universe: &Universe) -> Result<Vec<Layout>> {
    let tags = tags(universe);
    universe.layouts().iter().map(|layout| one(universe, &tags, layout)).collect()
}

fn one<'a>(
    universe: &'a Universe,
    tags: &HashMap<SourceId, Tags<'a>>,
    layout: &xhint_universe::Layout,
) -> Result<Layout> {
    // A universe has the source of each of its layouts.
    let (Some(source), Some(tags)) = (universe.source(layout.source), tags.get(&layout.source)) else {
        unreachable!("{} is of no source", layout.name)
    };
    let (btf, id) = (source.btf(), layout.type_id);
    let not_a_layout = |why: String| {
        let (file, name) = (source.name().to_owned(), layout.name.clone());
        Error::Layout(xhint_universe::Error::NotALayout { file, id, name, why })
    };
    let all = Fields::of(btf, tags, id).map_err(|why| not_a_layout(why.to_string()))?;
    let no_selector = match layout.selector.is_none().then(|| selector(btf, tags, id)).transpose() {
        Ok(Some(Selection::None(almost))) => almost.map(|almost| almost.to_string()),
        Ok(_) => None,
        Err(why) => return Err(not_a_layout(why.to_string())),
    };
    Ok(Layout {
        name: layout.name.clone(),
        id: LayoutId(layout.id),
        declared: layout.declared,
        size: layout.size,
        file: source.name().to_owned(),
        answers_to: layout.answers_to.clone(),
        selector: layout.selector.as_ref().map(|s| s.field.clone()),
        no_selector,
        fields: all.fields,
        gaps: all.gaps,
        plan: Plan::tagged(btf, tags, id, &layout.name, layout.id),
    })
}

/// The tags of each BTF that has layouts, gathered once for all of them.
fn tags(universe: &Universe) -> HashMap<SourceId, Tags<'_>> {
    let mut all = HashMap::new();
    for id in universe.layouts().iter().map(|l| l.source) {
        if let Some(source) = universe.source(id) {
            all.entry(id).or_insert_with(|| Tags::of(source.btf()));
        }
    }
    all
}

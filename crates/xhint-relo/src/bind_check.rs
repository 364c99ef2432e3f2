//! Whether what fields are bound to makes sense: a name that is nowhere was meant for another.

use xhint_btf::{Btf, essential};
use xhint_layout::{Lookup, Tags};
use xhint_universe::{Layout, LayoutId, Universe};

use crate::meeting::LayoutFields;
use crate::{FieldBind, Shared};

/// How many names are offered for one that is nowhere.
const MAX_OFFERED: usize = 3;

/// What is wrong with a field that is bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindFault {
    /// The program has no such struct.
    #[error("{bind}: the program has no struct '{name}'{}", instead(near))]
    NoStruct {
        /// The two fields.
        bind: String,
        /// The name that is nowhere.
        name: String,
        /// Those that come nearest.
        near: Vec<String>,
    },
    /// The struct has no such field.
    #[error("{bind}: the program's struct '{of}' has no field '{path}'{}", instead(near))]
    NoLocal {
        /// The two fields.
        bind: String,
        /// The struct.
        of: String,
        /// The path that is nowhere.
        path: String,
        /// Those that come nearest.
        near: Vec<String>,
    },
    /// No layout of the name has such a field.
    #[error("{bind}: layout '{layout}' has no field '{path}'{}", instead(near))]
    NoTarget {
        /// The two fields.
        bind: String,
        /// The layout.
        layout: String,
        /// The path that is nowhere.
        path: String,
        /// Those that come nearest.
        near: Vec<String>,
    },
    /// One field is bound to two of one layout.
    #[error("'{local}' is bound to '{first}' and to '{second}'; it can be only one of them")]
    Twice {
        /// The program's field.
        local: String,
        /// What it was bound to first.
        first: String,
        /// And then.
        second: String,
    },
}

fn instead(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!("; the nearest are {}", near.join(", ")) }
}

/// Checks all of them against the program's BTF and the layouts. Yields those that do nothing, since no layout has the
/// name, or none that is at hand.
///
/// # Errors
/// [`BindFault`].
pub fn check_binds<'b>(
    binds: &'b [FieldBind],
    local: &Btf,
    universe: &Universe,
) -> Result<Vec<&'b FieldBind>, BindFault> {
    let (mut idle, shared) = (Vec::new(), Shared::default());
    for (n, bind) in binds.iter().enumerate() {
        let twice = |other: &&FieldBind| {
            other.local == bind.local && other.target.of == bind.target.of && other.target.path != bind.target.path
        };
        if let Some(first) = binds.iter().take(n).find(twice) {
            let (local, first, second) = (bind.local.to_string(), first.target.to_string(), bind.target.to_string());
            return Err(BindFault::Twice { local, first, second });
        }
        check_local(bind, local)?;
        if !check_target(bind, universe, &shared)? {
            idle.push(bind);
        }
    }
    Ok(idle)
}

fn check_local(bind: &FieldBind, local: &Btf) -> Result<(), BindFault> {
    let (of, path) = (&bind.local.of, &bind.local.path);
    let composite = |id| local.skip_mods_and_typedefs(id).kind().is_composite();
    let structs = || local.types().filter(|ty| !ty.name().is_empty() && composite(ty.id()));
    let (tags, mut paths, mut any) = (Tags::default(), Vec::new(), false);
    for ty in structs().filter(|ty| ty.name() == of || essential(ty.name()) == of) {
        any = true;
        // One that cannot be metadata has no field to bind.
        let Ok(lookup) = Lookup::of(local, &tags, ty.id()) else { continue };
        if lookup.at(path).is_some() {
            return Ok(());
        }
        paths.extend(lookup.paths().map(str::to_owned));
    }
    Err(match any {
        true => BindFault::NoLocal {
            bind: words(bind),
            of: of.clone(),
            path: path.clone(),
            near: nearest(path, paths.iter().map(String::as_str)),
        },
        false => {
            let near = nearest(of, structs().map(|ty| ty.name()));
            BindFault::NoStruct { bind: words(bind), name: of.clone(), near }
        }
    })
}

/// Whether a layout has the field; false if none is called so.
fn check_target<'u>(bind: &FieldBind, universe: &'u Universe, shared: &Shared<'u>) -> Result<bool, BindFault> {
    let path = &bind.target.path;
    let mut lacking: Option<(&Layout, Vec<String>)> = None;
    for layout in universe.layouts().iter().filter(|layout| bind.means(layout)) {
        let Ok(Some(fields)) = LayoutFields::of(universe, layout, shared) else { continue };
        if fields.at(path).is_some() {
            return Ok(true);
        }
        lacking.get_or_insert_with(|| (layout, fields.paths().map(str::to_owned).collect()));
    }
    let Some((layout, paths)) = lacking else { return Ok(false) };
    Err(BindFault::NoTarget {
        bind: words(bind),
        layout: format!("{} {}", layout.name, LayoutId(layout.id)),
        path: path.clone(),
        near: nearest(path, paths.iter().map(String::as_str)),
    })
}

fn words(bind: &FieldBind) -> String {
    format!("'{}' is bound to '{}'", bind.local, bind.target)
}

/// The names that differ from `wanted` by the fewest letters.
fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Vec<String> {
    let short = |name: &str| name.chars().take(64).collect::<String>();
    let wanted = short(wanted);
    let mut all: Vec<_> = names.map(|name| (strsim::damerau_levenshtein(&wanted, &short(name)), name)).collect();
    all.sort_unstable();
    all.dedup();
    all.into_iter().take(MAX_OFFERED).map(|(_, name)| name.to_owned()).collect()
}

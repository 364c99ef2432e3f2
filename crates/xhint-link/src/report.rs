//! What linking did, or would do: every relocation, and what it becomes for each layout.
//!
//! The shapes here are also the JSON that `xhint explain --json` prints; docs/explain-json.md describes them. Fields
//! are added, never renamed or removed, and each is always there: what nothing is known of is `null`.

use serde::{Serialize, Serializer};
use xhint_relo::RelocKind;
use xhint_universe::{Layout, LayoutId, Universe};

use crate::table::Slot;
use crate::{Dispatch, Error, Fallback, LinkOptions, Plain};

/// All that linking found out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The layouts the object was linked for, in the order of `results` below.
    pub layouts: Vec<LayoutReport>,
    /// Every CO-RE relocation, in the order of `.BTF.ext`.
    pub relocations: Vec<RelocationReport>,
    /// How packets of several layouts come to the right copy.
    pub dispatch: DispatchReport,
    /// Names that lead nowhere and could be bound to a layout.
    #[serde(skip)]
    pub unbound: Option<Unbound>,
    /// Structs that a layout answers to and that are read without CO-RE; among the warnings, too.
    #[serde(skip)]
    pub plain: Vec<Plain>,
    /// What is worth knowing and stops nothing.
    pub warnings: Vec<String>,
    /// Whether a packet can pass for several of the layouts, so that it matters which is tried first.
    #[serde(skip)]
    pub ranked: bool,
    /// What linking for no layout is refused for: what a program would read for packets of none.
    pub fallback_refused: Option<String>,
    /// Why linking is refused.
    pub refused: Option<String>,
}

/// A layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayoutReport {
    /// Its struct's name, flavour included.
    pub name: String,
    /// The id packets carry.
    pub id: u32,
    /// Bytes of metadata.
    pub size: u32,
    /// The file it comes from.
    pub source: String,
    /// Its slot, when dispatched: see [`crate::table`] and [`crate::counts`].
    pub slot: Option<Slot>,
    /// Whether a program that is dispatched reads what this layout lacks, so that its packets go to the fallback.
    pub fallback: bool,
    /// Which program reads what that it lacks, and where.
    #[serde(serialize_with = "unless_empty")]
    pub lacks: String,
    /// Why linking for it is refused.
    pub refused: Option<String>,
}

/// How dispatch is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DispatchReport {
    /// Never [`Dispatch::Auto`]; none where linking was refused before that was settled.
    pub kind: Option<Dispatch>,
    /// Why it was chosen, if it was not asked for.
    #[serde(serialize_with = "unless_empty")]
    pub why: String,
    /// With `table`, how many copies of a program there are; the most, if there are several programs.
    pub copies: Option<usize>,
    /// What it asks of a loader, if that is more than to load the program that it attaches, or than was to be expected.
    #[serde(serialize_with = "unless_empty")]
    pub needs: &'static str,
    /// What takes its place if a kernel refuses it and the object is linked again with it among [`LinkOptions::refused`].
    #[serde(skip)]
    pub otherwise: Option<Dispatch>,
}

/// One relocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelocationReport {
    /// Its number in the object, from 0.
    pub number: usize,
    /// The ELF section.
    pub section: String,
    /// The program or function.
    pub function: String,
    /// The instruction in that function, from 0.
    pub instruction: usize,
    /// What it asks.
    #[serde(serialize_with = "by_name")]
    pub kind: RelocKind,
    /// The access in C words, such as `nic_meta.l3.v6.flow`.
    pub access: String,
    /// Where it stands in the source; none if the object has no line info there.
    pub place: Option<PlaceReport>,
    /// What it becomes: for each of [`Report::layouts`], then for no layout if there is a fallback.
    pub results: Vec<ResultReport>,
}

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlaceReport {
    /// The file as the compiler wrote it down: mostly its whole path.
    pub file: String,
    /// Line from 1; 0 if not known.
    #[serde(serialize_with = "unless_0")]
    pub line: u32,
    /// Column from 1; 0 if not known.
    #[serde(serialize_with = "unless_0")]
    pub column: u32,
    /// The text of the line.
    pub text: String,
}

/// What a relocation becomes for one layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ResultReport {
    /// The layout's name; none for the fallback.
    pub layout: Option<String>,
    /// What it is in the target, such as `mlx_rx_v3.hash (u32)`; none if there is nothing.
    pub target: Option<String>,
    /// By what it meets that, if not by its name: `hint rx_hash`, `as`, `bind`, `selector`.
    pub by: Option<String>,
    /// The value that the compiler wrote.
    pub was: u64,
    /// The value that is there after linking; none if the instruction is poisoned.
    pub value: Option<u64>,
    /// Why there is no value, and what could be meant instead.
    pub why: Option<String>,
    /// Whether the program can come to this instruction, as linked for this layout.
    pub reached: bool,
}

/// Names of the program that lead nowhere, and layouts that one of them could be bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unbound {
    /// The program's, without flavours.
    pub names: Vec<String>,
    /// The layouts'.
    pub layouts: Vec<String>,
}

impl LayoutReport {
    /// The layout with this index among the universe's.
    pub fn of(universe: &Universe, index: usize) -> Option<LayoutReport> {
        universe.layouts().get(index).map(|layout| LayoutReport::new(universe, layout))
    }

    /// A layout of the universe's.
    pub(crate) fn new(universe: &Universe, layout: &Layout) -> LayoutReport {
        let source = universe.source(layout.source).map_or("", |s| s.name()).to_owned();
        LayoutReport {
            name: layout.name.clone(),
            id: layout.id,
            size: layout.size,
            source,
            slot: None,
            fallback: false,
            lacks: String::new(),
            refused: None,
        }
    }

    /// The layout, its id, since firmwares of one file may call theirs the same, and the file.
    pub fn label(&self) -> String {
        format!("{} {} of {}", self.name, LayoutId(self.id), self.source)
    }
}

impl Report {
    /// The layouts, their ids and files.
    pub(crate) fn layout_labels(&self) -> Vec<String> {
        self.layouts.iter().map(LayoutReport::label).collect()
    }

    /// Warns of options that were given and had no effect.
    pub(crate) fn useless(&mut self, options: &LinkOptions) {
        if options.fallback != Fallback::Program && self.dispatch.kind == Some(Dispatch::None) {
            self.warnings.push(
                "a fixed action is asked for packets that no layout is for; but nothing is dispatched, so every packet runs \
                 the program, and none gets it"
                    .to_owned(),
            );
        }
        if !options.first.is_empty() && !self.ranked {
            let names = options.first.join("', '");
            self.warnings.push(format!(
                "no packet can pass for several of these layouts, so that '{names}' is to be tried first does nothing"
            ));
        }
    }

    /// Notes that linking is refused, and which layouts the error is about. Of the others is said what they lack, so that their
    /// packets would go to the fallback.
    pub(crate) fn refuse(&mut self, error: &Error) {
        let words = error.to_string();
        let of_fallback = matches!(error, Error::FallbackMissing { .. });
        for (n, layout) in self.layouts.iter_mut().enumerate() {
            let lack = self.relocations.iter().find(|r| r.results.len() > 1 && r.fails(n));
            if let Some(lack) = lack.filter(|_| layout.lacks.is_empty()) {
                let why = lack.results.get(n).and_then(|r| r.why.as_deref()).unwrap_or_default();
                layout.lacks = format!("{}: {}: {why}", lack.function, lack.access);
            }
            if error.is_about(&layout.label()) {
                layout.refused = Some(words.clone());
            }
        }
        self.fallback_refused = of_fallback.then(|| words.clone());
        self.refused = Some(words);
    }
}

impl RelocationReport {
    /// Whether this relocation fails for the layout with this index: the program would run into it, and it has no
    /// value.
    pub fn fails(&self, layout: usize) -> bool {
        self.results.get(layout).is_some_and(|r| r.value.is_none() && r.reached)
    }
}

/// Text, or `null` where there is none.
fn unless_empty<S: Serializer>(text: impl AsRef<str>, serializer: S) -> Result<S::Ok, S::Error> {
    Some(text.as_ref()).filter(|text| !text.is_empty()).serialize(serializer)
}

/// A number counted from 1, or `null`.
fn unless_0<S: Serializer>(number: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    Some(number).filter(|number| **number > 0).serialize(serializer)
}

/// As libbpf's log has it.
fn by_name<S: Serializer>(kind: &RelocKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

/// A linked object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The ELF file.
    pub bytes: Vec<u8>,
    /// What was done.
    pub report: Report,
}

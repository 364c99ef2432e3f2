//! How to link.

use serde::{Deserialize, Serialize};
use xhint_bpf::FunctionId;
use xhint_object::{Function, Object};
use xhint_relo::{Binding, FieldBind};

use crate::table::Slot;

/// How to link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOptions {
    /// Names or ids of the layouts to link for ([`xhint_universe::Universe::called`]); `None` stands for all that the program
    /// asks for.
    pub layouts: Option<Vec<String>>,
    /// Local essential names, and the targets' names that they are bound to: `nic_meta` and `mlx_rx_v3`.
    pub bind: Vec<(String, String)>,
    /// Fields of local structs, and the layouts' fields that they are, whatever those are called.
    pub bind_fields: Vec<FieldBind>,
    /// Whether pointers in metadata may be followed and pointers into it computed, which takes CAP_PERFMON. If not,
    /// such pointers count as absent, and additions of constants are written as such.
    pub walk: bool,
    /// The program that is to run, if it is known: what others of the object read of layouts is nobody's trouble then.
    pub program: Option<String>,
    /// What to do about several layouts.
    pub dispatch: Dispatch,
    /// Whether [`Dispatch::Auto`] may come to a table: whoever loads the object may do what `walk` says, and is known.
    pub table: bool,
    /// What a kernel refused of this object before: [`Dispatch::Auto`] takes something else.
    pub refused: Vec<Dispatch>,
    /// Names or ids of layouts in the order in which they are to be tried, where packets can pass for several. Layouts
    /// of one length that have their ids in different places are refused unless one of them is among these.
    pub first: Vec<String>,
    /// Let reads of what a layout lacks stay poisoned rather than be an error, as libbpf does: for programs whose
    /// guard hangs on what only the loader sets.
    pub allow_missing: bool,
    /// What packets get that no layout is for, when dispatched.
    pub fallback: Fallback,
    /// Fill [`crate::Report::relocations`].
    pub explain: bool,
    /// Remove what cannot be reached under the chosen layouts, poison included, so that verifiers which walk arms that are
    /// never taken do not see it. Copies that dispatch makes without `walk` are always so; without dispatch, programs
    /// lose instructions and their DWARF by it.
    pub prune: bool,
    /// Count packets by layout in the entry, as [`crate::counts`] says. With [`Dispatch::Auto`] this makes an entry even
    /// for one layout, where that can be.
    pub count: bool,
    /// Slots that layouts have already: a layout keeps it. Others get the lowest free ones.
    pub slots: Vec<TakenSlot>,
    /// What gives metadata to packets that come without any. It is run by the entry, so there is one, and that is static.
    pub filler: Option<FillerCall>,
}

/// A function of the object that puts metadata in front of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FillerCall {
    /// Its name. It takes the program's context, and says by a number other than 0 that the metadata is there.
    pub function: String,
    /// Id of the layout that it fills.
    pub layout: u32,
    /// Whether the metadata stays in front of packets that the program passes on to the kernel's stack. There it keeps
    /// packets of one flow from being put together, unless it is alike in all of them.
    pub keep: bool,
}

/// A slot that a layout has or had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenSlot {
    /// The layout's id.
    pub id: u32,
    /// Its length in bytes.
    pub size: u32,
    /// The slot.
    pub slot: Slot,
}

impl Default for LinkOptions {
    fn default() -> LinkOptions {
        LinkOptions {
            layouts: None,
            bind: Vec::new(),
            bind_fields: Vec::new(),
            walk: true,
            program: None,
            dispatch: Dispatch::Auto,
            table: false,
            refused: Vec::new(),
            first: Vec::new(),
            allow_missing: false,
            fallback: Fallback::Program,
            explain: false,
            prune: false,
            count: false,
            slots: Vec::new(),
            filler: None,
        }
    }
}

impl LinkOptions {
    /// How names lead on in a link for this layout, by its place among the universe's; or for none.
    pub(crate) fn binding(&self, layout: Option<usize>) -> Binding {
        let (bind, bind_fields) = (self.bind.clone(), self.bind_fields.clone());
        Binding { layout, bind, bind_fields, walk: self.walk }
    }

    /// Whether a program is one that is to run.
    pub(crate) fn runs(&self, program: &Function) -> bool {
        self.program.as_ref().is_none_or(|name| *name == program.name)
    }

    /// The entries of an object that are to run.
    pub(crate) fn running(&self, object: &Object) -> Vec<FunctionId> {
        let runs = |id: &FunctionId| self.runs(object.functions().at(*id));
        object.entries().into_iter().filter(runs).collect()
    }
}

/// How packets of several layouts come to the right copy of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dispatch {
    /// `None` while one layout answers to each name, else what fits.
    #[default]
    Auto,
    /// Not at all: one layout a name. Programs keep their instructions' number and place.
    None,
    /// By an entry that tests length and id and jumps to the copy. Needs nothing at run time.
    Static,
    /// By an entry that tail-calls the copy, so that layouts can be added in place. The loader must keep the program
    /// arrays.
    Tail,
    /// By an entry that looks the id up in a table, and one copy for all layouts that are alike, which finds there where
    /// fields lie. Takes CAP_PERFMON.
    Table,
}

impl Dispatch {
    /// All of them.
    pub const ALL: [Dispatch; 5] = [Dispatch::Auto, Dispatch::None, Dispatch::Static, Dispatch::Tail, Dispatch::Table];

    /// Its name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Dispatch::Auto => "auto",
            Dispatch::None => "none",
            Dispatch::Static => "static",
            Dispatch::Tail => "tail",
            Dispatch::Table => "table",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Dispatch> {
        Dispatch::ALL.into_iter().find(|d| d.name() == name)
    }
}

impl std::fmt::Display for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// What packets get that no copy is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// The program itself, linked for no layout: every `bpf_core_field_exists` on metadata is 0 in it.
    #[default]
    Program,
    /// A fixed XDP action, such as `XDP_PASS`, without running the program.
    Action(u32),
}

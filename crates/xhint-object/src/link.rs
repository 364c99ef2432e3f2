//! Linking: from an object and a universe to an object that needs no CO-RE any more.

use std::collections::{BTreeMap, HashSet};

use xhint_btf::Kind;
use xhint_universe::Universe;

use crate::bind::Bound;
use crate::choice::{Choice, named};
use crate::dispatch::{Copies, Fallback, place_btf, reserved};
use crate::image::{Content, Image};
use crate::missing::Reached;
use crate::report::{DispatchReport, LayoutReport, Report};
use crate::variant::Variant;
use crate::{Error, Function, Missing, Object, assembly, multi};

/// How to link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkOptions {
    /// Names (or ids, as `0x…`) of the layouts to link for; none of them means all that the program asks for.
    pub layouts: Vec<String>,
    /// Local essential name and target name, as in `--bind nic_meta=mlx_rx_v3`.
    pub rename: Vec<(String, String)>,
    /// Whether pointers in metadata may be followed and pointers into it computed, which takes CAP_PERFMON. If not,
    /// such pointers count as absent, and additions of constants are written as such.
    pub walk: bool,
    /// The program that is to run, if it is known: what others of the object read of layouts is nobody's trouble then.
    pub program: Option<String>,
    /// What to do about several layouts.
    pub dispatch: Dispatch,
    /// Names or ids of layouts in the order in which they are to be tried, where packets can pass for several. Layouts
    /// of one length that have their ids in different places are refused unless one of them is among these.
    pub first: Vec<String>,
    /// Let reads of what a layout lacks stay poisoned rather than be an error, as libbpf does: for programs whose
    /// guard hangs on what only the loader sets.
    pub allow_missing: bool,
    /// What packets get that no layout is for, when dispatched.
    pub fallback: Fallback,
    /// Fill [`Report::relocations`].
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
}

/// A slot that a layout has or had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenSlot {
    /// The layout's id.
    pub id: u32,
    /// Its length in bytes.
    pub size: u32,
    /// The slot.
    pub slot: u32,
}

impl Default for LinkOptions {
    fn default() -> LinkOptions {
        LinkOptions {
            layouts: Vec::new(),
            rename: Vec::new(),
            walk: true,
            program: None,
            dispatch: Dispatch::Auto,
            first: Vec::new(),
            allow_missing: false,
            fallback: Fallback::Program,
            explain: false,
            prune: false,
            count: false,
            slots: Vec::new(),
        }
    }
}

impl LinkOptions {
    /// Whether a program is one that is to run.
    pub(crate) fn runs(&self, program: &Function) -> bool {
        self.program.as_ref().is_none_or(|name| *name == program.name)
    }
}

/// Why there is no entry that counts, if for this cause there need be none.
fn uncounted(cause: &Error) -> Option<String> {
    let why = match cause {
        Error::NothingToDispatch => "no XDP program of the object depends on it".to_owned(),
        Error::NoSelector { .. } => "its packets carry no id that would tell them from others".to_owned(),
        Error::FallbackMissing { first, .. } => {
            format!("there is nothing to give to packets of no layout, unless a fixed action is said: {first}")
        }
        _ => return None,
    };
    Some(format!("for one layout only; every packet is taken for it and none is counted, since {why}"))
}

/// How packets of several layouts come to the right copy of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dispatch {
    /// `None` while one layout answers to each name, else static or tail by what fits.
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

    /// As it is written on the command line.
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

/// A linked object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// The ELF file.
    pub bytes: Vec<u8>,
    /// What was done.
    pub report: Report,
}

impl Object {
    /// Links for layouts of `universe`.
    ///
    /// # Errors
    /// [`Error::Missing`] where a program would read what the layout lacks; [`Error::SeveralLayouts`]; faults of the
    /// object and of relocations.
    pub fn link(&self, universe: &Universe, options: &LinkOptions) -> Result<Linked, Error> {
        let mut report = Report::default();
        let bytes = self.link_telling(universe, options, &mut report)?;
        Ok(Linked { bytes, report })
    }

    /// Links, and fills `report` as far as it comes: what is known of a refused object stands there too.
    pub(crate) fn link_telling(
        &self,
        universe: &Universe,
        options: &LinkOptions,
        report: &mut Report,
    ) -> Result<Vec<u8>, Error> {
        if let Some(name) = reserved(self) {
            return Err(Error::Reserved { name: name.to_owned() });
        }
        let choice = &Choice::of(self, universe, options)?;
        *report = choice.report(universe);
        for name in &options.first {
            named(universe, name)?;
        }
        let image = match (options.dispatch, choice.several.as_ref()) {
            (Dispatch::None, Some((name, layouts))) => {
                if options.explain {
                    self.explain_each(universe, options, choice, report);
                }
                return Err(Error::SeveralLayouts { name: name.clone(), layouts: layouts.clone() });
            }
            (Dispatch::None, None) => self.link_one(universe, options, choice, report, String::new()),
            (Dispatch::Auto, None) if options.count && !choice.layouts.is_empty() => {
                match multi::link(self, universe, options, choice, report) {
                    Err(cause) => match uncounted(&cause) {
                        Some(why) => {
                            *report = choice.report(universe);
                            self.link_one(universe, options, choice, report, why)
                        }
                        None => Err(cause),
                    },
                    done => done,
                }
            }
            (Dispatch::Auto, None) => {
                let why = "no name has more than one layout to answer to it".to_owned();
                self.link_one(universe, options, choice, report, why)
            }
            _ => multi::link(self, universe, options, choice, report),
        }?;
        report.useless(options);
        image.write()
    }

    /// The layouts of `universe` that the object asks for, or those of them that `options` names.
    ///
    /// # Errors
    /// [`Error::NoLayout`] for a name that no layout has.
    pub fn asked(&self, universe: &Universe, options: &LinkOptions) -> Result<Vec<LayoutReport>, Error> {
        let choice = Choice::of(self, universe, options)?;
        Ok(choice.layouts.iter().filter_map(|n| LayoutReport::of(universe, *n)).collect())
    }

    fn link_one(
        &self,
        universe: &Universe,
        options: &LinkOptions,
        choice: &Choice,
        report: &mut Report,
        why: String,
    ) -> Result<Image, Error> {
        report.dispatch = DispatchReport { kind: "none", why, ..DispatchReport::default() };
        let (mut bound, mut variant) = Bound::new(self, universe, &choice.layouts, options)?;
        let entries = self.running(options);
        let reach = variant.reach(entries.iter().copied());
        if options.explain {
            let reaches = std::slice::from_ref(&reach);
            report.relocations = self.explain_all(std::slice::from_mut(&mut bound), reaches)?;
        }
        let reached = Reached { variant: &variant, entries: &entries, reach: &reach };
        let missing = Missing::all(self, &mut bound, reached, &report.layout_words())?;
        match missing.split_first() {
            Some((first, rest)) if !options.allow_missing => {
                return Err(Error::Missing { first: Box::new(first.clone()), more: rest.len() });
            }
            _ => report.warnings.extend(missing.iter().map(Missing::to_string)),
        }
        if !options.walk {
            let all = variant.reach(self.entries());
            variant.fold(&all);
        }
        if options.prune { self.pruned(variant) } else { Ok(self.image_of(&variant)) }
    }

    /// The entries that are to run.
    pub(crate) fn running(&self, options: &LinkOptions) -> Vec<usize> {
        let runs = |n: &usize| self.functions.get(*n).is_some_and(|f| options.runs(f));
        self.entries().into_iter().filter(runs).collect()
    }

    /// What is run by itself: the programs, and what is called when they throw; all functions of an object that has none.
    pub(crate) fn entries(&self) -> Vec<usize> {
        let tags = self.btf.types().filter(|t| t.kind() == Kind::DeclTag);
        let catching: Vec<_> = tags.filter_map(|t| t.name().strip_prefix("exception_callback:")).collect();
        let catches = |n: usize| self.functions.get(n).is_some_and(|f| catching.contains(&f.name.as_str()));
        let programs: Vec<_> = (0..self.functions.len()).filter(|n| self.is_program(*n) || catches(*n)).collect();
        if programs.is_empty() { (0..self.functions.len()).collect() } else { programs }
    }

    fn is_program(&self, index: usize) -> bool {
        self.functions.get(index).is_some_and(|f| f.is_program())
    }

    /// The object under the variant, without what cannot be reached.
    fn pruned(&self, variant: Variant<'_>) -> Result<Image, Error> {
        let variants = [variant];
        let mut copies = Copies::new(self, &variants, vec![String::new()], 0, HashSet::new())?;
        copies.prune();
        copies.finish()
    }

    /// The object with the variant's instructions in place and no CO-RE relocations.
    fn image_of(&self, variant: &Variant<'_>) -> Image {
        let mut image = self.image.clone();
        let mut sections: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
        for (index, function) in self.functions.iter().enumerate() {
            for (at, insn) in variant.patches(index) {
                let own = || self.image.bytes(function.section).to_vec();
                let code = sections.entry(function.section).or_insert_with(own);
                assembly::set(code, function.start.saturating_add(*at), insn);
            }
        }
        for (number, code) in sections {
            if let Some(section) = image.sections.get_mut(number) {
                section.content = Content::Bytes(code.into());
            }
        }
        let mut ext = self.ext.clone();
        ext.relos.clear();
        place_btf(&mut image, self.btf.raw().clone(), &ext);
        image
    }
}

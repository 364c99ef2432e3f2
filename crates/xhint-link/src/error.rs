//! What can be wrong with what an object is linked for.

mod clash;
mod missing;
mod plain;

pub use clash::Clash;
pub use missing::Missing;
pub use plain::{Plain, PlainRead};

/// Why an object cannot be linked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The object is at fault, or what was made of it does not fit in one.
    #[error(transparent)]
    Object(#[from] xhint_object::Error),
    /// BTF that cannot take what was to be added.
    #[error("cannot write .BTF")]
    BtfWrite(#[from] xhint_btf::Error),
    /// An object for another machine than the base BTF.
    #[error("the object and the base BTF have different byte order; give the BTF of the target's kernel")]
    OtherOrder,
    /// An object for another machine than a NIC's BTF, where that alone says which machine it is.
    #[error(
        "the object and {nic} have different byte order; take the BTF of a NIC in the machine that the object is for"
    )]
    NicOrder {
        /// The NIC's file.
        nic: String,
    },
    /// A relocation that makes no sense, or has several answers.
    #[error("{place}: CO-RE relocation {number}")]
    Relo {
        /// Where it stands in the source.
        place: String,
        /// Its number in the object.
        number: usize,
        /// What is wrong.
        source: xhint_relo::Error,
    },
    /// An instruction that does not fit its relocation.
    #[error("{place}: CO-RE relocation {number}")]
    Patch {
        /// Where it stands in the source.
        place: String,
        /// The relocation's number in the object.
        number: usize,
        /// What is wrong.
        source: xhint_relo::PatchError,
    },
    /// A relocation that the object does not have.
    #[error("there is no CO-RE relocation {number}")]
    NoRelo {
        /// The number asked for.
        number: usize,
    },
    /// A layout that no NIC BTF has.
    #[error("no layout is called '{name}'; there is {have}")]
    NoLayout {
        /// The name asked for.
        name: String,
        /// The layouts there are.
        have: String,
    },
    /// A name of the program that was bound to two.
    #[error("'{name}' is bound to '{first}' and to '{second}'; it can mean only one of them")]
    BoundTwice {
        /// The program's name.
        name: String,
        /// What it was bound to first.
        first: String,
        /// And then.
        second: String,
    },
    /// A field that is bound is nowhere, or bound twice.
    #[error(transparent)]
    FieldBind(#[from] xhint_relo::BindFault),
    /// Several layouts answer to one name.
    #[error(
        "several layouts answer to '{name}': {}; choose one of them, or link for all with a dispatch", .layouts.join(", ")
    )]
    SeveralLayouts {
        /// The program's name.
        name: String,
        /// The layouts, their ids and files.
        layouts: Vec<String>,
    },
    /// The program would read what the layout lacks.
    #[error("{first}{}{}", and_more(.more), guard(.first))]
    Missing {
        /// The first such read.
        first: Box<Missing>,
        /// How many more there are.
        more: usize,
    },
    /// What runs for packets of no layout would read metadata.
    #[error(
        "{first}{}: packets of no known layout {} come to this{}; or give such packets a fixed action",
        and_more(.more), if .first.lost.is_some() { "may" } else { "would" }, guard(.first)
    )]
    FallbackMissing {
        /// The first such read.
        first: Box<Missing>,
        /// How many more there are.
        more: usize,
    },
    /// A name that what we generate would bear, too.
    #[error(
        "the object has a '{name}' of its own, a name that dispatch uses: rename it; or, if the object was \
         linked by xhint before, give the one that the compiler made"
    )]
    Reserved {
        /// The map, variable or section.
        name: String,
    },
    /// No XDP program, but one in a section of old, which says of no type what it is.
    #[error(
        "program {program} is in section {section}, which loaders no longer take for an XDP program's; \
         write SEC(\"xdp\")"
    )]
    OldSection {
        /// The program.
        program: String,
        /// The section.
        section: String,
    },
    /// No program to dispatch.
    #[error(
        "no XDP program of the object depends on the layout, so there is nothing to dispatch; link without dispatch"
    )]
    NothingToDispatch,
    /// A filler that is not in the object, or fills what is not linked for.
    #[error("the object has no function '{function}' that fills a layout which the program asks for")]
    NoFiller {
        /// The function asked for.
        function: String,
    },
    /// A filler with a dispatch that cannot run it.
    #[error("a filler is run by the entry of `static` dispatch, and not with `{dispatch}`")]
    FillerDispatch {
        /// The dispatch asked for.
        dispatch: crate::Dispatch,
    },
    /// Packets that do not say what layout they carry.
    #[error(
        "layout {layout} has no selector that one load can read: no field says that a packet carries it, so its packets \
         cannot be told from others; end it with a u32 btf_id, tag a field xhint:selector, or use it alone"
    )]
    NoSelector {
        /// The layout.
        layout: String,
    },
    /// Two layouts of one length that a packet can pass for both of.
    #[error("{0}; put the id of both in one place, or say which of them is to be tried first")]
    Selectors(Clash),
    /// A struct that a layout answers to is read without CO-RE.
    #[error("{0}")]
    Plain(Plain),
    /// More layouts than slots.
    #[error(
        "there are more layouts than the {} slots of tail calls and counters; static or table dispatch without counting takes more",
        crate::table::SLOT_COUNT
    )]
    NoSlot,
    /// More functions in one program than the kernel takes.
    #[error(
        "{program} would be {functions} functions, and the kernel takes {most} functions of one program{}",
        if *.functions > crate::table::SLOT_COUNT as usize {
            "; those are more than tail calls have slots for, too: dispatch by a table makes fewer"
        } else if *.optional {
            "; it is loaded on demand only (SEC(\"?xdp\")), so tail calls have no slots for it: name it as the program to run, \
             or dispatch by a table"
        } else {
            "; dispatch by tail calls or by a table makes fewer"
        }
    )]
    TooManyFunctions {
        /// The program.
        program: String,
        /// How many it would be.
        functions: usize,
        /// How many it may be.
        most: usize,
        /// Whether it is loaded only if it is asked for.
        optional: bool,
    },
    /// A table without the right to compute pointers into metadata.
    #[error(
        "dispatch by a table computes at run time where fields lie, which needs CAP_PERFMON; static dispatch does not need it"
    )]
    TableNeedsWalk,
    /// More numbers differ between layouts than a row holds.
    #[error(
        "the layouts differ in more offsets than a table's row of {most} bytes can hold; static dispatch has no such limit"
    )]
    RowTooLong {
        /// Bytes of the largest row.
        most: usize,
    },
    /// More kinds of layouts than an entry can number.
    #[error(
        "the layouts need {copies} different copies of the program, and a table can have {most}; tail calls have no such limit"
    )]
    TooManyCopies {
        /// How many.
        copies: usize,
        /// How many there can be.
        most: usize,
    },
    /// More places of ids than a row can number.
    #[error(
        "layouts of {size} bytes have their ids in more than {most} places, and a table can look in no more; static dispatch has \
         no such limit"
    )]
    TooManySelectors {
        /// Bytes of the layouts.
        size: u32,
        /// How many places there can be.
        most: usize,
    },
    /// More loops than the kernel can be let make code of.
    #[error(
        "{program} calls bpf_loop {loops} times, and in a program that asks the driver the kernel can be let make code of {most}: \
         it would lose track of a longer one, and the machine its network when the device goes"
    )]
    Loops {
        /// The program.
        program: String,
        /// How many.
        loops: usize,
        /// How many there can be.
        most: usize,
    },
    /// Relocations where there should be none any more.
    #[error("the object is not linked yet: it has CO-RE relocations")]
    Unlinked,
    /// A kernel refused every dispatch that would do.
    #[error("every dispatch that would do was refused before")]
    AllRefused,
    /// Too many ids that hash together.
    #[error(
        "the table of ids has no room for id {}: the places where it would be looked for hold other ids; declare another id \
         for this layout",
        xhint_universe::LayoutId(*.id)
    )]
    TableFull {
        /// The id.
        id: u32,
    },
}

impl Error {
    /// Whether another base would help, or one at all.
    pub fn lacks_base(&self) -> bool {
        matches!(self, Error::OtherOrder | Error::Relo { source: xhint_relo::Error::NoBase { .. }, .. })
    }

    /// Whether it says that a dispatch has a limit that another may not have.
    pub(crate) fn is_limit(&self) -> bool {
        use Error::{NoSlot, Object, RowTooLong, TableFull, TooManyCopies, TooManyFunctions, TooManySelectors};
        match self {
            NoSlot | RowTooLong { .. } | TableFull { .. } => true,
            TooManyCopies { .. } | TooManyFunctions { .. } | TooManySelectors { .. } => true,
            Object(cause) => matches!(cause, xhint_object::Error::TooFar { .. }),
            _ => false,
        }
    }

    /// Whether it is about this layout, given as [`crate::LayoutReport::label`] has it.
    pub(crate) fn is_about(&self, layout: &str) -> bool {
        match self {
            Error::Missing { first, .. } => first.layouts.iter().any(|l| l == layout),
            Error::Selectors(clash) => clash.layouts.iter().any(|l| l == layout),
            Error::NoSelector { layout: of } => of == layout,
            Error::SeveralLayouts { layouts, .. } => layouts.iter().any(|l| l == layout),
            _ => false,
        }
    }
}

/// What to do about a read of what is not there.
fn guard(first: &Missing) -> String {
    let asks = match first.kind {
        Some(kind) if kind.is_enumerator() => "bpf_core_enum_value_exists()",
        Some(kind) if kind.is_field() => "bpf_core_field_exists()",
        _ => "bpf_core_type_exists()",
    };
    match (first.exists, &first.lost) {
        (_, Some(_)) => format!("; ask {asks} again right before it, or allow it to be missing"),
        (true, None) => String::new(),
        (false, None) => format!("; guard it with {asks}"),
    }
}

fn and_more(count: &usize) -> String {
    if *count == 0 { String::new() } else { format!(" (and {count} more)") }
}

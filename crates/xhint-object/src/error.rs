//! What can be wrong with an object file.

/// A fault in an object file. Offsets count from the start of the file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not BTF and not ELF.
    #[error("neither BTF nor an ELF object: the file begins with {first}")]
    NeitherBtfNorElf {
        /// Its first bytes in hexadecimal.
        first: String,
    },
    /// A variable that cannot be given the value asked for.
    #[error("variable '{name}'")]
    Set {
        /// Its name.
        name: String,
        /// Why not.
        source: SetError,
    },
    /// Not an ELF file at all.
    #[error("not an ELF file; compile the program with `clang -target bpf -O2 -g -c`")]
    NotElf,
    /// An ELF file of another kind.
    #[error("not an eBPF object: {what}; compile the program with `clang -target bpf -O2 -g -c`")]
    NotBpf {
        /// What it is instead.
        what: String,
    },
    /// Parts that add up to more than the file.
    #[error("bad ELF file: the {what} are together larger than the file, so some of them overlap")]
    Overlap {
        /// Which parts.
        what: &'static str,
    },
    /// Sections that disagree on byte order.
    #[error("the ELF file, .BTF and .BTF.ext do not have the same byte order")]
    ByteOrder,
    /// A record of `.BTF.ext` that fits nothing in the object.
    #[error(".BTF.ext, section {name}: {what}")]
    ExtSection {
        /// The ELF section that the record is for.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A name of a section or symbol that is not UTF-8.
    #[error("the name '{name}' is not UTF-8")]
    Name {
        /// The name, with marks in place of the bad bytes.
        name: String,
    },
    /// A section that is at fault.
    #[error("section {name}: {what}")]
    Section {
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A symbol that is at fault.
    #[error("symbol {number} '{name}': {what}")]
    Symbol {
        /// Its number in the symbol table.
        number: usize,
        /// Its name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A dispatch that needs a jump longer than an instruction can hold.
    #[error(
        "the dispatch needs a jump over {distance} instructions, which is longer than eBPF allows; tail calls have no such limit"
    )]
    TooFar {
        /// How far.
        distance: i64,
    },
    /// Code that has to stay where it is.
    #[error(
        "the function {function} jumps to where a table says (.jumptables), so its code cannot be copied or moved: link it for \
         one layout without dispatch, or compile it with -fno-jump-tables"
    )]
    JumpTable {
        /// The function with the jump.
        function: String,
    },
    /// Two objects that both have something of one name.
    #[error("the object has a '{name}', which is the name of something that is to be joined to it; rename it")]
    Joined {
        /// The name.
        name: String,
    },
    /// A function was to get other code that is not there.
    #[error("no function is called '{name}'")]
    NoFunction {
        /// The name.
        name: String,
    },
    /// An instruction that names a symbol which stands nowhere.
    #[error("an instruction names symbol {number}, which stands nowhere")]
    NoSymbol {
        /// Its number.
        number: usize,
    },
    /// A section of 4 GiB or more.
    #[error("a section would have 4 GiB or more, which BTF cannot say the places in")]
    TooLong,
    /// BTF that cannot take what was to be added.
    #[error("cannot write .BTF")]
    BtfWrite(#[from] xhint_btf::Error),
    /// An object that outgrew ELF.
    #[error("cannot write the object")]
    Write(#[from] object::write::Error),
    /// An ELF file that cannot be read.
    #[error("bad ELF file")]
    Elf(#[from] object::read::Error),
    /// An ELF file lacks a section.
    #[error("no section {name}{hint}")]
    NoSection {
        /// The section.
        name: &'static str,
        /// What to do about it.
        hint: &'static str,
    },
    /// BTF in a section is at fault.
    #[error("{section}")]
    Btf {
        /// The section, or `BTF` for a raw file.
        section: &'static str,
        /// What is wrong with it.
        source: xhint_btf::Error,
    },
}

impl Error {
    /// Whether it is what comes of BTF that is split on a base and read as if it stood alone: it refers to types or strings that
    /// it does not have, or to kinds that its base describes.
    pub fn lacks_base(&self) -> bool {
        use xhint_btf::Error::{Kind, StringOffset, Strings, TypeId};
        let Error::Btf { source, .. } = self else { return false };
        matches!(source, Strings { what: "begin", .. } | StringOffset { .. } | TypeId { .. } | Kind { .. })
    }
}

/// Why a variable cannot be given a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SetError {
    /// There is none of that name.
    #[error("there is none; the program has {}", listed(.have))]
    NoVariable {
        /// Those that can be set.
        have: Vec<String>,
    },
    /// Variables of that name are in several sections or functions.
    #[error("there are several of that name")]
    Several,
    /// It was given two values.
    #[error("it is set to '{first}' and to '{second}'; it can have only one value")]
    Twice {
        /// The one.
        first: String,
        /// And the other.
        second: String,
    },
    /// It is no constant.
    #[error("it is in {section}, where no constants are; only variables declared const volatile can be set")]
    NotConstant {
        /// The section it stands in.
        section: String,
    },
    /// It is a constant that the compiler knows.
    #[error(
        "it is const, but not volatile, so the compiler may have used its value already; declare it const volatile"
    )]
    NotVolatile,
    /// It is of a type that no text stands for.
    #[error("it is {what}; integers, bool, enums and arrays of char can be set")]
    Kind {
        /// What it is.
        what: String,
    },
    /// The value is none of its type's.
    #[error("'{value}' does not fit: {takes}")]
    Value {
        /// What was to be its value.
        value: String,
        /// Which there are.
        takes: String,
    },
}

fn listed(have: &[String]) -> String {
    if have.is_empty() { "no const volatile variable".to_owned() } else { have.join(", ") }
}

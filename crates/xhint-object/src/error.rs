//! What can be wrong with an object, or with what it is linked for.

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
    /// An ELF file that cannot be read.
    #[error("bad ELF file: {0}")]
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
    #[error("{section}: {source}")]
    Btf {
        /// The section, or `BTF` for a raw file.
        section: &'static str,
        /// What is wrong with it.
        source: xhint_btf::Error,
    },
}

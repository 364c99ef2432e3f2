//! `--nic` and `--base`: which BTF to work with.

use std::path::{Path, PathBuf};

use xhint::universe::Universe;

use crate::layouts;

/// The BTF of NICs, and what it is split on: together a type universe.
#[derive(Debug, Clone, clap::Args)]
pub struct Nics {
    /// A NIC's BTF: raw (standalone, or split on the base) or an ELF object with a section .BTF; a distilled base is taken
    /// from .BTF.base, or from FILE.base beside a raw FILE; may be repeated
    #[arg(long = "nic", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub base: Base,
}

/// What NIC BTF is split on, and where kernel types are found.
#[derive(Debug, Clone, clap::Args)]
pub struct Base {
    /// The kernel's BTF, raw or in an ELF object; may be repeated: each is split on the one before, as a module's is on
    /// vmlinux [default: the running kernel's]
    #[arg(id = "base", long = "base", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

impl Nics {
    /// The universe of all of them.
    ///
    /// # Errors
    /// Names the file.
    pub fn universe(&self) -> anyhow::Result<Universe> {
        layouts::universe(&self.files, &self.base.files)
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().chain(&self.base.files).map(PathBuf::as_path)
    }
}

//! `--nic` and `--base`: which BTF to work with.

use std::path::{Path, PathBuf};

use xhint::universe::Universe;

use crate::layouts;

/// The BTF of NICs, and what it is split on: together a type universe.
#[derive(Debug, Clone, clap::Args)]
pub struct Nics {
    /// A NIC's BTF, standalone or split on the base: a raw file, or an ELF object with a section .BTF. BTF that is split on a
    /// distilled base has that in the section .BTF.base, or in FILE.base beside a raw FILE. Of a directory, all files that
    /// describe layouts. May be repeated
    #[arg(long = "nic", value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub base: Base,
}

/// The same for who can do without NICs.
#[derive(Debug, Clone, clap::Args)]
pub struct MaybeNics {
    /// A NIC's BTF, standalone or split on the base: a raw file, or an ELF object with a section .BTF. BTF that is split on a
    /// distilled base has that in the section .BTF.base, or in FILE.base beside a raw FILE. Of a directory, all files that
    /// describe layouts. May be repeated [default: none, and the program's fields are filled in from what the device has]
    #[arg(long = "nic", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub base: Base,
}

/// What NIC BTF is split on, and where kernel types are found.
#[derive(Debug, Clone, clap::Args)]
pub struct Base {
    /// The kernel's BTF, raw or in an ELF object. Repeat it for split BTF: each is split on the one before, as a module's is on
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

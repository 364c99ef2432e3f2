//! Which BTF to work with: `--nic` and `--base`, the same for every verb that has them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use xhint_btf::Btf;
use xhint_universe::Universe;

use crate::files;

/// The arguments that make a type universe.
#[derive(Debug, Clone, clap::Args)]
pub struct Sources {
    /// A NIC's BTF: raw (standalone, or split on the base) or an ELF object with a section .BTF; may be repeated
    #[arg(long = "nic", value_name = "FILE", required = true)]
    pub nics: Vec<PathBuf>,
    #[command(flatten)]
    pub base: Base,
}

/// What NIC BTF is split on, and where kernel types are found.
#[derive(Debug, Clone, clap::Args)]
pub struct Base {
    /// The kernel's BTF, raw or in an ELF object [default: the running kernel's]
    #[arg(id = "base", long = "base", value_name = "FILE")]
    pub file: Option<PathBuf>,
}

impl Sources {
    /// The universe of all of them.
    ///
    /// # Errors
    /// Names the file.
    pub fn universe(&self) -> anyhow::Result<Universe> {
        let base = files::base(self.base.file.as_deref())?;
        let mut universe = Universe::new(base.clone());
        for nic in &self.nics {
            add(&mut universe, nic, base.clone())?;
        }
        Ok(universe)
    }

    /// All files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.nics.iter().map(PathBuf::as_path).chain(self.base.file.as_deref())
    }
}

/// Adds the NIC BTF at `path`.
///
/// # Errors
/// Names the file.
pub fn add(universe: &mut Universe, path: &Path, base: Arc<Btf>) -> anyhow::Result<()> {
    let name = path.display().to_string();
    let btf = xhint_object::nic_btf(files::read(path)?, base).with_context(|| name.clone())?;
    // The universe names the file by itself.
    universe.add(&name, Arc::new(btf))?;
    Ok(())
}

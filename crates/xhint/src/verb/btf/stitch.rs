//! `xhint btf stitch`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use xhint_btf::{Btf, write};

use crate::sources::Base;
use crate::{files, print};

/// Put a base BTF and NIC BTFs into one flat BTF, for loaders that take a custom BTF.
///
/// The base's types keep their ids; those of each NIC BTF follow. Nothing is folded together, so the layouts of several
/// NICs must have different names for such a loader to tell them apart.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint btf stitch mynic.o -o flat.btf")]
pub struct Args {
    /// NIC BTFs: raw (standalone, or split on the base) or ELF objects with a section .BTF
    #[arg(required = true, value_name = "FILE")]
    nics: Vec<PathBuf>,
    #[command(flatten)]
    base: Base,
    /// Where to write the flat BTF; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let inputs = self.nics.iter().chain(&self.base.files).map(PathBuf::as_path);
        files::check_distinct(&self.output, inputs)?;
        let base = files::base(&self.base.files)?;
        let nics = self.nics.iter().map(|path| files::nic(path, &base)).collect::<anyhow::Result<Vec<_>>>()?;
        let flat = write::merge(&base, &nics.iter().collect::<Vec<_>>()).context("cannot put them into one BTF")?;
        files::write(&self.output, &flat)?;
        for (path, nic) in self.nics.iter().zip(&nics) {
            same_names(path, nic, &base);
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Warns of the first struct of `nic` that the base has too: a loader would find both.
fn same_names(path: &Path, nic: &Btf, base: &Btf) {
    if nic.base().is_some() {
        return;
    }
    let composite = |ty: &xhint_btf::Type<'_>| ty.kind().is_composite() && !ty.name().is_empty();
    let known: std::collections::HashSet<_> =
        base.chain().into_iter().flat_map(Btf::types).filter(composite).map(|t| t.name()).collect();
    if let Some(ty) = nic.types().filter(composite).find(|t| known.contains(t.name())) {
        let text = format!("{}: {} '{}' stands in the base too", path.display(), ty.kind(), ty.name());
        print::warning(&text);
    }
}

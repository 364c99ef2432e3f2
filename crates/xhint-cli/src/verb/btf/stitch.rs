//! `xhint btf stitch`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use serde_json::json;
use xhint::btf::{Btf, merge};

use crate::arguments::btf::Base;
use crate::{files, print, shape};

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
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        files::check_stdout(&self.output, self.json)?;
        let inputs = self.nics.iter().chain(&self.base.files).map(PathBuf::as_path);
        files::check_distinct(&self.output, inputs)?;
        let base = files::base(&self.base.files)?;
        let nics = self.nics.iter().map(|path| xhint::read::nic(path, &base)).collect::<xhint::Result<Vec<_>>>()?;
        let flat = merge(&base, &nics.iter().collect::<Vec<_>>()).context("cannot put them into one BTF")?;
        files::write(&self.output, &flat)?;
        let warnings: Vec<String> =
            self.nics.iter().zip(&nics).filter_map(|(path, nic)| same_names(path, nic, &base)).collect();
        warnings.iter().for_each(|text| print::warning(text));
        if self.json {
            print::json(&json!({"output": shape::path(&self.output), "bytes": flat.len(), "warnings": warnings}))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What to say of the first struct of `nic` that the base has too: a loader would find both.
fn same_names(path: &Path, nic: &Btf, base: &Btf) -> Option<String> {
    if nic.base().is_some() {
        return None;
    }
    let composite = |ty: &xhint::btf::Type<'_>| ty.kind().is_composite() && !ty.name().is_empty();
    let known: std::collections::HashSet<_> =
        base.chain().into_iter().flat_map(Btf::types).filter(composite).map(|t| t.name()).collect();
    let ty = nic.types().filter(composite).find(|t| known.contains(t.name()))?;
    Some(format!("{}: {} '{}' stands in the base too", path.display(), ty.kind(), ty.name()))
}

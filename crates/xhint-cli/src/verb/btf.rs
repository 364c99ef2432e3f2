//! `xhint btf …`

mod dump;
mod json;
mod raw;
mod stitch;

use std::process::ExitCode;

use clap::Subcommand;

/// What can be done with BTF.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Dump(dump::Args),
    Stitch(stitch::Args),
}

impl Verb {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Dump(args) => args.run(),
            Verb::Stitch(args) => args.run(),
        }
    }
}

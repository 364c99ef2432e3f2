//! `xhint btf …`

mod dump;
mod raw;

use std::process::ExitCode;

use clap::Subcommand;

/// What can be done with BTF.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print the types of a BTF.
    Dump(dump::Args),
}

impl Verb {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Dump(args) => args.run(),
        }
    }
}

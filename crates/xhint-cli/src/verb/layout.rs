//! `xhint layout …`

mod show;

use std::process::ExitCode;

use clap::Subcommand;

/// What can be done with metadata layouts.
#[derive(Debug, Subcommand)]
pub enum Verb {
    Show(show::Args),
}

impl Verb {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Show(args) => args.run(),
        }
    }
}

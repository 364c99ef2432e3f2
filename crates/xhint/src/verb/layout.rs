//! `xhint layout …`

mod show;

use std::process::ExitCode;

use clap::Subcommand;

/// What can be done with metadata layouts.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Show the layouts of a NIC's BTF: each field's place, width, byte order and hint.
    #[command(after_help = "Example: xhint layout show mynic.o")]
    Show(show::Args),
}

impl Verb {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Show(args) => args.run(),
        }
    }
}

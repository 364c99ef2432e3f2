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
    /// Print the types of a BTF.
    #[command(after_help = "Example: xhint btf dump /sys/kernel/btf/veth --base /sys/kernel/btf/vmlinux")]
    Dump(dump::Args),
    /// Put a base BTF and NIC BTFs into one flat BTF, for loaders that take a custom BTF.
    #[command(after_help = "Example: xhint btf stitch mynic.o -o flat.btf")]
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

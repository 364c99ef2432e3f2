//! `xhint btf dump`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::{json, raw};
use crate::{files, print};

/// Print the types of a BTF.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint btf dump /sys/kernel/btf/veth --base /sys/kernel/btf/vmlinux")]
pub struct Args {
    /// Raw BTF, or an ELF object with a section .BTF
    file: PathBuf,
    /// What FILE is split on: raw BTF or ELF; may be repeated: each is split on the one before
    #[arg(long, value_name = "BTF")]
    base: Vec<PathBuf>,
    /// raw is `bpftool btf dump`'s text, line for line
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    Raw,
    /// The same as JSON, as `bpftool -j` has it
    Json,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let btf = files::btf(&self.file, files::chain(&self.base)?)?;
        match self.format {
            Format::Raw => {
                let mut out = print::stdout();
                raw::write(&mut out, &btf)?;
                out.flush()?;
            }
            Format::Json => print::json_line(&json::Types(&btf))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

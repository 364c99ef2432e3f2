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
    /// The BTF that FILE is split on, raw or in an ELF object. Repeat it if that is split too: each is split on the one before
    #[arg(long, value_name = "BTF")]
    base: Vec<PathBuf>,
    /// How to print the types
    #[arg(long, value_enum, default_value_t = Format::Raw)]
    format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Text, line for line what `bpftool btf dump` prints
    Raw,
    /// JSON, as `bpftool -j btf dump` prints it
    Json,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let btf = files::btf(&self.file, files::chain(&self.base)?)?;
        match if self.json { Format::Json } else { self.format } {
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

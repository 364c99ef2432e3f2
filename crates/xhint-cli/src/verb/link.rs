//! `xhint link`

use std::path::PathBuf;
use std::process::ExitCode;

use xhint::link::DispatchReport;

use crate::arguments::choice::ToFile;
use crate::{files, flags, print};

/// Link a compiled program for NICs' metadata layouts, into an object that any loader loads.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint link prog.o --nic mynic.btf -o out.o\n         \
                        xhint link prog.o --nic mynic.btf -o - | ssh host 'cat >out.o'")]
pub struct Args {
    #[command(flatten)]
    what: ToFile,
    /// Where to write the linked object; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        files::check_stdout(&self.output, self.json)?;
        let inputs = self.what.nics.files().chain([self.what.program.as_path()]);
        files::check_distinct(&self.output, inputs)?;
        let linked = self.what.read(self.json)?.link().map_err(|e| flags::Of::Link.runtime(e))?;
        files::write(&self.output, &linked.bytes)?;
        linked.report.warnings.iter().for_each(|w| print::warning(w));
        flags::offer_bind(linked.report.unbound.as_ref());
        if self.json {
            print::json(&linked.report)?;
            return Ok(ExitCode::SUCCESS);
        }
        tell_dispatch(&linked.report.dispatch);
        Ok(ExitCode::SUCCESS)
    }
}

/// What was chosen, where it was left to us or asks something of a loader.
pub fn tell_dispatch(dispatch: &DispatchReport) {
    let Some(kind) = dispatch.kind.filter(|kind| *kind != xhint::Dispatch::None) else { return };
    if !dispatch.why.is_empty() {
        print::note(&format!("dispatch {kind}: {}", dispatch.why));
    }
    if !dispatch.needs.is_empty() {
        print::note(&format!("dispatch {kind} needs {}", dispatch.needs));
    }
}

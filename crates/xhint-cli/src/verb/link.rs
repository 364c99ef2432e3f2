//! `xhint link`

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use xhint::link::{DispatchReport, Fallback, LinkOptions};
use xhint::runtime::{ForFile, Source};

use crate::arguments::btf::Nics;
use crate::arguments::dispatch::Dispatch;
use crate::{files, flags, print};

/// Link a compiled program for NICs' metadata layouts, into an object that any loader loads.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint link prog.o --nic mynic.btf -o out.o\n         \
                        xhint link prog.o --nic mynic.btf -o - | ssh host 'cat >out.o'")]
pub struct Args {
    /// The program, compiled with `clang -target bpf -O2 -g -c`
    program: PathBuf,
    #[command(flatten)]
    nics: Nics,
    #[command(flatten)]
    choice: Choice,
    /// Where to write the linked object; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Report as JSON
    #[arg(long)]
    json: bool,
}

/// Which layouts, how names meet them, and what becomes of several: what `link` does and `explain` tells of.
#[derive(Debug, Clone, clap::Args)]
pub struct Choice {
    /// Link for this layout only, given by its name, its id or another name that it answers to; may be repeated [default: all layouts that the
    /// program asks for]
    #[arg(long = "layout", value_name = "NAME")]
    pub layouts: Vec<String>,
    /// Resolve the program's struct LOCAL against the NIC's struct TARGET, which has another name; may be repeated
    #[arg(long = "bind", value_name = "LOCAL=TARGET", value_parser = pair)]
    pub binds: Vec<(String, String)>,
    /// Where a packet could be taken for several layouts, try this one first, given by its name, its id or another name that it answers to; may be
    /// repeated
    #[arg(long, value_name = "NAME")]
    pub first: Vec<String>,
    /// Link for loading without CAP_PERFMON: pointers in metadata count as missing fields
    #[arg(long)]
    pub no_walk: bool,
    /// How packets of several layouts come to the right code
    #[arg(long, value_enum, default_value_t = Dispatch::Auto)]
    dispatch: Dispatch,
    /// What becomes of packets that have none of the layouts, if there is a dispatch
    #[arg(long, value_enum, default_value_t = Action::Program)]
    fallback: Action,
    /// Do not refuse reads of fields that a layout lacks, but leave them to the verifier: for programs that guard such reads by
    /// a value that is set only when they are loaded
    #[arg(long)]
    allow_missing: bool,
    /// Remove the code that cannot be reached for a layout. Before Linux 6.18, programs that are loaded without CAP_PERFMON
    /// need it, because the verifier also checks branches that are never taken. Without it, and with --dispatch none, the
    /// program keeps all its instructions
    #[arg(long)]
    prune: bool,
}

/// What becomes of packets that no layout is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Action {
    /// Run the fallback: the program linked for no layout, in which every metadata field is missing
    Program,
    /// Return XDP_PASS
    Pass,
    /// Return XDP_DROP
    Drop,
    /// Return XDP_ABORTED, which the tracepoint xdp:xdp_exception reports
    Aborted,
}

impl Action {
    /// The number of a fixed action, `enum xdp_action` in `linux/bpf.h`.
    pub fn code(self) -> Option<u32> {
        match self {
            Action::Program => None,
            Action::Aborted => Some(0),
            Action::Drop => Some(1),
            Action::Pass => Some(2),
        }
    }
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        files::check_stdout(&self.output, self.json)?;
        let inputs = self.nics.files().chain([self.program.as_path()]);
        files::check_distinct(&self.output, inputs)?;
        let options = LinkOptions { explain: self.json, ..self.choice.options() };
        let link = for_file(&self.program, &self.nics, options)?;
        let linked = link.link().map_err(|e| flags::Of::Link.runtime(e))?;
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

/// What `link` and `explain` are about.
///
/// # Errors
/// Names the file, or the layout that does not exist.
pub fn for_file(program: &Path, nics: &Nics, options: LinkOptions) -> anyhow::Result<ForFile> {
    let object = Source::read(program)?;
    Ok(ForFile::new(object, &[], nics.universe()?, options)?)
}

impl Choice {
    /// As options for linking.
    pub fn options(&self) -> LinkOptions {
        LinkOptions {
            layouts: self.layouts.clone(),
            bind: self.binds.clone(),
            first: self.first.clone(),
            walk: !self.no_walk,
            dispatch: self.dispatch.into(),
            fallback: self.fallback.code().map_or(Fallback::Program, Fallback::Action),
            allow_missing: self.allow_missing,
            prune: self.prune,
            ..LinkOptions::default()
        }
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

/// `LOCAL=TARGET`.
pub fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((local, target)) if !local.is_empty() && !target.is_empty() => Ok((local.to_owned(), target.to_owned())),
        _ => Err("give it as LOCAL=TARGET, such as nic_meta=mlx_rx_v3".to_owned()),
    }
}

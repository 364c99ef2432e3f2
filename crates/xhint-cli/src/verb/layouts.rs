//! `xhint layouts …`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use xhint::Linker;
use xhint::layout::LayoutId;
use xhint::runtime::layouts::{Changed, Layouts, Which};
use xhint::runtime::{LayoutState, Source};

use crate::arguments::btf::Base;
use crate::arguments::device::Within;
use crate::print::{column, columns, line};
use crate::{files, flags, print, shape};

/// What can be done with the layouts of an attached program.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Link an attached program for the layouts of one more NIC BTF too, while packets flow.
    #[command(after_help = "Example: xhint layouts add eth0 fw2.btf")]
    Add(Add),
    /// Remove layouts from an attached program; their packets then get the fallback.
    #[command(after_help = "Example: xhint layouts remove eth0 fw1.btf\n         xhint layouts remove eth0 0xa161c227")]
    Remove(Remove),
    /// List the layouts that an attached program reads.
    #[command(after_help = "Example: xhint layouts list eth0 --json")]
    List(List),
}

#[derive(Debug, clap::Args)]
pub struct Add {
    /// The network device
    ifname: String,
    /// The NIC's BTF, raw or in an ELF object
    nic: PathBuf,
    /// Add this layout only, given by its name, its id or another name that it answers to. A struct that has no tag xhint:layout counts as a layout if
    /// it is named here. May be repeated [default: all layouts that the program asks for]
    #[arg(long = "layout", value_name = "NAME")]
    layouts: Vec<String>,
    /// Where a packet could be taken for several layouts, try this one first, given by its name, its id or another name that it answers to; the whole
    /// program is then linked again. May be repeated
    #[arg(long, value_name = "NAME")]
    first: Vec<String>,
    #[command(flatten)]
    rest: Rest,
}

#[derive(Debug, clap::Args)]
pub struct Remove {
    /// The network device
    ifname: String,
    /// The layout, by its name, by its id, by another name that it answers to, or by the file it came from
    which: String,
    #[command(flatten)]
    rest: Rest,
}

#[derive(Debug, clap::Args)]
pub struct List {
    /// The network device
    ifname: String,
    #[command(flatten)]
    within: Within,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Rest {
    #[command(flatten)]
    base: Base,
    #[command(flatten)]
    within: Within,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verb {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Add(Add { ifname, nic, layouts, first, rest }) => {
                let (home, device) = rest.within.device(&ifname)?;
                let nic = Source::read_btf(&nic)?;
                let nothing =
                    format!("{ifname}: all layouts of {} are there already; nothing to add", nic.path.display());
                let (all, which) = (Layouts::of(&home, &device), Which { layouts, first });
                let changed =
                    all.add_some(rest.linker()?.runtime(), nic, &which).map_err(|e| flags::Of::Add.runtime(e))?;
                rest.tell(&ifname, "added", &changed, &nothing)?;
            }
            Verb::Remove(Remove { ifname, which, rest }) => {
                let (home, device) = rest.within.device(&ifname)?;
                let nothing =
                    format!("{ifname}: {which} is gone from its files; its layouts stay, for others have them, too");
                let changed = Layouts::of(&home, &device)
                    .remove(rest.linker()?.runtime(), &which)
                    .map_err(|e| flags::Of::Add.runtime(e))?;
                rest.tell(&ifname, "removed", &changed, &nothing)?;
            }
            Verb::List(args) => args.run()?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Rest {
    fn linker(&self) -> anyhow::Result<Linker> {
        files::linker(&self.base.files)
    }

    /// Tells what was done, or that there was `nothing` to do.
    fn tell(&self, ifname: &str, what: &str, changed: &Changed, nothing: &str) -> anyhow::Result<()> {
        let long = changed.too_long.iter().map(ToString::to_string);
        let warnings: Vec<String> = changed.warnings.iter().cloned().chain(long).collect();
        warnings.iter().for_each(|text| print::warning(text));
        if self.json {
            let report = shape::changed(ifname, what, changed, &warnings);
            return print::report(&done(ifname, what, changed, nothing), print::json(&report));
        }
        print::report(&done(ifname, what, changed, nothing), text(ifname, what, changed, nothing))
    }
}

/// The same in one line.
fn done(ifname: &str, what: &str, changed: &Changed, nothing: &str) -> String {
    match changed.layouts.iter().map(called).collect::<Vec<_>>().as_slice() {
        [] => nothing.to_owned(),
        all => format!("{ifname}: {what} {}", all.join(", ")),
    }
}

fn text(ifname: &str, what: &str, changed: &Changed, nothing: &str) -> anyhow::Result<()> {
    let mut out = print::stdout();
    for layout in &changed.layouts {
        line!(out, "{ifname}: {what} {}", called(layout))?;
    }
    if changed.layouts.is_empty() {
        line!(out, "{nothing}")?;
    }
    match &changed.swap {
        Some(done) => {
            let maps = super::attach::kept(&done.anew);
            line!(out, "  linked anew for all layouts, program {} swapped in, {maps}", done.program)?;
            super::attach::tell_anew(&mut out, &done.anew)?;
        }
        None if changed.layouts.is_empty() => {}
        None => line!(out, "  in place; the other layouts' packets did not notice")?,
    }
    Ok(out.flush()?)
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let (home, device) = self.within.device(&self.ifname)?;
        let all = Layouts::of(&home, &device).list()?;
        if self.json {
            return print::json(&shape::live(&all));
        }
        let mut out = print::stdout();
        let wide = columns(all.iter().map(|live| live.layout.name.as_str()), 0);
        for live in &all {
            let (name, rest) = (column(&live.layout.name, wide), numbers(&live.layout));
            line!(out, "{name} {rest} from {}", live.sources.join(", "))?;
        }
        Ok(out.flush()?)
    }
}

fn called(layout: &LayoutState) -> String {
    format!("{} {}", layout.name, numbers(layout))
}

fn numbers(layout: &LayoutState) -> String {
    let slot = layout.slot.map(|s| format!(", slot {s}")).unwrap_or_default();
    format!("(id {}, {} bytes{slot})", LayoutId(layout.id), layout.size)
}

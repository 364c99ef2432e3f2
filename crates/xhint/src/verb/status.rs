//! `xhint status`

use std::process::ExitCode;
use std::time::SystemTime;

use xhint_runtime::Home;
use xhint_runtime::status::{Status, all, status};

use super::device::Within;
use crate::print::{self, BOLD, DIM, YELLOW};

/// Show what runs on a device, or on all.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint status\n         xhint status eth0 --json")]
pub struct Args {
    /// The network device [default: all that xhint attached something to]
    ifname: Option<String>,
    #[command(flatten)]
    within: Within,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let found = match &self.ifname {
            Some(name) => {
                let (home, device) = self.within.device(name)?;
                vec![status(&home, &device)?]
            }
            None => {
                let netns = self.within.netns.as_ref().map(|_| self.within.netns()).transpose()?;
                let mut all = all(&Home::system()?)?;
                all.retain(|s| netns.as_ref().is_none_or(|n| n.inode() == s.netns));
                all
            }
        };
        if self.json {
            match (&self.ifname, found.first()) {
                (Some(_), Some(one)) => print::json(one)?,
                _ => print::json(&found)?,
            }
            return Ok(ExitCode::SUCCESS);
        }
        if found.is_empty() {
            println!("nothing attached; see `xhint attach --help`");
        }
        let mut out = print::stdout();
        found.iter().try_for_each(|s| text(&mut out, s))?;
        std::io::Write::flush(&mut out)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(out: &mut impl std::io::Write, s: &Status) -> std::io::Result<()> {
    writeln!(
        out,
        "{BOLD}{}{BOLD:#} (index {}, network namespace {}): program {}",
        s.device, s.ifindex, s.netns, s.program_id
    )?;
    if let Some(state) = &s.state {
        let since = SystemTime::now().duration_since(state.since()).map_or(0, |d| d.as_secs());
        let mode = serde_json::to_string(&state.mode).unwrap_or_default();
        let mode = mode.trim_matches('"');
        writeln!(out, "  {} of {}, {mode}, since {}", state.entry, state.object.path.display(), ago(since))?;
        for layout in &state.layouts {
            writeln!(out, "  layout {:<20} id {:#010x} {:>4} bytes", layout.name, layout.id, layout.size)?;
        }
    }
    if let Some(runs) = s.runs {
        let each = runs.nanoseconds.checked_div(runs.count).unwrap_or(0);
        writeln!(out, "  {} packets, {each} ns each", runs.count)?;
    }
    if let Some(dir) = &s.maps_dir {
        writeln!(out, "  {DIM}maps in {}: {}{DIM:#}", dir.display(), s.maps.join(", "))?;
    }
    if let Some(trouble) = &s.trouble {
        writeln!(out, "  {YELLOW}{trouble}{YELLOW:#}")?;
    }
    Ok(())
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

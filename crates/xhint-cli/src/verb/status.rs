//! `xhint status`

use std::collections::HashMap;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, SystemTime};

use xhint::layout::LayoutId;
use xhint::runtime::Home;
use xhint::runtime::counters::{Count, Counters};
use xhint::runtime::status::{Status, all, kept, status};

use crate::arguments::device::Within;
use crate::print::{self, BOLD, DIM, PLAIN, Stdout, Style, YELLOW, column, columns, line};
use crate::shape;

/// Show what runs on a device, or on all devices: the layouts, how many packets came of each, and which unknown ids came.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint status\n         xhint status eth0 --json\n         xhint status eth0 --watch")]
pub struct Args {
    /// The network device [default: every device that xhint attached a program to]
    ifname: Option<String>,
    #[command(flatten)]
    within: Within,
    /// Repeat every SECONDS (1 if not given) until interrupted, with packets a second; with --json, print one line each time
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1", value_parser = seconds)]
    watch: Option<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut rates = Rates::default();
        loop {
            let found = self.find()?;
            match (self.json, self.watch) {
                (true, None) => self.json(&found)?,
                (true, Some(_)) => print::json_line(&found.iter().map(shape::status).collect::<Vec<_>>())?,
                (false, watch) => {
                    let mut out = print::stdout();
                    if watch.is_some() {
                        out.clear()?;
                    }
                    text(&mut out, &found, &mut rates)?;
                    out.flush()?;
                }
            }
            let Some(pause) = self.watch else { return Ok(ExitCode::SUCCESS) };
            thread::sleep(Duration::from_secs_f64(pause));
        }
    }

    fn find(&self) -> anyhow::Result<Vec<Status>> {
        if let Some(name) = &self.ifname {
            let (home, device) = self.within.device(name)?;
            return Ok(vec![status(&home, &device)?]);
        }
        let netns = self.within.netns.as_ref().map(|_| self.within.netns()).transpose()?;
        let home = Home::system()?;
        kept(&home)?.iter().for_each(|kept| print::warning(&kept.to_string()));
        let mut all = all(&home)?;
        all.retain(|s| netns.as_ref().is_none_or(|n| Some(n.inode()) == s.netns));
        Ok(all)
    }

    fn json(&self, found: &[Status]) -> anyhow::Result<()> {
        match (&self.ifname, found.first()) {
            (Some(_), Some(one)) => print::json(&shape::status(one)),
            _ => print::json(&found.iter().map(shape::status).collect::<Vec<_>>()),
        }
    }
}

/// Packets at the time before, by device and row, and when that was.
#[derive(Default)]
struct Rates {
    at: Option<SystemTime>,
    packets: HashMap<String, u64>,
}

fn text(out: &mut Stdout, found: &[Status], rates: &mut Rates) -> io::Result<()> {
    if found.is_empty() {
        line!(out, "nothing attached; see `xhint attach --help`")?;
    }
    let now = SystemTime::now();
    let since = rates.at.replace(now).and_then(|then| now.duration_since(then).ok());
    found.iter().try_for_each(|s| one(out, s, rates, since))
}

fn one(out: &mut Stdout, s: &Status, rates: &mut Rates, passed: Option<Duration>) -> io::Result<()> {
    let device = s.device.as_deref().unwrap_or("a device");
    let (index, netns, program) = (s.ifindex, netns(s), s.program_id);
    line!(out, "{BOLD}{device}{BOLD:#} (index {index}, network namespace {netns}): program {program}")?;
    if let Some(state) = &s.state {
        let since = SystemTime::now().duration_since(state.since()).map_or(0, |d| d.as_secs());
        let (mode, dispatch) = (state.mode.name(), state.options.dispatch);
        let file = state.object.path.display();
        line!(out, "  {} of {file}, {mode}, dispatch {dispatch}, since {}", state.entry, ago(since))?;
        match &s.counters {
            Some(counters) => table(out, device, counters, rates, passed)?,
            None => {
                let wide = columns(state.layouts.iter().map(|l| l.name.as_str()), 20);
                for layout in &state.layouts {
                    let (name, id, size) = (column(&layout.name, wide), LayoutId(layout.id), layout.size);
                    line!(out, "  layout {name} id {id} {size:>4} bytes")?;
                }
            }
        }
    }
    if let Some(filling) = s.state.as_ref().and_then(|state| state.filling.as_ref()) {
        print::fields::table(out, filling)?;
    }
    if let Some(runs) = s.runs {
        let each = runs.nanoseconds.checked_div(runs.count).unwrap_or(0);
        line!(out, "  {} packets, {each} ns each", runs.count)?;
    }
    if let Some(dir) = &s.maps_dir {
        // By their files' names, so that the paths are there to be taken.
        let pins: Vec<_> = s.maps.iter().filter_map(|m| Some(m.path.file_name()?.to_string_lossy())).collect();
        line!(out, "  {DIM}maps in {}: {}{DIM:#}", dir.display(), pins.join(", "))?;
    }
    if let Some(trouble) = &s.trouble {
        line!(out, "  {YELLOW}{trouble}{YELLOW:#}")?;
    }
    Ok(())
}

fn netns(s: &Status) -> String {
    match (&s.netns_name, s.netns) {
        (Some(name), _) => name.clone(),
        (None, Some(inode)) => inode.to_string(),
        (None, None) => "not found, or not to be entered".to_owned(),
    }
}

/// A row a layout, and what is worth a look below.
fn table(
    out: &mut Stdout,
    device: &str,
    counters: &Counters,
    rates: &mut Rates,
    passed: Option<Duration>,
) -> io::Result<()> {
    let wide = columns(counters.layouts.iter().map(|l| l.name.as_str()), 24);
    let mut row = |out: &mut Stdout, style: Style, what: &str, id: &str, size: &str, count: Count, note: &str| {
        let key = format!("{device} {what} {id} {size}");
        let before = rates.packets.insert(key, count.packets);
        // Counts that began anew have no rate yet.
        let rate = before.zip(passed).and_then(|(before, passed)| {
            let new = count.packets.checked_sub(before)?;
            Some(format!("{:.0}/s", new as f64 / passed.as_secs_f64().max(0.001)))
        });
        let (rate, seen) = (rate.unwrap_or_default(), count.last_seen.map_or_else(|| "never".to_owned(), seen));
        let packets = count.packets;
        let what = column(what, wide);
        line!(out, "{style}  {what} {id:>10} {size:>5} {packets:>14} {rate:>12}  {seen}{note}{style:#}")
    };
    line!(
        out,
        "  {DIM}{} {:>10} {:>5} {:>14} {:>12}  last seen{DIM:#}",
        column("layout", wide),
        "id",
        "bytes",
        "packets",
        ""
    )?;
    for layout in &counters.layouts {
        let note = if layout.live { "" } else { "  (not read any more)" };
        row(out, PLAIN, &layout.name, &LayoutId(layout.id).to_string(), &layout.size.to_string(), layout.count, note)?;
    }
    for id in counters.ids.iter().take(SHOWN) {
        let note = id.layout.as_ref().map(|name| format!("  ({name}, not read then)")).unwrap_or_default();
        row(out, YELLOW, "unknown", &LayoutId(id.id).to_string(), &id.size.to_string(), id.count, &note)?;
    }
    let more = counters.ids.iter().skip(SHOWN).count();
    if more > 0 {
        row(out, PLAIN, &format!("unknown, with {more} more"), "", "", counters.unknown, "")?;
    }
    if counters.no_metadata.packets > 0 {
        row(out, PLAIN, "without metadata", "", "", counters.no_metadata, "")?;
    }
    Ok(())
}

/// So many unknown ids are shown one by one; JSON has them all.
const SHOWN: usize = 16;

fn seen(milliseconds: u64) -> String {
    let then = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds));
    let passed = then.and_then(|then| SystemTime::now().duration_since(then).ok()).unwrap_or_default();
    if passed.as_secs() < 10 {
        format!("{:.1} s ago", passed.as_secs_f64())
    } else {
        format!("{} ago", ago(passed.as_secs()))
    }
}

fn ago(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        _ => format!("{} h", seconds / 3600),
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(n) if (0.05..=86_400.0).contains(&n) => Ok(n),
        _ => Err("seconds from 0.05 to 86400".to_owned()),
    }
}

//! `xhint probe`

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};
use xhint::Hint;
use xhint::fill::driver::{DriverPaths, Route};
use xhint::fill::{Offer, Offers};
use xhint::runtime::kfunc::Callee;
use xhint::runtime::offers::offers;
use xhint::runtime::probe::{Asked, Probe, probe_with};
use xhint::runtime::{Device, Facts, Module, Programs, path_file};

use crate::arguments::device::Within;
use crate::print::{self, BOLD, DIM, Stdout, YELLOW, column, columns, line};
use crate::shape;

/// Ask a device what it offers: driver, XDP features, kfuncs and what their answers are worth, and what each hint can come from.
///
/// Nothing changes by that: no program is attached, and no packet sent.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint probe eth0\n         xhint probe eth0 --json")]
pub struct Args {
    /// The network device
    ifname: String,
    #[command(flatten)]
    within: Within,
    /// A file that says where drivers keep what they know of a packet, beside those that come with xhint (docs/fill.md); may be
    /// repeated
    #[arg(long, value_name = "FILE")]
    drivers: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let files = self.drivers.iter().map(|file| path_file(file)).collect::<Result<Vec<_>, _>>()?;
        let known = DriverPaths::with(&files)?;
        let device = Device::find(&self.ifname, self.within.netns()?)?;
        let probe = probe_with(&device, &known)?;
        let offers = offers(&probe);
        if self.json {
            print::json(&shaped(&device, &probe, &offers))?;
        } else {
            let mut out = print::stdout();
            text(&mut out, &probe, &offers)?;
            out.flush()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What there is none of.
const NONE: &str = "–";
/// What cannot be told.
const UNKNOWN: &str = "not known";

fn text(out: &mut Stdout, probe: &Probe, offers: &[Offers]) -> io::Result<()> {
    let lines = lines(probe);
    let wide = columns(lines.iter().map(|(key, _)| key.as_str()), 0).saturating_add(2);
    for (key, value) in &lines {
        line!(out, "{} {value}", column(&format!("{key}:"), wide))?;
    }
    line!(out)?;
    table(out, offers)
}

/// Keys and values, the first of them as `ethtool -i` and `ethtool -k` have them.
fn lines(probe: &Probe) -> Vec<(String, String)> {
    let facts = &probe.facts;
    let driver = facts.driver.as_ref();
    let told = |text: Option<&String>| text.filter(|t| !t.is_empty()).map_or_else(|| NONE.to_owned(), String::clone);
    let on = |is_on: bool| if is_on { "on" } else { "off" }.to_owned();
    let parent = facts.parent.as_ref().map(|p| format!("{}/{}", p.bus, p.name));
    let segments = facts.xdp.map(|xdp| xdp.zero_copy_segments.map_or_else(|| NONE.to_owned(), |n| n.to_string()));
    let unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
    let mut lines = vec![
        ("driver", told(driver.map(|d| &d.driver))),
        ("version", told(driver.map(|d| &d.driver_version))),
        ("firmware-version", told(driver.map(|d| &d.firmware))),
        ("bus-info", told(driver.map(|d| &d.bus))),
        ("parent", told(parent.as_ref())),
        ("module", facts.module.as_ref().map_or_else(|| NONE.to_owned(), module)),
        ("receive-hashing", on(facts.offloads.rx_hash)),
        ("rx-vlan-offload", on(facts.offloads.rx_vlan)),
        ("rx-timestamps", facts.rx_timestamps.map_or_else(|| NONE.to_owned(), on)),
    ];
    lines.extend(facts.virtio.as_ref().map(|bits| ("virtio-features", listed(bits.iter().map(u32::to_string)))));
    lines.extend([
        ("xdp-features", unknown(facts.xdp.map(|xdp| listed(xdp.names())))),
        ("xdp-zc-max-segs", unknown(segments)),
        ("xdp-rx-metadata-features", unknown(facts.xdp.and_then(|xdp| xdp.metadata_names()).map(listed))),
        ("xdp-programs", programs(facts.programs)),
        ("metadata-room", room(probe)),
        ("capabilities", capabilities(probe)),
    ]);
    let lines = lines.into_iter().map(|(key, value)| (key.to_owned(), value));
    let kfuncs = probe.kfuncs.iter().map(|asked| (asked.kfunc.name().to_owned(), kfunc(asked)));
    let paths = probe.paths.iter().map(|(hint, route)| (format!("driver {hint}"), path(route)));
    lines.chain(kfuncs).chain(paths).collect()
}

fn listed(all: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let all: Vec<_> = all.into_iter().map(|one| one.as_ref().to_owned()).collect();
    if all.is_empty() { NONE.to_owned() } else { all.join(" ") }
}

fn module(module: &Module) -> String {
    let place = if module.is_loaded { "loaded" } else { "built in" };
    let types = match (&module.btf, &module.unreadable) {
        (None, _) => "without BTF".to_owned(),
        (Some(path), None) => format!("BTF in {}", path.display()),
        (Some(path), Some(why)) => format!("BTF in {}, which cannot be read: {why}", path.display()),
    };
    format!("{} ({place}, {types})", module.name)
}

fn programs(programs: Programs) -> String {
    let modes = [("native", programs.native), ("generic", programs.generic), ("offloaded", programs.offloaded)];
    listed(modes.into_iter().filter(|(_, id)| *id != 0).map(|(mode, id)| format!("{mode} {id}")))
}

fn room(probe: &Probe) -> String {
    match (probe.refuses_metadata, probe.room) {
        (Some(why), _) => format!("0 bytes: {why}"),
        (None, Some(room)) => {
            let found = room.found.map(|found| format!(", {found} found")).unwrap_or_default();
            format!("{} bytes written by a program{found}", room.written)
        }
        (None, None) => format!("{UNKNOWN}: asking takes CAP_BPF and CAP_NET_ADMIN"),
    }
}

fn capabilities(probe: &Probe) -> String {
    let those = |held| listed(probe.rights.iter().filter(|(_, is)| *is == held).map(|(right, _)| right.to_string()));
    format!("{}; lacking {}", those(true), those(false))
}

fn kfunc(asked: &Asked) -> String {
    let function = match &asked.callee {
        Some(Callee::Driver { function, module: Some(module) }) => format!("{function} [{module}] "),
        Some(Callee::Driver { function, module: None }) => format!("{function} "),
        _ => String::new(),
    };
    let cost = asked.nanoseconds.map(|ns| format!(" ({ns} ns)")).unwrap_or_default();
    format!("{function}{}: {}{cost}", asked.answer.name(), asked.answer.why())
}

/// Where a path leads.
fn path(route: &Result<Route, String>) -> String {
    match route {
        Ok(route) => format!("{} (the {}'s word)", route.words, route.says.name()),
        Err(why) => format!("nowhere: {why}"),
    }
}

/// A row a hint: what it comes from, and why if that needs a word.
fn table(out: &mut Stdout, offers: &[Offers]) -> io::Result<()> {
    let from = |offers: &Offers| offers.best().map_or_else(|| NONE.to_owned(), said);
    let names = columns(offers.iter().map(|o| o.name), 0);
    let all: Vec<_> = offers.iter().map(from).collect();
    let wide = columns(all.iter().map(String::as_str), 0);
    line!(out, "{BOLD}{}  {}  why{BOLD:#}", column("hint", names), column("from", wide))?;
    for (hint, from) in offers.iter().zip(&all) {
        let name = column(hint.name, names);
        match hint.best().map(|best| best.why.as_deref()) {
            Some(Some(why)) => line!(out, "{name}  {}  {DIM}{why}{DIM:#}", column(from, wide))?,
            Some(None) => line!(out, "{name}  {from}")?,
            None => line!(out, "{name}  {}  {YELLOW}{}{YELLOW:#}", column(from, wide), hint.absent())?,
        }
    }
    Ok(())
}

/// `kfunc bpf_xdp_metadata_rx_hash`
fn said(offer: &Offer) -> String {
    format!("{} {}", offer.origin.provider(), offer.origin.name())
}

fn shaped(device: &Device, probe: &Probe, offers: &[Offers]) -> Value {
    let facts = &probe.facts;
    let driver = facts.driver.as_ref();
    let text = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
    let id = |id: u32| Some(id).filter(|id| *id != 0);
    let programs = facts.programs;
    json!({
        "device": device.name(),
        "ifindex": device.ifindex(),
        "netns": device.netns().inode(),
        "netns_name": device.netns().name(),
        "driver": text(driver.map(|d| &d.driver)),
        "driver_version": text(driver.map(|d| &d.driver_version)),
        "firmware": text(driver.map(|d| &d.firmware)),
        "bus": text(driver.map(|d| &d.bus)),
        "parent": facts.parent.as_ref().map(|p| json!({"bus": p.bus, "name": p.name})),
        "module": facts.module.as_ref().map(|m| json!({
            "name": m.name, "loaded": m.is_loaded, "btf": m.btf.as_deref().map(shape::path), "unreadable": m.unreadable,
        })),
        "offloads": offloads(facts),
        "virtio_features": facts.virtio,
        "xdp_features": facts.xdp.map(|xdp| xdp.names()),
        "zero_copy_segments": facts.xdp.and_then(|xdp| xdp.zero_copy_segments),
        "rx_metadata": facts.xdp.and_then(|xdp| xdp.metadata_names()),
        "programs": {"native": id(programs.native), "generic": id(programs.generic), "offloaded": id(programs.offloaded)},
        "kfuncs": probe.kfuncs.iter().map(asked).collect::<Vec<_>>(),
        "paths": probe.paths.iter().map(shaped_path).collect::<Vec<_>>(),
        "room": probe.room.map(|room| json!({"written": room.written, "found": room.found})),
        "refuses_metadata": probe.refuses_metadata,
        "capabilities": probe.rights.iter().map(|(right, held)| (right.to_string(), Value::from(*held))).collect::<Value>(),
        "hints": offers.iter().map(hint).collect::<Vec<_>>(),
    })
}

fn shaped_path((hint, route): &(Hint, Result<Route, String>)) -> Value {
    let there = route.as_ref().ok();
    json!({
        "hint": hint.to_string(),
        "path": there.map(|route| &route.words),
        "says": there.map(|route| route.says.name()),
        "why": route.as_ref().err(),
    })
}

fn offloads(facts: &Facts) -> Value {
    json!({
        "rx_hash": facts.offloads.rx_hash,
        "rx_vlan": facts.offloads.rx_vlan,
        "rx_timestamps": facts.rx_timestamps,
    })
}

fn asked(asked: &Asked) -> Value {
    let (function, module) = match &asked.callee {
        Some(Callee::Driver { function, module }) => (Some(function), module.as_ref()),
        _ => (None, None),
    };
    json!({
        "name": asked.kfunc.name(),
        "offered": asked.offered,
        "function": function,
        "module": module,
        "answer": asked.answer.name(),
        "why": asked.answer.why(),
        "nanoseconds": asked.nanoseconds,
    })
}

fn hint(hint: &Offers) -> Value {
    let offer = |offer: &Offer| {
        json!({
            "provider": offer.origin.provider().name(),
            "what": offer.origin.name(),
            "standing": offer.standing.name(),
            "why": offer.why,
            "nanoseconds": offer.nanoseconds,
        })
    };
    json!({
        "hint": hint.name,
        "from": hint.best().map(|best| best.origin.provider().name()),
        "offers": hint.all.iter().map(offer).collect::<Vec<_>>(),
    })
}

//! `xhint nic …`: the soft NIC.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use xhint::layout::LayoutId;
use xhint::universe::SourceId;
use xhint_softnic::{Config, Error, MAX_FLOWS, Mix, SendOptions, Sent, SoftNic, Status, Traffic, unwritten};

use crate::arguments::btf::Base;
use crate::print::{Stdout, column, columns, line};
use crate::{layouts, print};

/// What can be done with a soft NIC: a network device whose packets arrive with metadata in front, as its firmware's
/// layouts say.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Make a soft NIC and bring it up.
    #[command(after_help = "Example: xhint nic up mynic0 --layout fw1.o")]
    Up(Up),
    /// Replace a soft NIC's firmware, while packets flow.
    #[command(after_help = "Example: xhint nic flash mynic0 --layout fw2.o")]
    Flash(Flash),
    /// Send packets to a soft NIC, as if from the wire.
    #[command(
        after_help = "Example: xhint nic send mynic0 --count 10000 --rate 1000\n         xhint nic send mynic0 --pcap trace.pcap\n\n\
                      Exit code 1 if a packet did not arrive at the device."
    )]
    Send(Send),
    /// Show a soft NIC's firmware and counters.
    #[command(after_help = "Example: xhint nic status mynic0 --json")]
    Status(Show),
    /// Remove a soft NIC.
    #[command(after_help = "Example: xhint nic down mynic0")]
    Down(Down),
}

/// The layouts of a firmware.
#[derive(Debug, clap::Args)]
struct FirmwareOptions {
    /// The NIC BTF whose layouts the soft NIC writes, raw or in an ELF object; may be repeated
    #[arg(long = "layout", value_name = "NIC.btf")]
    layouts: Vec<PathBuf>,
    #[command(flatten)]
    base: Base,
    /// Which layout a packet gets, if there are several
    #[arg(long, value_enum, default_value_t = SpreadBy::Flow)]
    mode: SpreadBy,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SpreadBy {
    /// All packets of a flow get the same layout
    Flow,
    /// The layouts take turns, packet by packet
    Round,
    /// Each packet gets a random layout
    Random,
}

#[derive(Debug, clap::Args)]
pub struct Up {
    /// The device's name
    name: String,
    #[command(flatten)]
    firmware: FirmwareOptions,
    /// The network namespace to make the device in, by its name for `ip netns` or by a path [default: the current one]
    #[arg(long)]
    netns: Option<String>,
    /// The device's MTU in bytes
    #[arg(long, default_value_t = Config::default().mtu)]
    mtu: u32,
    /// Print the soft NIC's status afterwards, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Flash {
    /// The device's name
    name: String,
    #[command(flatten)]
    firmware: FirmwareOptions,
    /// Print the soft NIC's status afterwards, as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Send {
    /// The device's name
    name: String,
    /// Send the packets of this pcap or pcapng file, not generated ones
    #[arg(long, value_name = "FILE", conflicts_with_all = ["flows", "seed", "bad_checksums"])]
    pcap: Option<PathBuf>,
    /// How many packets to send; 0 sends until interrupted [default: 1000, or each packet of the file once]
    #[arg(long)]
    count: Option<u64>,
    /// Packets a second [default: as many as arrive without loss]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// How many different flows to generate
    #[arg(long, default_value_t = Mix::default().flows, value_parser = flows)]
    flows: usize,
    /// The seed of the generated flows; each seed gives other flows
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Give one flow in N a wrong checksum; 0 gives none
    #[arg(long, value_name = "N", default_value_t = 0)]
    bad_checksums: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Show {
    /// The device's name [default: all]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub struct Down {
    /// The device's name
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Verb {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Verb::Up(args) => {
                let config = Config { netns: args.netns, mtu: args.mtu };
                let nic = SoftNic::up(&args.name, &config, &args.firmware.plans()?, args.firmware.mode.into())?;
                tell(&nic, "is up", args.json)?;
            }
            Verb::Flash(args) => {
                let (plans, nic) = (args.firmware.plans()?, SoftNic::open(&args.name)?);
                nic.flash(&plans, args.firmware.mode.into())?;
                tell(&nic, "has its new firmware", args.json)?;
            }
            Verb::Send(args) => return args.run(),
            Verb::Status(args) => args.run()?,
            Verb::Down(args) => {
                SoftNic::down_by_name(&args.name)?;
                if args.json {
                    let told = print::json(&json!({"name": args.name, "removed": true}));
                    print::report(&format!("{}: removed", args.name), told)?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What a soft NIC is, for whoever asked for JSON; without it, what was done is known.
fn tell(nic: &SoftNic, done: &str, json: bool) -> anyhow::Result<()> {
    if !json {
        return Ok(());
    }
    let told = nic.status().map_err(Into::into).and_then(|status| print::json(&status_json(&status)));
    print::report(&format!("{} {done}", nic.name()), told)
}

impl FirmwareOptions {
    fn plans(&self) -> anyhow::Result<Vec<xhint::layout::Plan>> {
        let universe = layouts::universe(&self.layouts, &self.base.files)?;
        let without = |(source, _): &(u32, _)| universe.layouts().iter().all(|l| !l.is_of(SourceId(*source)));
        if let Some((_, nic)) = (0u32..).zip(universe.sources()).skip(1).find(without) {
            bail!("{}: describes no layout; tag its struct with xhint:layout", nic.name());
        }
        layouts::tell_differing(&universe);
        let plans = layouts::plans(&universe)?;
        for plan in &plans {
            let zero: Vec<_> = unwritten(plan).map(|field| format!("{} ({})", field.path, field.hint)).collect();
            if !zero.is_empty() {
                let (name, zero) = (&plan.name, zero.join(", "));
                print::note(&format!("layout {name}: the soft NIC has no values for these fields, they are 0: {zero}"));
            }
        }
        Ok(plans)
    }
}

fn flows(text: &str) -> Result<usize, String> {
    let range = 1..=MAX_FLOWS;
    text.parse().ok().filter(|n| range.contains(n)).ok_or_else(|| format!("flows from 1 to {MAX_FLOWS}"))
}

impl From<SpreadBy> for xhint_softnic::Spread {
    fn from(mode: SpreadBy) -> Self {
        match mode {
            SpreadBy::Flow => xhint_softnic::Spread::Flow,
            SpreadBy::Round => xhint_softnic::Spread::Round,
            SpreadBy::Random => xhint_softnic::Spread::Random,
        }
    }
}

impl Send {
    fn run(self) -> anyhow::Result<ExitCode> {
        let nic = SoftNic::open(&self.name)?;
        let (traffic, default) = match &self.pcap {
            Some(file) => {
                let traffic = Traffic::pcap(file)?;
                let once = traffic.len() as u64;
                (traffic, once)
            }
            None => {
                let Send { flows, seed, bad_checksums, .. } = self;
                (Traffic::mixed(&Mix { flows, seed, bad_checksums, to: nic.mac() }), 1000)
            }
        };
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        let count = Some(self.count.unwrap_or(default)).filter(|n| *n != 0);
        let options = SendOptions { rate: self.rate, count, stop: Some(stop), ..SendOptions::default() };
        let sent = nic.send(&traffic, &options)?;
        print::report(&format!("{}: {} packets sent", self.name, sent.packets), self.tell(&sent))?;
        match sent.missing() {
            0 => Ok(ExitCode::SUCCESS),
            missing => bail!("{}: {missing} of {} packets did not arrive: {}", self.name, sent.packets, why(&sent)),
        }
    }

    fn tell(&self, sent: &Sent) -> anyhow::Result<()> {
        if self.json {
            return print::json(&json!({
                "packets": sent.packets,
                "bytes": sent.bytes,
                "arrived": sent.arrived,
                "dropped": sent.dropped,
                "no_room": sent.refused.no_room,
                "no_device": sent.refused.no_device,
                "malformed": sent.refused.malformed,
                "lost": sent.lost,
                "seconds": sent.elapsed.as_secs_f64(),
            }));
        }
        let rate = sent.packets as f64 / sent.elapsed.as_secs_f64().max(1e-9);
        let (packets, arrived, missing) = (sent.packets, sent.arrived, sent.missing());
        print::text(&format!("{packets} packets sent, {arrived} arrived, {missing} dropped, {rate:.0} a second"))
    }
}

/// What became of the packets that did not arrive.
fn why(sent: &Sent) -> String {
    let reasons = [
        (sent.refused.no_room, "had no room for their metadata, as the kernel lets less of it through"),
        (sent.refused.no_device, "found no device"),
        (sent.refused.malformed, "had no Ethernet header"),
        (
            sent.dropped,
            "were dropped before the device: it is down, its ring was full, or they are longer than its MTU",
        ),
        (sent.lost, "went no further; is the device up? see `ip link`"),
    ];
    let told = reasons.iter().filter(|r| r.0 > 0).map(|(packets, why)| format!("{packets} {why}"));
    told.collect::<Vec<_>>().join("; ")
}

impl Show {
    fn run(self) -> anyhow::Result<()> {
        let one = self.name.is_some();
        let names = match self.name {
            Some(name) => vec![name],
            None => SoftNic::list()?,
        };
        let mut all = Vec::new();
        for name in &names {
            match SoftNic::open(name).and_then(|nic| nic.status()) {
                Ok(status) => all.push(status),
                // One that is broken does not hide the others.
                Err(broken @ Error::Broken { .. }) if !one => print::warning(&broken.to_string()),
                Err(other) => return Err(other.into()),
            }
        }
        if self.json {
            let shown: Vec<_> = all.iter().map(status_json).collect();
            return match shown.as_slice() {
                [only] if one => print::json(only),
                _ => print::json(&shown),
            };
        }
        let mut out = print::stdout();
        if names.is_empty() {
            line!(out, "no soft NIC is up; see `xhint nic up --help`")?;
        }
        all.iter().try_for_each(|s| status_text(&mut out, s))?;
        Ok(out.flush()?)
    }
}

fn status_json(s: &Status) -> serde_json::Value {
    let layouts = s
        .layouts
        .iter()
        .map(|l| json!({"name": l.name, "id": l.id, "size": l.size, "fields": l.fields, "packets": l.packets}));
    let by_layout = s.by_layout.iter().map(|(id, packets)| json!({"id": id, "packets": packets}));
    json!({
        "name": s.name,
        "flash": s.flash,
        "mode": s.mode.name(),
        "layouts": layouts.collect::<Vec<_>>(),
        "by_layout": by_layout.collect::<Vec<_>>(),
        "packets": s.packets,
        "bytes": s.bytes,
        "forwarded": s.forwarded,
        "plain": s.plain,
        "arrived": s.arrived,
        "dropped": s.dropped.named().map(|(why, packets)| (why.to_owned(), packets.into()))
            .into_iter().collect::<serde_json::Map<_, _>>(),
    })
}

fn status_text(out: &mut Stdout, s: &Status) -> io::Result<()> {
    line!(
        out,
        "{}: firmware {} ({}), {} packets off the wire, {} arrived, {} dropped",
        s.name,
        s.flash,
        s.mode.name(),
        s.packets,
        s.arrived,
        s.dropped.total()
    )?;
    for (why, packets) in s.dropped.named().into_iter().filter(|(_, packets)| *packets > 0) {
        line!(out, "  dropped {why}: {packets}")?;
    }
    let wide = columns(s.layouts.iter().map(|l| l.name.as_str()), 24);
    for l in &s.layouts {
        let name = column(&l.name, wide);
        line!(
            out,
            "  layout {name} id {}  {:>3} bytes  {:>2} fields  {} packets",
            LayoutId(l.id),
            l.size,
            l.fields,
            l.packets
        )?;
    }
    if s.layouts.is_empty() {
        line!(out, "  no layouts: packets come without metadata")?;
    }
    Ok(())
}

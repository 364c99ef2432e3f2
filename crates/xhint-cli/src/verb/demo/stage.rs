//! What the demo plays on: network namespaces, soft NICs and the embedded files. All of it goes when it ends, however.

use std::path::Path;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, bail};
use xhint::layout::Plan;
use xhint::runtime::detach::detach;
use xhint::runtime::{Device, Home, Linker, Netns, Source};
use xhint_softnic::{Config, SoftNic, Spread, add_netns, owns_netns, remove_netns};

use crate::layouts;

/// The program, compiled once and for all.
const HINTS: (&str, &[u8]) = ("hints.bpf.o", include_bytes!(concat!(env!("OUT_DIR"), "/hints.bpf.o")));
/// The NICs of one folder, by vendor and firmware.
macro_rules! nics {
    ($dir:literal) => {
        [
            ("alpha_fw1.o", include_bytes!(concat!(env!("OUT_DIR"), "/", $dir, "/alpha_fw1.o"))),
            ("alpha_fw2.o", include_bytes!(concat!(env!("OUT_DIR"), "/", $dir, "/alpha_fw2.o"))),
            ("beta.o", include_bytes!(concat!(env!("OUT_DIR"), "/", $dir, "/beta.o"))),
        ]
    };
}

/// As they are.
const NICS: [(&str, &[u8]); 3] = nics!("nics");
/// With fewer fields, for kernels that let little metadata through.
const SHORT_NICS: [(&str, &[u8]); 3] = nics!("nics-short");

/// A firmware: a NIC BTF with one layout.
#[derive(Debug, Clone)]
pub struct ExampleNic {
    /// Its file.
    pub source: Source,
    /// Where its layout has what.
    pub plan: Plan,
}

/// The compiled program.
pub fn program() -> Source {
    source(HINTS)
}

/// The three firmwares: two of vendor Alpha, one of vendor Beta; with short layouts, if only `room` bytes of metadata
/// fit in front of a packet.
pub fn firmwares(linker: &Linker, room: u32) -> anyhow::Result<[ExampleNic; 3]> {
    let firmware = |file| {
        let source = source(file);
        let universe = linker.universe(std::slice::from_ref(&source))?;
        let plan = layouts::plans(&universe)?.pop().context("an example NIC without a layout")?;
        Ok::<_, anyhow::Error>(ExampleNic { source, plan })
    };
    let all = |[a, b, c]: [_; 3]| Ok::<_, anyhow::Error>([firmware(a)?, firmware(b)?, firmware(c)?]);
    let full = all(NICS)?;
    if full.iter().all(|f| f.plan.size <= room) { Ok(full) } else { all(SHORT_NICS) }
}

fn source((name, bytes): (&str, &[u8])) -> Source {
    Source::new(Path::new("examples").join(name), bytes)
}

/// The stage, which clears itself away when dropped.
pub struct Stage {
    netns: String,
    nics: Vec<String>,
    home: Home,
    stop: Arc<AtomicBool>,
}

impl Stage {
    /// Sets up a network namespace of its own. What a demo that was killed has left is cleared away first.
    pub fn set(home: &Home, stop: &Arc<AtomicBool>) -> anyhow::Result<Stage> {
        sweep(home);
        let netns = format!("{PREFIX}{}", process::id());
        let stage = Stage { netns, nics: Vec::new(), home: home.clone(), stop: Arc::clone(stop) };
        add_netns(&stage.netns)?;
        Ok(stage)
    }

    /// Brings up a soft NIC of this vendor with this firmware.
    pub fn nic(&mut self, vendor: &str, firmware: &ExampleNic) -> anyhow::Result<(SoftNic, Device)> {
        let name = format!("{vendor}{}", process::id());
        let config = Config { netns: Some(self.netns.clone()), ..Config::default() };
        self.nics.push(name.clone());
        let nic = SoftNic::up(&name, &config, std::slice::from_ref(&firmware.plan), Spread::Flow)?;
        let device = Device::find(&name, Netns::named(&self.netns)?)?;
        Ok((nic, device))
    }

    /// Fails once somebody asked to end.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.stop.load(Ordering::Relaxed) { bail!("interrupted; nothing of the demo is left") } else { Ok(()) }
    }

    /// Ends what is under way.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What ends it, for others to hold.
    pub fn stopper(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        clear(&self.home, &self.netns, &self.nics);
    }
}

const PREFIX: &str = "xhint-demo-";
const VENDORS: [&str; 2] = ["alpha", "beta"];

/// Clears away what demos have left whose process is gone.
fn sweep(home: &Home) {
    for name in Netns::names() {
        let Some(pid) = name.strip_prefix(PREFIX) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let nics: Vec<_> = VENDORS.iter().map(|v| format!("{v}{pid}")).collect();
            clear(home, &name, &nics);
        }
    }
}

/// Takes all away; what is not there is no fault, and one thing that fails does not keep the rest.
fn clear(home: &Home, netns: &str, nics: &[String]) {
    // Whoever else has made a namespace of this name keeps it, and what is in it.
    if !owns_netns(netns) {
        return;
    }
    for nic in nics {
        if let Ok(device) = Netns::named(netns).map_err(Into::into).and_then(|n| Device::find(nic, n)) {
            let _none = detach(home, &device);
        }
        let _none = SoftNic::down_by_name(nic);
    }
    let _none = remove_netns(netns);
}

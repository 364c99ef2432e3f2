//! `xhint demo`: one compiled program on two vendors' NICs, one of which gets new firmware while packets flow.

mod collect;
mod fields;
mod report;
mod stage;

use std::collections::{BTreeMap, HashMap};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use xhint_layout::Plan;
use xhint_runtime::attach::attach;
use xhint_runtime::status::status;
use xhint_runtime::{Device, Home, LinkedAs, Linker, Mode, Source};
use xhint_softnic::{Credit, Mix, SendOptions, Sent, SoftNic, Traffic};

use crate::print;
use collect::{Progress, Tally, collect};
use report::{Report, Run};
use stage::{Firmware, Stage};

/// Run one compiled program on two vendors' soft NICs, flash one of them while packets flow, and check every field of
/// every packet.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint demo --packets 200000\n\nExit code 1 if a packet was lost or misread.")]
pub struct Args {
    /// Packets in all
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(3000..=10_000_000))]
    packets: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How far the sender may be ahead of the comparison: less than any of the rings holds.
const AHEAD: u64 = 4096;
/// How long the demo waits for packets that do not come.
const PATIENCE: Duration = Duration::from_secs(20);

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&stop))?;
        }
        let report = play(self.packets, &stop)?;
        if self.json {
            print::json(&report)?;
        } else {
            report::text(&mut print::stdout(), &report)?;
        }
        Ok(if report.good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Both acts, on a stage that goes when they end.
fn play(packets: u64, stop: &Arc<AtomicBool>) -> anyhow::Result<Report> {
    let home = Home::system()?;
    let linker = Linker::new()?;
    let [fw1, fw2, beta] = stage::firmwares(&linker)?;
    let mut stage = Stage::set(&home, stop)?;
    let third = packets / 3;
    let mut report = Report::default();
    say("Vendor Alpha: bringing up a soft NIC with firmware 1");
    let alpha = Act { home: &home, linker: &linker, vendor: "alpha", packets: packets.saturating_sub(third) };
    alpha.play(&mut stage, &fw1, Some(&fw2), &mut report)?;
    say("Vendor Beta: bringing up a soft NIC with the same program");
    let act = Act { vendor: "beta", packets: third, ..alpha };
    act.play(&mut stage, &beta, None, &mut report)?;
    Ok(report)
}

/// Packets through one vendor's NIC.
struct Act<'a> {
    home: &'a Home,
    linker: &'a Linker,
    vendor: &'static str,
    packets: u64,
}

impl Act<'_> {
    /// Attaches the program linked for `first`, sends, and if there is a `second` firmware, flashes it half-way.
    fn play(
        &self,
        stage: &mut Stage,
        first: &Firmware,
        second: Option<&Firmware>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (nic, device) = stage.nic(self.vendor, first)?;
        let walk = self.put(&device, &[first])?;
        let ring = if walk { Some(Stage::ring(&nic)?) } else { None };
        let maps = status(self.home, &device)?.maps_dir.context("the program's maps are not pinned")?;
        // The generation's own directory goes with the first swap; the map does not.
        let records = maps.join("records");
        let firmwares: Vec<&Firmware> = [Some(first), second].into_iter().flatten().collect();
        let plans: HashMap<u32, Plan> = firmwares.iter().map(|f| (f.plan.id, f.plan.clone())).collect();
        let progress = Progress::default();
        let (sent, tallies, swaps) = thread::scope(|scope| {
            let collector = scope.spawn(|| collect(&nic, &records, &plans, ring, &progress));
            let sender = scope.spawn(|| self.send(stage, &nic, &progress));
            let swaps = match second {
                Some(second) => self.change(stage, &nic, &device, (first, second), &progress),
                None => Ok(0),
            };
            if swaps.is_err() {
                stage.stop();
            }
            let sent = joined(sender.join());
            progress.sent.store(true, Ordering::Release);
            let tallies = joined(collector.join());
            Ok::<_, anyhow::Error>((sent?, tallies?, swaps?))
        })?;
        stage.check()?;
        self.add(report, &firmwares, &sent, &tallies, swaps);
        Ok(())
    }

    /// Links the program for these firmwares and puts it on the device, in the place of what is there. Whether it may
    /// follow pointers.
    fn put(&self, device: &Device, firmwares: &[&Firmware]) -> anyhow::Result<bool> {
        let nics: Vec<Source> = firmwares.iter().map(|f| f.source.clone()).collect();
        let job = self.linker.link(stage::program(), nics, LinkedAs::default(), Mode::Native)?;
        attach(self.home, device, &job)?;
        Ok(job.state.options.walk)
    }

    fn send(&self, stage: &Stage, nic: &SoftNic, progress: &Progress) -> anyhow::Result<Sent> {
        let traffic = Traffic::mixed(&Mix { to: nic.mac(), bad_checksums: 16, ..Mix::default() });
        let options = SendOptions {
            count: Some(self.packets),
            credit: Some(Credit { taken: Arc::clone(&progress.described), ahead: AHEAD }),
            stop: Some(stage.stopper()),
            ..SendOptions::default()
        };
        Ok(nic.send(&traffic, &options)?)
    }

    /// While packets flow: the program is made ready for both firmwares, the NIC gets the second, and then the program
    /// forgets the first. Each of the two swaps is one step for the device. Returns their number.
    fn change(
        &self,
        stage: &Stage,
        nic: &SoftNic,
        device: &Device,
        (first, second): (&Firmware, &Firmware),
        progress: &Progress,
    ) -> anyhow::Result<u64> {
        self.wait(stage, progress, |p| p.compared.load(Ordering::Acquire) > self.packets / 3)?;
        say("  packets flow; relinking the program for firmware 1 and 2, and swapping it in");
        self.put(device, &[first, second])?;
        say("  flashing firmware 2");
        nic.flash(std::slice::from_ref(&second.plan), xhint_softnic::Mode::Flow)?;
        self.wait(stage, progress, |p| p.layout.load(Ordering::Acquire) == u64::from(second.plan.id))?;
        say("  packets of firmware 2 arrive; relinking for it alone, and swapping");
        self.put(device, &[second])?;
        Ok(2)
    }

    fn wait(&self, stage: &Stage, progress: &Progress, until: impl Fn(&Progress) -> bool) -> anyhow::Result<()> {
        let since = Instant::now();
        while !until(progress) {
            stage.check()?;
            anyhow::ensure!(since.elapsed() < PATIENCE, "{}: packets do not arrive", self.vendor);
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn add(
        &self,
        report: &mut Report,
        firmwares: &[&Firmware],
        sent: &Sent,
        tallies: &BTreeMap<u32, Tally>,
        swaps: u64,
    ) {
        let seen = tallies.values().fold(0u64, |n, t| n.saturating_add(t.packets));
        let misread = tallies.values().fold(0u64, |n, t| n.saturating_add(t.misread));
        report.add(sent.packets, seen, misread, swaps);
        for (n, firmware) in firmwares.iter().enumerate() {
            let tally = tallies.get(&firmware.plan.id).cloned().unwrap_or_default();
            report.runs.push(Run::new(self.vendor, n.saturating_add(1), &firmware.plan, &tally));
        }
    }
}

fn joined<T>(joined: thread::Result<anyhow::Result<T>>) -> anyhow::Result<T> {
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A line of progress, for a person who watches.
fn say(line: &str) {
    if std::io::stderr().is_terminal() {
        // Nobody is left to tell if standard error is closed.
        let _ = writeln!(anstream::stderr(), "{}{line}{:#}", print::DIM, print::DIM);
    }
}

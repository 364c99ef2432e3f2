//! `xhint demo`: one compiled program on two vendors' NICs, one of which gets new firmware while packets flow.
#![allow(clippy::arithmetic_side_effects, reason = "it counts packets, of which it sends ten million at most")]

mod collect;
mod fields;
mod report;
mod stage;

use std::collections::{BTreeMap, HashMap};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use xhint::layout::Plan;
use xhint::runtime::attach::attach;
use xhint::runtime::status::status;
use xhint::runtime::{Device, Home, LinkedAs, Linker, Mode, Source};
use xhint_softnic::{Credit, Mix, SendOptions, SoftNic, Traffic};

use crate::print;
use collect::{Progress, Tally, collect};
use report::{Report, Run};
use stage::{ExampleNic, Stage};

/// Run one compiled program on two vendors' soft NICs, flash one of them while packets flow, and check every field of
/// every packet.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint demo --packets 200000\n\nExit code 1 if a packet was lost or misread.")]
pub struct Args {
    /// How many packets to send in all, 3000 to 10000000
    #[arg(long, default_value_t = 60_000, value_parser = clap::value_parser!(u64).range(3000..=10_000_000))]
    packets: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How far the sender may be ahead of the comparison: less than any of the rings holds.
const AHEAD: u64 = 4096;
/// How long one act's traffic takes, in seconds, unless that made it slow ...
const SECONDS: u64 = 2;
/// ... which fewer packets a second than this are.
const FAST: u64 = 100_000;
/// How long the demo waits while no packet makes a step: longer than a machine with much else to do takes to come
/// round to it.
const PATIENCE: Duration = Duration::from_secs(60);

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
    let room = xhint_softnic::max_meta()?;
    let [fw1, fw2, beta] = stage::firmwares(&linker, room)?;
    let mut stage = Stage::set(&home, stop)?;
    let to_beta = packets / 3;
    let mut report = Report { room, ..Report::default() };
    print::progress("Vendor Alpha: bringing up a soft NIC with firmware 1");
    let alpha = Act { home: &home, linker: &linker, vendor: "alpha", packets: packets - to_beta };
    alpha.play(&mut stage, &fw1, Some(&fw2), &mut report)?;
    print::progress("Vendor Beta: bringing up a soft NIC with the same program");
    let act = Act { vendor: "beta", packets: to_beta, ..alpha };
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
        first: &ExampleNic,
        second: Option<&ExampleNic>,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let (nic, device) = stage.nic(self.vendor, first)?;
        let walk = self.put(&device, &[first])?;
        let ring = if walk { Some(u64::from(nic.rx_device()?)) } else { None };
        let maps = status(self.home, &device)?.maps_dir.context("the program's maps are not pinned")?;
        // The generation's own directory goes with the first swap; the map does not.
        let records = maps.join("records");
        let firmwares: Vec<&ExampleNic> = [Some(first), second].into_iter().flatten().collect();
        let plans: HashMap<u32, Plan> = firmwares.iter().map(|f| (f.plan.id, f.plan.clone())).collect();
        let progress = Progress::default();
        let (sent, tallies, swaps) = thread::scope(|scope| {
            let collector =
                scope.spawn(|| collect(&nic, &records, &plans, ring, &progress).inspect_err(|_| stage.stop()));
            let sender = scope.spawn(|| self.send(stage, &nic, &progress));
            let swaps = match second {
                Some(second) => self.change(stage, &nic, &device, (first, second), &progress),
                None => {
                    progress.steps.store(2, Ordering::Release);
                    Ok(0)
                }
            };
            if swaps.is_err() {
                stage.stop();
            }
            let sent = joined(sender.join());
            progress.sent.store(true, Ordering::Release);
            let tallies = joined(collector.join());
            // What failed stopped the others, the sender last.
            let (tallies, swaps) = (tallies?, swaps?);
            Ok::<_, anyhow::Error>((sent?, tallies, swaps))
        })?;
        stage.check()?;
        self.add(report, &firmwares, sent, &tallies, swaps);
        Ok(())
    }

    /// Links the program for these firmwares and puts it on the device, in the place of what is there. Whether it may
    /// follow pointers.
    fn put(&self, device: &Device, firmwares: &[&ExampleNic]) -> anyhow::Result<bool> {
        let nics: Vec<Source> = firmwares.iter().map(|f| f.source.clone()).collect();
        let job = self.linker.link(stage::program(), nics, LinkedAs::default(), Mode::Native)?;
        attach(self.home, device, &job)?;
        Ok(job.state.options.walk)
    }

    /// Sends in three parts at a steady rate. The second waits for the new firmware, if there is to be one, and the third
    /// for the program that is linked for it alone: mostly they are there long before, but this way there always are
    /// packets after each step.
    fn send(&self, stage: &Stage, nic: &SoftNic, progress: &Progress) -> anyhow::Result<u64> {
        let traffic = Traffic::mixed(&Mix { to: nic.mac(), bad_checksums: 16, ..Mix::default() });
        let fifth = self.packets / 5;
        let rest = self.packets - 2 * fifth;
        let mut sent = 0u64;
        self.wait(stage, progress, |p| p.open.load(Ordering::Acquire))?;
        for (steps, count) in [(0, rest), (1, fifth), (2, fifth)] {
            self.wait_for_step(stage, progress, steps)?;
            let options = SendOptions {
                count: Some(count),
                rate: Some(self.packets.div_ceil(SECONDS)).filter(|r| *r < FAST),
                credit: Some(Credit { taken: Arc::clone(&progress.described), ahead: AHEAD }),
                stop: Some(stage.stopper()),
                first_key: u32::try_from(sent)?,
            };
            let part = nic.send(&traffic, &options)?.packets;
            sent += part;
            // What the sender may do is counted anew for each part.
            self.wait(stage, progress, |p| p.described.load(Ordering::Acquire) >= part)?;
            progress.described.store(0, Ordering::Release);
        }
        Ok(sent)
    }

    /// While packets flow: the program is made ready for both firmwares, the NIC gets the second, and then the program
    /// forgets the first. Each of the two swaps is one step for the device. Returns their number.
    fn change(
        &self,
        stage: &Stage,
        nic: &SoftNic,
        device: &Device,
        (first, second): (&ExampleNic, &ExampleNic),
        progress: &Progress,
    ) -> anyhow::Result<u64> {
        self.wait(stage, progress, |p| p.compared.load(Ordering::Acquire) > self.packets / 3)?;
        print::progress("  packets flow; relinking the program for firmware 1 and 2, and swapping it in");
        self.put(device, &[first, second])?;
        print::progress("  flashing firmware 2");
        nic.flash(std::slice::from_ref(&second.plan), xhint_softnic::Spread::Flow)?;
        progress.steps.store(1, Ordering::Release);
        self.wait(stage, progress, |p| p.layout.load(Ordering::Acquire) == u64::from(second.plan.id))?;
        print::progress("  packets of firmware 2 arrive; relinking for it alone, and swapping");
        self.put(device, &[second])?;
        progress.steps.store(2, Ordering::Release);
        Ok(2)
    }

    /// Waits for packets to come so far.
    fn wait(&self, stage: &Stage, progress: &Progress, until: impl Fn(&Progress) -> bool) -> anyhow::Result<()> {
        let mut last = (progress.moved(), Instant::now());
        while !until(progress) {
            stage.check()?;
            let now = progress.moved();
            if now != last.0 {
                last = (now, Instant::now());
            }
            anyhow::ensure!(last.1.elapsed() < PATIENCE, "{}: packets do not arrive", self.vendor);
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits for a step of the change, which takes what it takes; whoever fails at it stops this too.
    fn wait_for_step(&self, stage: &Stage, progress: &Progress, step: u64) -> anyhow::Result<()> {
        while progress.steps.load(Ordering::Acquire) < step {
            stage.check()?;
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn add(
        &self,
        report: &mut Report,
        firmwares: &[&ExampleNic],
        sent: u64,
        tallies: &BTreeMap<u32, Tally>,
        swaps: u64,
    ) {
        let seen = tallies.values().map(|t| t.packets).sum();
        let misread = tallies.values().map(|t| t.misread).sum();
        report.add(sent, seen, misread, swaps);
        for (n, firmware) in firmwares.iter().enumerate() {
            let tally = tallies.get(&firmware.plan.id).cloned().unwrap_or_default();
            report.runs.push(Run::new(self.vendor, n + 1, &firmware.plan, &tally));
        }
    }
}

fn joined<T>(joined: thread::Result<anyhow::Result<T>>) -> anyhow::Result<T> {
    joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A demo that finds nothing wrong proves nothing unless it would find it: here it is told that fields stand
    /// where firmware 2 has them, while the NIC runs firmware 1.
    #[test]
    fn what_is_misread_is_found_out() {
        if !xhint_testkit::privileged() {
            return;
        }
        let (home, linker) = (Home::system().unwrap(), Linker::new().unwrap());
        let [fw1, fw2, _] = stage::firmwares(&linker, xhint_softnic::max_meta().unwrap()).unwrap();
        let mut stage = Stage::set(&home, &Arc::default()).unwrap();
        let act = Act { home: &home, linker: &linker, vendor: "alpha", packets: 300 };
        let (nic, device) = stage.nic("alpha", &fw1).unwrap();
        act.put(&device, &[&fw1]).unwrap();
        let records = status(&home, &device).unwrap().maps_dir.unwrap().join("records");
        let progress = Progress::default();
        let wrong = HashMap::from([(fw1.plan.id, Plan { id: fw1.plan.id, ..fw2.plan.clone() })]);
        let tallies = thread::scope(|scope| {
            let collector = scope.spawn(|| collect(&nic, &records, &wrong, None, &progress));
            progress.steps.store(2, Ordering::Release);
            let sent = act.send(&stage, &nic, &progress).unwrap();
            progress.sent.store(true, Ordering::Release);
            assert_eq!(sent, 300);
            collector.join().unwrap().unwrap()
        });
        let tally = &tallies[&fw1.plan.id];
        assert_eq!((tally.packets, tally.misread), (300, 300));
        assert!(tally.first.as_ref().unwrap().contains("read was"));
        let mut report = Report::default();
        act.add(&mut report, &[&fw1], 300, &tallies, 0);
        assert!(!report.good());
    }
}

//! An application that links with xhint and does everything else as it always did, with aya.
//!
//! ```text
//! cargo run --example with_aya -- eth0 hints.o fw1.btf fw2.btf
//! ```
//! Reads packets for ten seconds and says how many were read, without metadata, or unknown.

use std::error::Error;
use std::{env, thread, time::Duration};

use aya::Ebpf;
use aya::maps::PerCpuArray;
use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [ifname, program, nics @ ..] = arguments.as_slice() else {
        return Err("usage: with_aya IFNAME PROG.o NIC.btf...".into());
    };

    // The only lines that have to do with xhint. Calls need nobody to fill a map, which aya does not do by itself.
    let linker = xhint::Linker::new()?;
    let mut link = linker.program(program)?.dispatch(xhint::Dispatch::Static);
    for nic in nics {
        link = link.nic(nic)?;
    }
    let linked = link.link()?;

    let mut object = Ebpf::load(&linked.bytes)?;
    let program: &mut Xdp = object.program_mut("hints").ok_or("no program hints")?.try_into()?;
    program.load()?;
    program.attach(ifname, XdpMode::default())?;

    thread::sleep(Duration::from_secs(10));
    let outcomes: PerCpuArray<_, u64> = object.map("outcomes").ok_or("no map outcomes")?.try_into()?;
    for (outcome, words) in (0u32..).zip(["read", "without metadata", "unknown", "no room"]) {
        println!("{} {words}", outcomes.get(&outcome, 0)?.iter().sum::<u64>());
    }
    Ok(())
}

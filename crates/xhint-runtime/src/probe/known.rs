//! What is known of drivers' answers to the metadata kfuncs, from looking at packets or into their source; asking the kernel does
//! not tell it. `docs/probe.md` has the table.

use xhint_host::virtio::HASH_REPORT;
use xhint_host::{Facts, Offloads};
use xhint_layout::vocabulary::Kfunc;

use super::answer::{Answer, Evidence};

/// A driver that has metadata kfuncs of its own.
#[derive(Debug, Clone, Copy)]
pub struct Driver {
    /// As `ethtool -i` has it.
    pub name: &'static str,
    /// As its folder or file in the kernel is called, and so [`Kfunc::drivers`] has it.
    pub source: &'static str,
    /// What it answers.
    pub kfuncs: &'static [Known],
}

/// What is known of one of its answers.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// To which kfunc.
    pub kfunc: Kfunc,
    /// The oldest of Debian's kernels 6.12.117, 6.18.15 and 7.3.4 whose module has the function.
    pub since: &'static str,
    /// What it is worth.
    pub worth: Worth,
    /// How that is known.
    pub evidence: Evidence,
    /// What a call adds to a packet, in nanoseconds, if that stood out of the noise (± 10): measured once by hand on Linux
    /// 6.18.44, x86-64, least of 3 times 400,000 packets. No bench holds it.
    pub nanoseconds: Option<u32>,
}

/// What an answer is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// The NIC's word.
    Always,
    /// The NIC's word if the device takes the time of packets, else `ENODATA`.
    IfTimestamping,
    /// The NIC's word if it is to give hashes (`rxhash`), else `ENODATA`.
    IfRxHash,
    /// The NIC's word if it takes tags out of packets (`rxvlan`), else `ENODATA`.
    IfRxVlan,
    /// As [`Worth::IfRxHash`] if virtio's header has a hash, else what stands in its place.
    IfHashReport,
    /// Nothing: it says success, and this.
    Lies(&'static str),
    /// What the kernel works out itself.
    Software(&'static str),
}

const fn run(kfunc: Kfunc, since: &'static str, worth: Worth, nanoseconds: Option<u32>) -> Known {
    Known { kfunc, since, worth, evidence: Evidence::Packets, nanoseconds }
}

const fn read(kfunc: Kfunc, since: &'static str, worth: Worth) -> Known {
    Known { kfunc, since, worth, evidence: Evidence::Code, nanoseconds: None }
}

/// All of Linux 7.3, by name. Read in `mlx4/en_rx.c`, `mlx5/core/en/xdp.c`, `ice_txrx_lib.c`, `igc_main.c`, `idpf/xdp.c`,
/// `gve_rx_dqo.c` and `stmmac_main.c` below `drivers/net/ethernet`, and in the modules of Debian's 7.3.4.
pub const DRIVERS: &[Driver] = &[
    Driver { name: "bnxt_en", source: "bnxt", kfuncs: &[read(Kfunc::RxHash, "7.3", Worth::Always)] },
    Driver { name: "gve", source: "gve", kfuncs: &[read(Kfunc::RxTimestamp, "7.3", Worth::Always)] },
    Driver {
        name: "ice",
        source: "ice",
        kfuncs: &[
            read(Kfunc::RxTimestamp, "6.12", Worth::IfTimestamping),
            read(Kfunc::RxHash, "6.12", Worth::Always),
            read(Kfunc::RxVlanTag, "6.12", Worth::IfRxVlan),
        ],
    },
    Driver {
        name: "idpf",
        source: "idpf",
        kfuncs: &[read(Kfunc::RxTimestamp, "7.3", Worth::IfTimestamping), read(Kfunc::RxHash, "6.18", Worth::IfRxHash)],
    },
    Driver {
        name: "igc",
        source: "igc",
        kfuncs: &[
            read(Kfunc::RxTimestamp, "6.12", Worth::IfTimestamping),
            read(Kfunc::RxHash, "6.12", Worth::IfRxHash),
        ],
    },
    Driver {
        name: "mlx4_en",
        source: "mlx4",
        kfuncs: &[
            read(Kfunc::RxTimestamp, "6.12", Worth::IfTimestamping),
            read(Kfunc::RxHash, "6.12", Worth::IfRxHash),
        ],
    },
    Driver {
        name: "mlx5_core",
        source: "mlx5",
        kfuncs: &[
            read(Kfunc::RxTimestamp, "6.12", Worth::IfTimestamping),
            read(Kfunc::RxHash, "6.12", Worth::IfRxHash),
            read(Kfunc::RxVlanTag, "6.12", Worth::IfRxVlan),
        ],
    },
    Driver { name: "st_gmac", source: "stmmac", kfuncs: &[read(Kfunc::RxTimestamp, "6.12", Worth::IfTimestamping)] },
    Driver {
        name: "veth",
        source: "veth",
        kfuncs: &[
            run(Kfunc::RxTimestamp, "6.12", Worth::Lies("no clock has seen the packet, and it says 0"), None),
            run(Kfunc::RxHash, "6.12", Worth::Software("the kernel works it out, and not as Toeplitz did"), Some(185)),
            run(Kfunc::RxVlanTag, "6.12", Worth::Always, Some(20)),
        ],
    },
    Driver {
        name: "virtio_net",
        source: "virtio_net",
        // What it says with the report came in a VM, and was not held against a Toeplitz hash; nor does a test of ours ask it.
        kfuncs: &[run(Kfunc::RxHash, "6.12", Worth::IfHashReport, None)],
    },
];

/// What is known of a driver's answer, by what `ethtool -i` calls it.
pub fn known(driver: &str, kfunc: Kfunc) -> Option<&'static Known> {
    // stmmac calls itself by what it drives.
    let driver = if matches!(driver, "st_xgmac" | "st_mac100") { "st_gmac" } else { driver };
    DRIVERS.iter().find(|d| d.name == driver)?.kfuncs.iter().find(|known| known.kfunc == kfunc)
}

/// Why no metadata can be put in front of the packets of a driver; `None` if nothing speaks against it.
pub fn refuses_metadata(driver: &str) -> Option<&'static str> {
    (driver == "vmxnet3").then_some("vmxnet3 lets no program put metadata in front of a packet")
}

impl Known {
    /// What the answer is, as the device is set now.
    pub fn answer(&self, facts: &Facts) -> Answer {
        let Offloads { rx_hash, rx_vlan } = facts.offloads;
        let good = Answer::Good(self.evidence);
        let fails = |why: &str| Answer::AlwaysFails(why.to_owned());
        let reports = facts.virtio.as_ref().map(|bits| bits.contains(&HASH_REPORT));
        match self.worth {
            Worth::Lies(what) => Answer::Lies(what),
            Worth::Software(what) => Answer::Software(what),
            Worth::IfTimestamping if facts.rx_timestamps == Some(false) => {
                fails("the device takes no time of packets; switch it on with hwstamp_ctl or ptp4l")
            }
            Worth::IfRxHash | Worth::IfHashReport if !rx_hash => {
                fails("the device gives no hashes; switch them on with ethtool -K (rxhash)")
            }
            Worth::IfRxVlan if !rx_vlan => {
                fails("the device leaves tags in the packets; to have them taken out, ethtool -K (rxvlan)")
            }
            Worth::IfHashReport => match reports {
                Some(true) => good,
                Some(false) => Answer::Lies("virtio's header has no hash here, and it says the packet's first bytes"),
                None => Answer::Unknown,
            },
            Worth::Always | Worth::IfTimestamping | Worth::IfRxHash | Worth::IfRxVlan => good,
        }
    }
}

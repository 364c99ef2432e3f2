//! What the value of each hint can come from on a device, best first.
//!
//! The order is by truth, then by cost: the NIC's own word; what follows from the packet and its context; what the kernel works
//! out in a kfunc, at a higher price and by rules of its own. A clock is no NIC's word, so it is there only for who asks for
//! it.

use xhint_layout::Hint;
use xhint_layout::vocabulary::{Kfunc, WORDS, Word};

use crate::probe::{Answer, Asked, Probe};

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// The driver, by a kfunc.
    Kfunc(Kfunc),
    /// What is at hand without the NIC.
    Software(Software),
}

/// What is at hand without the NIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Software {
    /// The packet's bytes.
    Packet,
    /// Toeplitz's function of the packet's addresses and ports.
    Toeplitz,
    /// A member of the program's context.
    Context(&'static str),
    /// The kernel's clock, when the program runs.
    Clock,
}

impl Provider {
    /// Its word: `kfunc` or `software`.
    pub fn name(self) -> &'static str {
        match self {
            Provider::Kfunc(_) => "kfunc",
            Provider::Software(_) => "software",
        }
    }

    /// What of it, in a word.
    pub fn what(self) -> &'static str {
        match self {
            Provider::Kfunc(kfunc) => kfunc.name(),
            Provider::Software(Software::Packet) => "packet",
            Provider::Software(Software::Toeplitz) => "toeplitz",
            Provider::Software(Software::Context(member)) => member,
            Provider::Software(Software::Clock) => "clock",
        }
    }
}

/// Whether it is taken. In the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// If nothing better is there.
    Usable,
    /// Only by who names it.
    IfAsked,
    /// Not.
    Refused,
}

impl Standing {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Usable => "usable",
            Standing::IfAsked => "if asked",
            Standing::Refused => "refused",
        }
    }
}

/// One way to a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// From where.
    pub provider: Provider,
    /// Whether it is taken.
    pub standing: Standing,
    /// Why, or what to know of it.
    pub why: Option<String>,
    /// What it takes a packet, in nanoseconds, if that was measured.
    pub nanoseconds: Option<u32>,
}

/// The ways to a hint's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offers {
    /// The hint.
    pub hint: Hint,
    /// Its name.
    pub name: &'static str,
    /// Best first.
    pub all: Vec<Offer>,
}

impl Offers {
    /// The one that is taken if nobody asks for another.
    pub fn best(&self) -> Option<&Offer> {
        self.all.first().filter(|offer| offer.standing == Standing::Usable)
    }
}

/// For each word of the vocabulary that says something of a packet, what it can come from on the device.
pub fn offers(probe: &Probe) -> Vec<Offers> {
    // Whoever puts a layout in front of a packet knows its id, its constants and which hints are there.
    let words = WORDS.iter().filter(|word| !matches!(word.hint, Hint::LayoutId | Hint::Const(_) | Hint::Valid));
    words.map(|word| Offers { hint: word.hint, name: word.name, all: of(word, probe) }).collect()
}

fn of(word: &Word, probe: &Probe) -> Vec<Offer> {
    let kfunc = word.kfunc.and_then(|kfunc| probe.kfunc(kfunc)).map(kfunc);
    let mut all: Vec<_> = kfunc.into_iter().chain(software(word)).collect();
    if let Some(why) = probe.refuses_metadata {
        for (_, offer) in &mut all {
            (offer.standing, offer.why) = (Standing::Refused, Some(why.to_owned()));
        }
    }
    all.sort_by_key(|(source, offer)| (offer.standing, *source));
    all.into_iter().map(|(_, offer)| offer).collect()
}

/// Whose word a value is, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Nic,
    Packet,
    Kernel,
}

fn kfunc(asked: &Asked) -> (Source, Offer) {
    let source = if matches!(asked.answer, Answer::Software(_)) { Source::Kernel } else { Source::Nic };
    let (standing, why) = match (asked.offered, &asked.answer) {
        (_, answer @ (Answer::AlwaysFails(_) | Answer::Lies(_))) => (Standing::Refused, answer.why()),
        (Some(true), answer) => (Standing::Usable, answer.why()),
        (_, _) => {
            (Standing::Refused, "nothing tells whether the driver has it; asking takes CAP_BPF and CAP_NET_ADMIN")
        }
    };
    let why = match (asked.kfunc, standing) {
        (Kfunc::RxVlanTag, Standing::Usable) => format!("of a tag that the NIC took out of the packet ({why})"),
        _ => why.to_owned(),
    };
    let provider = Provider::Kfunc(asked.kfunc);
    (source, Offer { provider, standing, why: Some(why), nanoseconds: asked.nanoseconds })
}

fn software(word: &Word) -> Option<(Source, Offer)> {
    let (software, standing, why) = match word.hint {
        Hint::RxTimestamp => {
            (Software::Clock, Standing::IfAsked, Some("when the program runs, not when the packet came"))
        }
        Hint::RxHash | Hint::RxHashType => (Software::Toeplitz, Standing::Usable, Some("with a key of its own")),
        Hint::RxQueue => (Software::Context("xdp_md.rx_queue_index"), Standing::Usable, None),
        Hint::IfIndex => (Software::Context("xdp_md.ingress_ifindex"), Standing::Usable, None),
        Hint::VlanTci | Hint::VlanProto => {
            (Software::Packet, Standing::Usable, Some("of a tag that the NIC left in the packet"))
        }
        Hint::Csum | Hint::CsumState => (
            Software::Packet,
            Standing::Refused,
            Some("a filler sums up no packets, which takes the longer, the longer they are"),
        ),
        _ if word.in_packet => (Software::Packet, Standing::Usable, None),
        _ => return None,
    };
    let (provider, why) = (Provider::Software(software), why.map(str::to_owned));
    Some((Source::Packet, Offer { provider, standing, why, nanoseconds: None }))
}

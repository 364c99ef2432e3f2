//! What the value of each hint can come from on a device, best first.
//!
//! The order is by truth, then by cost: the NIC's own word, told by the driver's function, which the kernel answers for, or read
//! past it; what follows from the packet and its context; what the kernel has of the packet, read, then worked out in a kfunc at
//! a higher price. A clock is no NIC's word, so it is there only for who asks for
//! it.

use std::sync::Arc;

use xhint_fill::driver::{Route, Says};
use xhint_fill::{Offer, Offers, Origin, Standing};
use xhint_layout::Hint;
use xhint_layout::vocabulary::{Kfunc, WORDS, Word};

use crate::probe::{Answer, Asked, Probe};

/// For each word of the vocabulary that says something of a packet, what it can come from on the device.
pub fn offers(probe: &Probe) -> Vec<Offers> {
    // Whoever puts a layout in front of a packet knows its id, its constants and which hints are there.
    let words = WORDS.iter().filter(|word| !matches!(word.hint, Hint::LayoutId | Hint::Const(_) | Hint::Valid));
    words.map(|word| Offers { hint: word.hint, name: word.name, all: of(word, probe) }).collect()
}

fn of(word: &Word, probe: &Probe) -> Vec<Offer> {
    let kfunc = word.kfunc.and_then(|kfunc| probe.kfunc(kfunc)).map(kfunc);
    let path = probe.paths.iter().find(|(hint, _)| *hint == word.hint).map(|(_, route)| driver(route));
    let mut all: Vec<_> = kfunc.into_iter().chain(path).chain(software(word)).collect();
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
    NicsStructures,
    Packet,
    KernelsStructures,
    Kernel,
}

fn driver(route: &Result<Route, String>) -> (Source, Offer) {
    let (source, origin, standing, why) = match route {
        Ok(route) => {
            let (source, why) = match route.says {
                Says::Nic => (Source::NicsStructures, "what the NIC wrote, where the driver has it"),
                Says::Kernel => (Source::KernelsStructures, "what the kernel has of the packet, and no NIC has said"),
            };
            (source, Origin::Driver(Arc::new(route.clone())), Standing::Usable, why.to_owned())
        }
        Err(why) => (Source::KernelsStructures, Origin::NoDriver, Standing::Refused, why.clone()),
    };
    (source, Offer { origin, standing, why: Some(why), nanoseconds: None })
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
    let origin = Origin::Kfunc(asked.kfunc);
    (source, Offer { origin, standing, why: Some(why), nanoseconds: asked.nanoseconds })
}

fn software(word: &Word) -> Option<(Source, Offer)> {
    let (origin, standing, why) = match word.hint {
        Hint::RxTimestamp => {
            (Origin::Clock, Standing::IfAsked, Some("when the program runs, not when the packet came"))
        }
        Hint::RxHash | Hint::RxHashType => (Origin::Toeplitz, Standing::Usable, Some("with a key of its own")),
        Hint::RxQueue => (Origin::Context("xdp_md.rx_queue_index"), Standing::Usable, None),
        Hint::IfIndex => (Origin::Context("xdp_md.ingress_ifindex"), Standing::Usable, None),
        Hint::VlanTci | Hint::VlanProto => {
            (Origin::Packet, Standing::Usable, Some("of a tag that the NIC left in the packet"))
        }
        Hint::Csum | Hint::CsumState => (
            Origin::Packet,
            Standing::Refused,
            Some("a filler sums up no packets, which takes the longer, the longer they are"),
        ),
        _ if word.in_packet => (Origin::Packet, Standing::Usable, None),
        _ => return None,
    };
    Some((Source::Packet, Offer { origin, standing, why: why.map(str::to_owned), nanoseconds: None }))
}

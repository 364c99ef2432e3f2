//! What a device has of each hint.

use std::sync::Arc;

use xhint_layout::Hint;
use xhint_layout::vocabulary::Kfunc;

use crate::Provider;
use crate::driver::Route;

/// Where a value comes from, to the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The driver, by a function of the kernel's.
    Kfunc(Kfunc),
    /// The driver's own structures.
    Driver(Arc<Route>),
    /// The same, where no path leads to the value.
    NoDriver,
    /// The packet's bytes.
    Packet,
    /// Toeplitz's function of the packet's addresses and ports.
    Toeplitz,
    /// A member of the program's context.
    Context(&'static str),
    /// The kernel's clock, when the program runs.
    Clock,
    /// What the filler itself knows.
    Filler,
}

impl Origin {
    /// Whose it is.
    #[must_use]
    pub fn provider(&self) -> Provider {
        match self {
            Origin::Kfunc(_) => Provider::Kfunc,
            Origin::Driver(_) | Origin::NoDriver => Provider::Driver,
            _ => Provider::Software,
        }
    }

    /// What of that provider, in a word.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Origin::Kfunc(kfunc) => kfunc.name(),
            Origin::Driver(route) => &route.words,
            Origin::NoDriver => "path",
            Origin::Packet => "packet",
            Origin::Toeplitz => "toeplitz",
            Origin::Context(member) => member,
            Origin::Clock => "clock",
            Origin::Filler => "filler",
        }
    }
}

/// Whether it is taken. In the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// If nothing better is there.
    Usable,
    /// Only by who names it: what software makes up must not pass for the NIC's word.
    IfAsked,
    /// Not.
    Refused,
}

impl Standing {
    /// In a word.
    #[must_use]
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
    pub origin: Origin,
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
    #[must_use]
    pub fn best(&self) -> Option<&Offer> {
        self.all.iter().find(|offer| offer.standing == Standing::Usable)
    }

    /// Why none is, in words.
    #[must_use]
    pub fn absent(&self) -> String {
        let why = |offer: &Offer| {
            let why = offer.why.as_deref().map(|why| format!(": {why}")).unwrap_or_default();
            format!("{} {} {}{why}", offer.origin.provider(), offer.origin.name(), offer.standing.name())
        };
        let all: Vec<_> = self.all.iter().map(why).collect();
        if all.is_empty() { "nothing has it".to_owned() } else { all.join("; ") }
    }
}

//! What runs before a program on a device whose packets carry no metadata: the fields that the program asks for are fetched
//! from where the device has them.

use std::sync::Arc;

use xhint_fill::{Filler, Offers, Provider};
use xhint_layout::Hint;
use xhint_layout::vocabulary::Kfunc;
use xhint_link::{FillerCall, LinkOptions, Object};
use xhint_universe::Universe;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::fields::{Filled, Filling};
use crate::offers::{Offer, Provider as Offered, Software, Standing, offers};
use crate::parsed::Parsed;
use crate::probe::{Probe, probe};
use crate::state::{LinkedAs, Mode, Source};

/// What the filler's layout is called where files are.
const NAME: &str = "filler";

/// A program with a filler.
pub(crate) struct Made {
    /// The program's object with the filler's code.
    pub object: Parsed,
    /// The layout, as if it were a NIC's.
    pub nic: Source,
    /// The filler.
    pub call: FillerCall,
    /// Whether it is for this device alone.
    pub bound: bool,
}

/// What fills `object` on `device`, if anything does, and where each field that it asks for comes from. The layout is in
/// `universe` then.
pub(crate) fn fill(
    device: &Device,
    mode: Mode,
    universe: &mut Universe,
    object: &Parsed,
    options: &LinkedAs,
    link: &LinkOptions,
) -> Result<(Option<Filling>, Option<Made>)> {
    let refused = |cause| Error::Fill { path: object.source.path.clone(), cause: Box::new(cause) };
    let asked = xhint_fill::Asked::of(&object.object, universe, link).map_err(refused)?;
    // Whom nothing is to be filled for, nothing is asked of the device for.
    if asked.fields.is_empty() {
        return Ok((None, None));
    }
    let probe = probe(device)?;
    let offers = offered(&probe, mode);
    let (choice, filler) = Filler::of(&object.object, &asked, &offers, &options.fill).map_err(refused)?;
    let told = Filling { fields: choice.rows.iter().map(row).collect() };
    let Some(filler) = filler else { return Ok((Some(told), None)) };
    universe.add(NAME, Arc::clone(&filler.btf)).map_err(Error::Layout)?;
    let Some(layout) = universe.layouts().last() else { return Ok((Some(told), None)) };
    if let Some(most) = probe.room.map(|room| room.written).filter(|most| layout.size > *most) {
        return Err(Error::FillTooLong { size: layout.size, most });
    }
    let call = FillerCall { function: Filler::FUNCTION.to_owned(), layout: layout.id, keep: options.keep_metadata };
    let joined = filler.join(&object.object).map_err(refused)?;
    let made = Made {
        object: Parsed { source: object.source.clone(), object: joined },
        nic: Source::made(NAME, filler.btf.raw().to_vec()),
        call,
        bound: choice.asks_driver(),
    };
    Ok((Some(told), Some(made)))
}

/// Whether the object asks the driver itself, by one of the kernel's functions for that.
pub(crate) fn asks_driver(object: &Object) -> bool {
    let kfuncs = [Kfunc::RxTimestamp, Kfunc::RxHash, Kfunc::RxVlanTag].map(Kfunc::name);
    object.calls_kernel().any(|name| kfuncs.contains(&name))
}

/// What a device has.
fn offered(probe: &Probe, mode: Mode) -> Offers {
    let all = offers(probe);
    let one = |hint, offer: &Offer| xhint_fill::Offer {
        provider: provider(offer),
        from: from(offer),
        cost: offer.nanoseconds,
        why_not: why_not(hint, offer, mode),
        only_asked: offer.standing == Standing::IfAsked,
    };
    let mut all: Offers =
        all.iter().map(|of| (of.hint, of.all.iter().map(|offer| one(of.hint, offer)).collect())).collect();
    // Which values there are the filler itself knows.
    all.insert(
        Hint::Valid,
        vec![xhint_fill::Offer {
            provider: Provider::Software,
            from: "the filler".to_owned(),
            cost: None,
            why_not: None,
            only_asked: false,
        }],
    );
    all
}

fn provider(offer: &Offer) -> Provider {
    match offer.provider {
        Offered::Kfunc(_) => Provider::Kfunc,
        Offered::Software(_) => Provider::Software,
    }
}

fn from(offer: &Offer) -> String {
    match offer.provider {
        Offered::Kfunc(kfunc) => kfunc.name().to_owned(),
        Offered::Software(Software::Packet) => "packet".to_owned(),
        Offered::Software(Software::Toeplitz) => "packet, Toeplitz hash".to_owned(),
        Offered::Software(Software::Context(member)) => member.to_owned(),
        Offered::Software(Software::Clock) => "clock".to_owned(),
    }
}

/// Why a filler cannot take it.
fn why_not(hint: Hint, offer: &Offer, mode: Mode) -> Option<String> {
    match (offer.provider, hint) {
        _ if offer.standing == Standing::Refused => Some(offer.why.clone().unwrap_or_default()),
        (Offered::Kfunc(_), _) if mode == Mode::Generic => Some("in generic mode there is no driver to ask".to_owned()),
        (Offered::Software(_), Hint::Csum | Hint::CsumState) => Some("a filler sums up no packets".to_owned()),
        _ => None,
    }
}

fn row(row: &xhint_fill::Row) -> Filled {
    let field = row.field.clone();
    match &row.from {
        Ok(source) => Filled {
            field,
            provider: Some(source.offer.provider),
            words: source.offer.from.clone(),
            bits: source.hint.word().map(|word| word.bits),
            cost: source.offer.cost,
        },
        Err(why) => Filled { field, provider: None, words: why.clone(), bits: None, cost: None },
    }
}

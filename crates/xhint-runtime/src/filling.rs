//! What runs before a program on a device whose packets carry no metadata: the fields that the program asks for are fetched
//! from where the device has them.

use std::sync::Arc;

use xhint_fill::driver::DriverPaths;
use xhint_fill::{Filler, Offer, Offers, Origin, Provider, Standing};
use xhint_layout::Hint;
use xhint_link::{FillerCall, LinkOptions};
use xhint_universe::Universe;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::fields::{Filled, Filling};
use crate::offers::offers;
use crate::parsed::Parsed;
use crate::probe::{Probe, probe_with};
use crate::rights::may_walk;
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
    let probe = probe_with(device, &DriverPaths::with(&options.drivers)?)?;
    let offers = offered(&probe, mode);
    let walk = options.walk && may_walk();
    let (choice, filler) = Filler::of(&object.object, &asked, &offers, &options.fill, walk).map_err(refused)?;
    let told = Filling { fields: choice.rows.iter().map(row).collect() };
    let Some(filler) = filler else { return Ok((Some(told), None)) };
    universe.add(NAME, Arc::clone(&filler.btf)).map_err(Error::Layout)?;
    if let Some(most) = probe.room.map(|room| room.written).filter(|most| filler.size > *most) {
        return Err(Error::FillTooLong { size: filler.size, most });
    }
    let call = FillerCall { function: Filler::FUNCTION.to_owned(), layout: filler.id, keep: options.keep_metadata };
    let joined = filler.join(&object.object).map_err(refused)?;
    let made = Made {
        object: Parsed { source: object.source.clone(), object: joined },
        nic: Source::made(NAME, filler.btf.raw().to_vec()),
        call,
    };
    Ok((Some(told), Some(made)))
}

/// What a device has for a filler.
fn offered(probe: &Probe, mode: Mode) -> Vec<Offers> {
    let mut all = offers(probe);
    for offer in all.iter_mut().flat_map(|of| &mut of.all).filter(|_| mode == Mode::Generic) {
        let why = match offer.origin.provider() {
            Provider::Kfunc => "in generic mode there is no driver to ask",
            Provider::Driver => "in generic mode the packet is in none of the driver's structures",
            _ => continue,
        };
        (offer.standing, offer.why) = (Standing::Refused, Some(why.to_owned()));
    }
    // Which values there are the filler itself knows.
    let filler = Offer { origin: Origin::Filler, standing: Standing::Usable, why: None, nanoseconds: None };
    all.push(Offers { hint: Hint::Valid, name: "valid", all: vec![filler] });
    all
}

fn row(row: &xhint_fill::Row) -> Filled {
    let field = row.field.clone();
    match &row.from {
        Ok(source) => Filled {
            field,
            provider: Some(source.offer.origin.provider()),
            words: source.offer.origin.name().to_owned(),
            bits: source.hint.word().map(|word| word.bits),
            cost: source.offer.nanoseconds,
        },
        Err(why) => Filled { field, provider: None, words: why.clone(), bits: None, cost: None },
    }
}

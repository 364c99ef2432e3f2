//! The code that fetches, and the layout that it fills.

use std::sync::Arc;

use bytes::Bytes;
use xhint_btf::Btf;
use xhint_link::Object;

use crate::choice::Source;
use crate::layout::{Layout, layout};
use crate::{Asked, Choice, Error, Fill, Offers, Origin};

/// `bpf/fill.bpf.c`, compiled with what its name says.
const PLAIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fill_plain.bpf.o"));
const KFUNCS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fill_kfuncs.bpf.o"));
const HASH: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fill_hash.bpf.o"));
const KFUNCS_HASH: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/fill_kfuncs_hash.bpf.o"));

/// What is to run before a program.
#[derive(Debug, Clone)]
pub struct Filler {
    /// Which field comes from where.
    pub choice: Choice,
    /// The layout, a NIC BTF of its own.
    pub btf: Arc<Btf>,
    /// Its id, derived from what it holds.
    pub id: u32,
    /// Bytes of metadata.
    pub size: u32,
    form: &'static [u8],
}

impl Filler {
    /// The name of the function that fills.
    pub const FUNCTION: &'static str = "xhint_fill";

    /// What is `asked` for by `object`, from where `offers` has it and `fill` wants it. `None` if no field is to be filled;
    /// the rows tell why in the choice, which comes either way. `walk` is whether it is loaded with `CAP_PERFMON`.
    ///
    /// # Errors
    /// As [`Choice::of`]; [`Error::Layout`].
    pub fn of(
        object: &Object,
        asked: &Asked,
        offers: &[Offers],
        fill: &Fill,
        walk: bool,
    ) -> Result<(Choice, Option<Filler>), Error> {
        let choice = Choice::of(asked, offers, fill)?;
        if choice.filled().next().is_none() {
            return Ok((choice, None));
        }
        let Layout { btf, type_id, id } = layout(object.btf(), asked, &choice, walk)?;
        let size = btf.skip_mods(type_id).size();
        let hashes = |(_, source): (&str, &Source)| source.offer.origin == Origin::Toeplitz;
        let form = match (choice.asks_driver(), choice.filled().any(hashes)) {
            (false, false) => PLAIN,
            (true, false) => KFUNCS,
            (false, true) => HASH,
            (true, true) => KFUNCS_HASH,
        };
        Ok((choice.clone(), Some(Filler { choice, btf: Arc::new(btf), id, size, form })))
    }

    /// `object` with the filler's code beside its own.
    ///
    /// # Errors
    /// [`Error::Join`].
    pub fn join(&self, object: &Object) -> Result<Object, Error> {
        Ok(object.join(&Object::parse(Bytes::from_static(self.form))?)?)
    }
}

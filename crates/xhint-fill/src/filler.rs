//! The code that fetches, and the layout that it fills.

use std::sync::Arc;

use bytes::Bytes;
use xhint_bpf::Instruction;
use xhint_btf::Btf;
use xhint_link::Object;

use crate::driver::{Calls, Route, code};
use crate::layout::{Layout, layout};
use crate::{Asked, Choice, Error, Fill, Offers, Origin};

/// `bpf/fill.bpf.c`, compiled with the parts whose numbers have that sum.
const FORMS: [&[u8]; 8] = [
    include_bytes!(concat!(env!("OUT_DIR"), "/fill_0.bpf.o")),
    include_bytes!(concat!(env!("OUT_DIR"), "/fill_1.bpf.o")),
    include_bytes!(concat!(env!("OUT_DIR"), "/fill_2.bpf.o")),
    include_bytes!(concat!(env!("OUT_DIR"), "/fill_3.bpf.o")),
    include_bytes!(concat!(env!("OUT_DIR"), "/fill_4.bpf.o")),
    include_bytes!(concat!(env!("OUT_DIR"), "/fill_5.bpf.o")),
    include_bytes!(concat!(env!("OUT_DIR"), "/fill_6.bpf.o")),
    include_bytes!(concat!(env!("OUT_DIR"), "/fill_7.bpf.o")),
];
/// The function of it whose code is written for each device.
const DRIVE: &str = "xhint_drive";

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
        Ok((choice.clone(), Some(Filler { choice, btf: Arc::new(btf), id, size })))
    }

    /// `object` with the filler's code beside its own.
    ///
    /// # Errors
    /// [`Error::Join`]; [`Error::ManyPointers`].
    pub fn join(&self, object: &Object) -> Result<Object, Error> {
        let has = |is: fn(&Origin) -> bool| self.choice.filled().any(|(_, source)| is(&source.offer.origin));
        let parts = [
            has(|origin| matches!(origin, Origin::Kfunc(_))),
            has(|origin| *origin == Origin::Toeplitz),
            has(|origin| matches!(origin, Origin::Driver(_))),
        ];
        let number = parts.iter().rev().fold(0usize, |sum, part| sum << 1 | usize::from(*part));
        let form = FORMS.get(number).copied().unwrap_or_default();
        let own = Object::parse(Bytes::from_static(form))?;
        let own = if parts.ends_with(&[true]) { own.replace(DRIVE, self.drive(&own)?)? } else { own };
        Ok(object.join(&own)?)
    }

    /// The code that reads the driver's structures, in `own`, the filler's object.
    fn drive(&self, own: &Object) -> Result<Vec<Instruction>, Error> {
        let symbol = |name: &'static str| {
            let found = own.image().symbols.entries().find(|(_, symbol)| symbol.name == name);
            found.map(|(id, _)| id).ok_or(Error::NoCall { name })
        };
        let calls = Calls { context: symbol("bpf_cast_to_kern_ctx")?, cast: symbol("bpf_rdonly_cast")? };
        let mut routes = Vec::<&Route>::new();
        for (_, source) in self.choice.filled() {
            match &source.offer.origin {
                // Fields of one hint have one value.
                Origin::Driver(route) if routes.iter().all(|other| other.hint != route.hint) => routes.push(route),
                _ => {}
            }
        }
        code(own.order(), &routes, calls)
    }
}

//! What may be flashed.

use xhint_layout::{LayoutId, Plan};

use crate::abi;
use crate::error::{Error, Result};
use crate::rights::may;

/// Most layouts of one firmware.
pub const MAX_LAYOUTS: usize = 1024;

/// Most bytes of metadata that are ever written, where the kernel lets that many through: 256 of headroom on veth less
/// the 40 of the kernel's own frame header (`struct xdp_frame`).
pub const MAX_META: u32 = 216;

/// Which of several layouts a packet gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Spread {
    /// All packets of a flow get one layout; packets without a flow get the first.
    #[default]
    Flow = 0,
    /// One after the other.
    Round = 1,
    /// Any.
    Random = 2,
}

/// Most bytes of metadata that this kernel lets a soft NIC put in front of a packet.
///
/// # Errors
/// [`Error::Rights`] without the rights that a soft NIC takes; [`Error::Room`] if it does not say.
pub fn max_meta() -> Result<u32> {
    may()?;
    xhint_host::room().map(|room| room.written.min(MAX_META)).map_err(|cause| Error::Room { cause })
}

/// Checks that the plans make a firmware for this kernel.
pub(crate) fn check(plans: &[Plan]) -> Result<()> {
    let bad = |why: String| Err(Error::BadFirmware { why });
    if plans.len() > MAX_LAYOUTS {
        return bad(format!("it has {} layouts, and {MAX_LAYOUTS} is the most", plans.len()));
    }
    let room = if plans.is_empty() { 0 } else { max_meta()? };
    for (i, plan) in plans.iter().enumerate() {
        if plan.id == 0 {
            return bad(format!("layout {} has the id 0, which means none", plan.name));
        }
        if let Some(twin) = plans.iter().take(i).find(|other| other.id == plan.id) {
            return bad(format!("layouts {} and {} have one id, {}", twin.name, plan.name, LayoutId(plan.id)));
        }
        if plan.size > room {
            return bad(format!(
                "layout {} has {} bytes, and this kernel lets at most {room} bytes of metadata stand in front of a \
                 packet on veth",
                plan.name, plan.size
            ));
        }
        if !abi::tables_fit(plan) {
            return bad(format!(
                "layout {} has more than 4 enumerations of its own, or one with values beyond 32 bits",
                plan.name
            ));
        }
        if let Err(error) = plan.clone().checked() {
            return bad(error.to_string());
        }
    }
    Ok(())
}

impl Spread {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Spread::Flow => "flow",
            Spread::Round => "round",
            Spread::Random => "random",
        }
    }

    /// The mode of this name.
    pub fn from_name(name: &str) -> Option<Spread> {
        [Spread::Flow, Spread::Round, Spread::Random].into_iter().find(|mode| mode.name() == name)
    }

    pub(crate) fn from_raw(raw: u32) -> Spread {
        match raw {
            1 => Spread::Round,
            2 => Spread::Random,
            _ => Spread::Flow,
        }
    }
}

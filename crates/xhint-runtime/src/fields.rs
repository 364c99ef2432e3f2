//! What is told of a program's fields: where each comes from.

use serde::{Deserialize, Serialize};
use xhint_fill::Provider;

/// Where each field comes from that a program asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filling {
    /// A row each.
    pub fields: Vec<Filled>,
}

/// Where a field comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filled {
    /// Its name in the program.
    pub field: String,
    /// Where it comes from; `None` if it is absent.
    pub provider: Option<Provider>,
    /// From where, or why it is absent, in words.
    pub words: String,
    /// Bits of its value; `None` if it is absent.
    pub bits: Option<u32>,
    /// Nanoseconds a packet, if they were measured.
    pub cost: Option<u32>,
}

impl Filling {
    /// Whether any field is filled.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.fields.iter().any(|field| field.provider.is_some())
    }
}

//! What an instruction names.

use crate::FunctionId;

/// What an instruction names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Named {
    /// Nothing.
    #[default]
    Nothing,
    /// A function of the object.
    Function(FunctionId),
    /// What the loader finds in the kernel.
    Kernel,
    /// What CO-RE relocation has yet to tell, in an object that is not linked: the place of this field, a number of whoever owns the
    /// code; of none, something else.
    Relocated(Option<u16>),
    /// A map, a variable, or what makes no sense.
    Other,
}

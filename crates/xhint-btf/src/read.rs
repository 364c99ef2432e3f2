//! Reading a BTF: its header, the check, and the BTF that has passed it.

use std::sync::Arc;

use bytes::Bytes;

use crate::check::check;
use crate::header::Header;
use crate::{Btf, Error};

impl Btf {
    /// Reads a BTF that stands alone: a kernel's, or a vendor's standalone one.
    ///
    /// # Errors
    /// Any fault of the bytes, see [`Error`].
    pub fn parse(raw: impl Into<Bytes>) -> Result<Btf, Error> {
        Btf::read(raw.into(), None)
    }

    /// Reads a BTF that is split on `base`: a kernel module's, or a NIC's.
    ///
    /// # Errors
    /// As [`Btf::parse`]; [`Error::BaseOrder`] if the two differ in byte order; [`Error::OtherBase`] if it was made for
    /// another base, which shows by references that are not there, names that begin inside a string, and types of a kind
    /// that makes no sense.
    pub fn parse_split(raw: impl Into<Bytes>, base: Arc<Btf>) -> Result<Btf, Error> {
        Btf::read(raw.into(), Some(base))
    }

    fn read(raw: Bytes, base: Option<Arc<Btf>>) -> Result<Btf, Error> {
        let header = Header::parse(&raw)?;
        if let Some(base) = base.as_ref().filter(|base| base.order() != header.order) {
            return Err(Error::BaseOrder { own: header.order, base: base.order() });
        }
        let checked = check(&raw, &header, base.as_deref());
        let checked = checked.map_err(|e| if base.is_some() { e.of_split() } else { e })?;
        Ok(Btf::of(raw, header, checked, base))
    }
}

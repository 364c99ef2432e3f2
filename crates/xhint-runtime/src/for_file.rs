//! Linking to a file, for another loader.

use xhint_link::{Explained, Link, LinkOptions, Linked, Report};
use xhint_universe::Universe;

use crate::error::{Error, Result};
use crate::named::declare;
use crate::parsed::Parsed;
use crate::source::Source;

/// A program that is about to be linked for another loader: nothing is asked of the kernel or of who links, so that the object
/// is the same wherever it is linked.
#[derive(Debug)]
pub struct ForFile {
    object: Parsed,
    universe: Universe,
    options: LinkOptions,
}

impl ForFile {
    /// `object`, its constants as `set` has them, for the layouts of `universe`; structs that `options` name become such.
    ///
    /// # Errors
    /// [`Error::Link`] if there is something wrong with the object, [`Error::Layout`] for a name that is nowhere.
    pub fn new(
        object: Source,
        set: &[(String, String)],
        mut universe: Universe,
        options: LinkOptions,
    ) -> Result<ForFile> {
        let object = Parsed::of(object, set)?;
        declare(&mut universe, options.layouts.as_deref().unwrap_or_default(), &options.bind).map_err(Error::Layout)?;
        Ok(ForFile { object, universe, options })
    }

    /// Links.
    ///
    /// # Errors
    /// [`Error::Link`] in the terms of the source.
    pub fn link(&self) -> Result<Linked> {
        let Parsed { object, .. } = &self.object;
        object.link(&self.universe, &self.options).map_err(|cause| self.object.refused(cause))
    }

    /// What [`ForFile::link`] would do, and why it would refuse, if so.
    pub fn explain(&self) -> (Report, Option<Error>) {
        let Explained { report, refused, .. } = self.object.object.explain(&self.universe, &self.options);
        (report, refused.map(|cause| self.object.refused(cause)))
    }
}

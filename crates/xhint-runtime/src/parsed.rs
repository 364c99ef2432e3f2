//! Objects, read.

use std::path::Path;

use xhint_link::{Object, Report};
use xhint_object::SetError;

use crate::error::{Error, Result};
use crate::source::Source;

/// An object, read once for all that is done with it, its constants as they were asked to be.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    pub source: Source,
    pub object: Object,
}

impl Parsed {
    pub fn of(source: Source, values: &[(String, String)]) -> Result<Parsed> {
        let refused = |cause: xhint_object::Error| refused(&source.path, cause.into());
        let mut object = Object::parse(source.bytes()?).map_err(refused)?;
        set(&mut object, values).map_err(refused)?;
        Ok(Parsed { source, object })
    }

    /// # Errors
    /// [`Error::Link`] if it is certain to read metadata at offsets that it was compiled with, and wrongly: no device is to
    /// run that.
    pub fn reads_right(&self, report: &Report) -> Result<()> {
        match report.plain.iter().find(|plain| plain.certain) {
            Some(plain) => Err(self.refused(xhint_link::Error::Plain(plain.clone()))),
            None => Ok(()),
        }
    }

    /// What is wrong with it, or with what it is linked for.
    pub fn refused(&self, cause: xhint_link::Error) -> Error {
        refused(&self.source.path, cause)
    }
}

fn refused(path: &Path, cause: xhint_link::Error) -> Error {
    Error::Link { path: path.to_owned(), cause: Box::new(cause) }
}

/// The object's XDP program, if it has but one: a linked object may have more, one for each layout.
pub(crate) fn only_program(object: &Object) -> String {
    match object.functions().iter().filter(|f| f.is_xdp()).collect::<Vec<_>>().as_slice() {
        [one] => one.name.clone(),
        _ => String::new(),
    }
}

/// Gives constants of the object their values, each one value.
fn set(object: &mut Object, values: &[(String, String)]) -> std::result::Result<(), xhint_object::Error> {
    for (n, (name, value)) in values.iter().enumerate() {
        if let Some((_, first)) = values.iter().take(n).find(|(other, old)| other == name && old != value) {
            let source = SetError::Twice { first: first.clone(), second: value.clone() };
            return Err(xhint_object::Error::Set { name: name.clone(), source });
        }
        object.set(name, value)?;
    }
    Ok(())
}

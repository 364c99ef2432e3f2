//! Where a value can come from, and what a user wants of that.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Where a value comes from that no NIC puts in front of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Provider {
    /// The kernel's XDP metadata functions, which ask the driver.
    Kfunc,
    /// The driver's own structures, read without asking it.
    Driver,
    /// The packet, the context or the clock.
    Software,
}

impl Provider {
    /// All, those first that are preferred where nothing else is said.
    pub const ALL: [Provider; 3] = [Provider::Kfunc, Provider::Driver, Provider::Software];

    /// Its name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Provider::Kfunc => "kfunc",
            Provider::Driver => "driver",
            Provider::Software => "software",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a user wants filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Prefer {
    /// What there is, the truest first, then the cheapest.
    #[default]
    Auto,
    /// Nothing.
    None,
    /// From this provider alone.
    From(Provider),
}

impl Prefer {
    /// As [`Fill::say`] takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Prefer::Auto => "auto",
            Prefer::None => "none",
            Prefer::From(provider) => provider.name(),
        }
    }
}

impl FromStr for Prefer {
    type Err = String;

    fn from_str(text: &str) -> Result<Prefer, String> {
        match (text, Provider::ALL.into_iter().find(|p| p.name() == text)) {
            ("auto", _) => Ok(Prefer::Auto),
            ("none", _) => Ok(Prefer::None),
            (_, Some(provider)) => Ok(Prefer::From(provider)),
            _ => Err(format!("no provider is called '{text}'; there are auto, none, kfunc, driver and software")),
        }
    }
}

/// The same for all fields, and for some by name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fill {
    /// What goes for those of which nothing is said by name. `None`, if nobody has said anything: then fields are filled
    /// where there is no NIC BTF, as by [`Prefer::Auto`].
    pub all: Option<Prefer>,
    /// Field and what is wanted of it.
    pub fields: Vec<(String, Prefer)>,
}

impl Fill {
    /// Nothing at all.
    #[must_use]
    pub fn none() -> Fill {
        Fill { all: Some(Prefer::None), fields: Vec::new() }
    }

    /// Whether anything is to be filled; `unsaid`, where nobody has said anything.
    #[must_use]
    pub fn is_wanted(&self, unsaid: bool) -> bool {
        match (self.all, self.fields.as_slice()) {
            (None, []) => unsaid,
            (Some(Prefer::None), fields) => fields.iter().any(|(_, prefer)| *prefer != Prefer::None),
            _ => true,
        }
    }

    /// What is wanted of the field of this name.
    #[must_use]
    pub fn of(&self, field: &str) -> Prefer {
        self.fields
            .iter()
            .rev()
            .find(|(name, _)| name == field)
            .map_or(self.all.unwrap_or_default(), |(_, prefer)| *prefer)
    }

    /// What [`Fill::say`] was told, one by one.
    #[must_use]
    pub fn said(&self) -> Vec<String> {
        let fields = self.fields.iter().map(|(field, prefer)| format!("{field}={}", prefer.name()));
        self.all.iter().map(|prefer| prefer.name().to_owned()).chain(fields).collect()
    }

    /// Takes note of `auto`, `none`, `PROVIDER` or `FIELD=PROVIDER`.
    ///
    /// # Errors
    /// Why it is none of these, in words.
    pub fn say(&mut self, text: &str) -> Result<(), String> {
        match text.split_once('=') {
            Some(("", _)) => return Err(format!("'{text}' names no field; it takes FIELD=PROVIDER")),
            Some((field, prefer)) => self.fields.push((field.to_owned(), prefer.parse()?)),
            None => self.all = Some(text.parse()?),
        }
        Ok(())
    }
}

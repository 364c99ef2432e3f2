//! The command line's own words on what libraries say of options.

use anyhow::anyhow;
use xhint_object::{Error, Unbound};

use crate::print;

/// A refusal of the linker's, with the flags that would help.
pub fn of_link(error: Error) -> anyhow::Error {
    match flag(&error) {
        Some(flag) => anyhow!("{error}{flag}"),
        None => error.into(),
    }
}

/// The same where it comes by way of the runtime.
pub fn of_runtime(error: xhint_runtime::Error) -> anyhow::Error {
    with(error, flag)
}

/// The same where layouts are added, which has fewer flags.
pub fn of_added(error: xhint_runtime::Error) -> anyhow::Error {
    with(error, |cause| flag(cause).filter(|_| matches!(cause, Error::Selectors(_))))
}

fn with(error: xhint_runtime::Error, flag: impl Fn(&Error) -> Option<&'static str>) -> anyhow::Error {
    let found = match &error {
        xhint_runtime::Error::Link { cause, .. } => flag(cause),
        _ => None,
    };
    match found {
        Some(flag) => anyhow!("{error}{flag}"),
        None => error.into(),
    }
}

fn flag(error: &Error) -> Option<&'static str> {
    match error {
        Error::Missing { .. } => Some(", or keep it unresolved with --allow-missing"),
        Error::FallbackMissing { first, .. } if first.lost.is_some() => {
            Some(": --fallback pass, drop or aborted, or --allow-missing")
        }
        Error::FallbackMissing { .. } => Some(": --fallback pass, drop or aborted"),
        Error::Selectors(_) => Some(": --first NAME"),
        _ => None,
    }
}

/// Says how a name that leads nowhere can be bound to a layout.
pub fn offer_bind(unbound: Option<&Unbound>) {
    let Some(Unbound { names, layouts }) = unbound else { return };
    if let (Some(name), Some((layout, rest))) = (names.first(), layouts.split_first()) {
        let rest = if rest.is_empty() { String::new() } else { format!(" (or {})", rest.join(", ")) };
        print::note(&format!("if '{name}' is to mean a layout, link with --bind {name}={layout}{rest}"));
    }
}

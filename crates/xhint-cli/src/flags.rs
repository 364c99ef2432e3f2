//! The command line's own words on what libraries say of options: the flags by which it has them.

use anyhow::anyhow;
use xhint::link::{Error, Miss, Missing, Unbound};
use xhint::runtime::Error as Fault;

use crate::print;

/// A verb, by the flags that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// `link` and `explain`.
    Link,
    /// `attach`.
    Attach,
    /// `layouts add`, which takes over all that the program was attached with.
    Add,
}

impl Of {
    /// A refusal, with the flags that would help.
    pub fn runtime(self, error: Fault) -> anyhow::Error {
        match self.running(&error) {
            // Behind the last cause, which says what they help with.
            Some(flags) => anyhow!("{error} ({flags})"),
            None => error.into(),
        }
    }

    fn running(self, error: &Fault) -> Option<String> {
        match error {
            Fault::Link { cause, .. } => self.linking(cause),
            Fault::Foreign { .. } | Fault::OtherObject { .. } => Some("--replace".to_owned()),
            Fault::NoBase { .. } => Some("give one with --base".to_owned()),
            Fault::NoNative { .. } => Some("--mode generic".to_owned()),
            Fault::ManyPrograms(_) => Some("--program NAME".to_owned()),
            Fault::NoLayout { .. } => Some("--layout NAME".to_owned()),
            Fault::NotAsked { .. } => Some("xhint attach --bind LOCAL=TARGET".to_owned()),
            Fault::OneLayout { .. } => Some("xhint attach --dispatch auto".to_owned()),
            _ => None,
        }
    }

    fn linking(self, error: &Error) -> Option<String> {
        let one = |flags: &str| match self {
            Of::Add => format!("xhint attach {flags}"),
            _ => flags.to_owned(),
        };
        let flags = match error {
            Error::FallbackMissing { first, .. } => match self.missing(first) {
                Some(more) => format!("--fallback pass, drop or aborted; {more}"),
                None => "--fallback pass, drop or aborted".to_owned(),
            },
            Error::Missing { first, .. } => return self.missing(first).map(|flags| one(&flags)),
            // Which `layouts add` has, too.
            Error::Selectors(_) => return Some("--first NAME".to_owned()),
            // Which `layouts add` has, too.
            error if error.lacks_base() => return Some("give one with --base".to_owned()),
            Error::Object(xhint::object::Error::TooFar { .. }) | Error::TooManyCopies { .. } => {
                "--dispatch tail".to_owned()
            }
            Error::TooManyFunctions { optional: true, .. } => "--dispatch table".to_owned(),
            Error::TooManyFunctions { functions, .. } if *functions > xhint::link::table::SLOT_COUNT as usize => {
                "--dispatch table".to_owned()
            }
            Error::TooManyFunctions { .. } => "--dispatch tail or table".to_owned(),
            Error::TableNeedsWalk | Error::RowTooLong { .. } => "--dispatch static".to_owned(),
            Error::SeveralLayouts { .. } => "--layout NAME, or --dispatch auto".to_owned(),
            Error::NoSlot => "--dispatch static or table, for attach with --no-count".to_owned(),
            Error::NothingToDispatch => "--dispatch none".to_owned(),
            Error::NoSelector { .. } => "--layout NAME".to_owned(),
            _ => return None,
        };
        Some(one(&flags))
    }

    fn missing(self, first: &Missing) -> Option<String> {
        match (&first.miss, self) {
            (Some(Miss::NoType { name, layouts, .. }), _) if !layouts.is_empty() => {
                Some(format!("--bind {name}={}", layouts.first().map_or("LAYOUT", String::as_str)))
            }
            (_, Of::Link | Of::Attach) => Some("or leave it to the verifier: --allow-missing".to_owned()),
            _ => None,
        }
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

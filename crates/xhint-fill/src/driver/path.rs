//! A path from a packet's `struct xdp_buff` to a value, by names, much as C has it.
//!
//! ```text
//! mlx5e_xdp_buff.cqe->sop_drop_qpn
//! ice_xdp_buff.eop_desc:ice_32b_rx_flex_desc_nic->rss_hash
//! ```
//!
//! It begins with the struct that the driver puts around its `struct xdp_buff`. `.` goes to a member, `->` to one of what is
//! pointed to, `[N]` to an element; `:TYPE` takes what is pointed to for a struct or union of that name.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

/// A path.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Path {
    /// The struct around `struct xdp_buff`.
    pub root: String,
    /// From there on.
    pub steps: Vec<Step>,
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `.NAME`
    Member(String),
    /// `->NAME`
    Follow(String),
    /// `[N]`
    Element(u32),
    /// `:TYPE`
    Cast(String),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.root)?;
        self.steps.iter().try_for_each(|step| match step {
            Step::Member(name) => write!(f, ".{name}"),
            Step::Follow(name) => write!(f, "->{name}"),
            Step::Element(number) => write!(f, "[{number}]"),
            Step::Cast(name) => write!(f, ":{name}"),
        })
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Path, String> {
        let (root, mut rest) =
            name(text).ok_or_else(|| format!("path '{text}' does not begin with a struct's name"))?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, behind) = step(rest).ok_or_else(|| {
                format!(
                    "path '{text}': '{rest}' is none of .MEMBER, ->MEMBER, [NUMBER] and :TYPE, or has none behind it"
                )
            })?;
            steps.push(step);
            rest = behind;
        }
        Ok(Path { root, steps })
    }
}

impl TryFrom<String> for Path {
    type Error = String;

    fn try_from(text: String) -> Result<Path, String> {
        text.parse()
    }
}

/// The step that `text` begins with, and what is behind it.
fn step(text: &str) -> Option<(Step, &str)> {
    let named = |rest, step: fn(String) -> Step| name(rest).map(|(name, rest)| (step(name), rest));
    if let Some(rest) = text.strip_prefix("->") {
        named(rest, Step::Follow)
    } else if let Some(rest) = text.strip_prefix('.') {
        named(rest, Step::Member)
    } else if let Some(rest) = text.strip_prefix(':') {
        named(rest, Step::Cast)
    } else {
        let (number, rest) = text.strip_prefix('[')?.split_once(']')?;
        let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        Some((Step::Element(number.parse().ok().filter(|_| digits)?), rest))
    }
}

/// The C name that `text` begins with, and what is behind it.
fn name(text: &str) -> Option<(String, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    let is_name = name.bytes().next().is_some_and(|first| !first.is_ascii_digit());
    is_name.then(|| (name.to_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_as_it_is_written() {
        let text = "ice_xdp_buff.eop_desc:ice_32b_rx_flex_desc_nic->flex_ts.flex[12]._x9";
        let path: Path = text.parse().unwrap();
        assert_eq!(path.to_string(), text);
        assert_eq!(path.root, "ice_xdp_buff");
        let named = |step: fn(String) -> Step, name: &str| step(name.to_owned());
        let steps = [
            named(Step::Member, "eop_desc"),
            named(Step::Cast, "ice_32b_rx_flex_desc_nic"),
            named(Step::Follow, "flex_ts"),
            named(Step::Member, "flex"),
            Step::Element(12),
            named(Step::Member, "_x9"),
        ];
        assert_eq!(path.steps, steps);
    }

    #[test]
    fn what_is_no_path_is_refused() {
        for text in [
            "",
            ".a",
            "9a.b",
            "a.",
            "a->",
            "a.9",
            "a[",
            "a[]",
            "a[-1]",
            "a[+1]",
            "a[4294967296]",
            "a b",
            "a.b:",
            "a->b,",
            "a.é",
        ] {
            assert!(text.parse::<Path>().is_err(), "{text}");
        }
    }
}

//! Files that say where drivers keep what they know of a packet.

use serde::{Deserialize, Serialize};
use xhint_layout::Hint;
use xhint_layout::vocabulary::WORDS;

use super::path::Path;

/// Those that come with xhint. What each says was read where it says.
const SHIPPED: [(&str, &str); 5] = [
    ("ice.toml", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers/ice.toml"))),
    ("igc.toml", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers/igc.toml"))),
    ("mlx5.toml", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers/mlx5.toml"))),
    ("stmmac.toml", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers/stmmac.toml"))),
    ("veth.toml", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/drivers/veth.toml"))),
];

/// The hints whose values can come so, in the order of `struct driven`.
pub const DRIVEN: [Hint; 9] = [
    Hint::RxTimestamp,
    Hint::RxHash,
    Hint::RxHashType,
    Hint::VlanTci,
    Hint::VlanProto,
    Hint::FlowMark,
    Hint::Seq,
    Hint::RxDesc,
    Hint::Csum,
];

/// What is known of drivers' structures: files, those first that count more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriverPaths(Vec<File>);

/// A file of a user's, as it was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathFile {
    /// What it is called, for messages.
    pub name: String,
    /// What it says.
    pub text: String,
}

/// What a file says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// The drivers that it is of, as `ethtool -i` calls them.
    drivers: Vec<String>,
    /// What they keep where.
    #[serde(default)]
    path: Vec<DriverPath>,
}

/// Where a driver keeps the value of a hint.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DriverPath {
    /// What it means.
    #[serde(deserialize_with = "hint")]
    pub hint: Hint,
    /// Where it is.
    pub path: Path,
    /// Bits of the number there that are below it.
    #[serde(default)]
    pub shift: u32,
    /// Bits that count of what is left then; if not said, all.
    pub mask: Option<u64>,
    /// The byte order, where the type does not say it.
    pub order: Option<Order>,
    /// What has to hold of a packet, all of it, or the packet has no such value.
    #[serde(default)]
    pub valid_when: Vec<Condition>,
    /// Only where this is there.
    pub since: Option<Path>,
    /// Only where this is not there.
    pub until: Option<Path>,
    /// Whose word it is.
    pub says: Says,
    /// Where that was read.
    pub read_from: String,
}

impl DriverPath {
    /// Every path that it has.
    pub(super) fn all(&self) -> impl Iterator<Item = &Path> {
        let conditions = self.valid_when.iter().filter_map(|condition| condition.path.as_ref());
        [&self.path].into_iter().chain(conditions).chain(&self.since).chain(&self.until)
    }
}

/// Whose word a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Says {
    /// The NIC's.
    Nic,
    /// What the kernel has worked out, or was told by whoever sent the packet on this machine.
    Kernel,
}

impl Says {
    /// In a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Says::Nic => "NIC",
            Says::Kernel => "kernel",
        }
    }
}

/// A byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The most significant byte first.
    Big,
    /// The least significant byte first.
    Little,
}

/// What has to hold.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct Condition {
    /// Of what; `None` for the value itself.
    pub path: Option<Path>,
    /// Bits of it that are looked at; if not said, all.
    pub mask: Option<u64>,
    /// What they have to be.
    pub want: Want,
}

/// What a number has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// This.
    Is(u64),
    /// Any other.
    Not(u64),
}

/// A condition as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: Option<Path>,
    mask: Option<u64>,
    is: Option<u64>,
    not: Option<u64>,
}

impl TryFrom<Written> for Condition {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Condition, &'static str> {
        let want = match (written.is, written.not) {
            (Some(number), None) => Want::Is(number),
            (None, Some(number)) => Want::Not(number),
            _ => return Err("a condition says either 'is' or 'not'"),
        };
        Ok(Condition { path: written.path, mask: written.mask, want })
    }
}

/// A hint that can come so, by its name.
fn hint<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Hint, D::Error> {
    let name = String::deserialize(from)?;
    let can = || WORDS.iter().filter(|word| DRIVEN.contains(&word.hint));
    can().find(|word| word.name == name).map(|word| word.hint).ok_or_else(|| {
        let names: Vec<_> = can().map(|word| word.name).collect();
        serde::de::Error::custom(format!("'{name}' is none of what can come from a driver: {}", names.join(", ")))
    })
}

/// Why a file is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct PathFault {
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl DriverPaths {
    /// Those that come with xhint.
    ///
    /// # Errors
    /// None in practice: a test reads them.
    pub fn shipped() -> Result<DriverPaths, PathFault> {
        SHIPPED.iter().map(|(name, text)| read(name, text)).collect::<Result<_, _>>().map(DriverPaths)
    }

    /// Those of `files`, the first before the second, and then those that come with xhint.
    ///
    /// # Errors
    /// What is wrong with a file, and where.
    pub fn with(files: &[PathFile]) -> Result<DriverPaths, PathFault> {
        let own = files.iter().map(|file| read(&file.name, &file.text));
        let own: Vec<_> = own.collect::<Result<_, _>>()?;
        Ok(DriverPaths(own.into_iter().chain(DriverPaths::shipped()?.0).collect()))
    }

    /// Those of the driver that `ethtool -i` calls so.
    pub fn of<'a>(&'a self, driver: &'a str) -> impl Iterator<Item = &'a DriverPath> {
        self.0.iter().filter(move |file| file.drivers.iter().any(|name| name == driver)).flat_map(|file| &file.path)
    }

    /// All, with the drivers that they are of.
    pub fn all(&self) -> impl Iterator<Item = (&[String], &DriverPath)> {
        self.0.iter().flat_map(|file| file.path.iter().map(|path| (file.drivers.as_slice(), path)))
    }
}

fn read(name: &str, text: &str) -> Result<File, PathFault> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        PathFault { file: name.to_owned(), line, what: error.message().to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shipped_can_be_read() {
        let paths = DriverPaths::shipped().unwrap();
        assert!(paths.all().all(|(drivers, path)| !drivers.is_empty() && path.read_from.contains("drivers/net/")));
        assert!(paths.of("mlx5_core").any(|path| path.hint == Hint::FlowMark));
        assert_eq!(paths.of("none").count(), 0);
    }

    #[test]
    fn a_fault_says_which_line() {
        let path =
            "drivers = [\"a\"]\n\n[[path]]\nhint = \"rx_hash\"\npath = \"a.b\"\nsays = \"nic\"\nread-from = \"c\"\n";
        read("own.toml", path).unwrap();
        let cases = [
            ("drivers = 1\n".to_owned(), 1, "expected a sequence"),
            (path.replace("rx_hash", "pkt_type"), 4, "'pkt_type' is none of what can come from a driver: rx_timestamp"),
            (path.replace("a.b", "a..b"), 5, "path 'a..b': '..b' is none of"),
            (path.replace("\"nic\"", "\"me\""), 6, "unknown variant `me`"),
            (format!("{path}masks = 1\n"), 8, "unknown field `masks`"),
            (format!("{path}mask = -1\n"), 8, "-1"),
            (format!("{path}valid-when = [{{ mask = 1 }}]\n"), 8, "either 'is' or 'not'"),
            (format!("{path}valid-when = [{{ is = 1, not = 2 }}]\n"), 8, "either 'is' or 'not'"),
            (path.replace("says = \"nic\"\n", ""), 3, "missing field `says`"),
            (format!("{path}="), 8, ""),
        ];
        for (text, line, what) in cases {
            let fault = read("own.toml", &text).unwrap_err();
            assert_eq!((fault.file.as_str(), fault.line), ("own.toml", line), "{fault}");
            assert!(fault.what.contains(what), "{fault}");
            assert!(fault.to_string().starts_with(&format!("own.toml:{line}: ")));
        }
    }
}

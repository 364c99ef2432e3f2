//! A struct that a layout answers to and that is read without CO-RE, and where.

use xhint_bpf::AccessKind;

/// A struct that is read without a relocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    /// Its name in the program.
    pub name: String,
    /// The layout that answers to it, with its id and file.
    pub layout: String,
    /// Whether it is certain to be read so, and wrongly: else it may be.
    pub certain: bool,
    /// Whether the object has no CO-RE relocations at all.
    pub bare: bool,
    /// A load that no relocation touches and that reads a member of it, as far as one was found.
    pub read: Option<PlainRead>,
}

/// What is read from metadata, at the offset that the program was compiled with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainRead {
    /// The struct's member that has its place there; not known where the program computes the place.
    pub member: Option<String>,
    /// The struct by which the program comes to this one, by a relocation that ends there.
    pub within: Option<String>,
    /// `file:line:column`, if the object tells.
    pub place: Option<String>,
    /// How.
    pub kind: AccessKind,
    /// Whether the source names the member there, and no other struct of the program has one so called.
    pub certain: bool,
    /// Whether the layout has the member elsewhere, or not at all.
    pub elsewhere: bool,
}

impl std::fmt::Display for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Plain { name, layout, .. } = self;
        match &self.read {
            None => write!(
                f,
                "no CO-RE relocation reads struct {name}, which layout {layout} answers to, and not every way to the \
                 metadata could be followed: what is read of it is read at the offsets that the program was compiled with"
            )?,
            Some(read) => read.tell(f, name, layout)?,
        }
        let within = self.read.as_ref().is_some_and(|read| read.within.is_some());
        f.write_str("; declare it with __attribute__((preserve_access_index))")?;
        if !within {
            f.write_str(", or, if it is no metadata, by another name")?;
        }
        if self.bare {
            f.write_str(
                "; the object has no CO-RE relocations at all: if it was stripped of .BTF.ext, or linked before, take the \
                 one that the compiler wrote",
            )?;
        }
        Ok(())
    }
}

impl PlainRead {
    fn tell(&self, f: &mut std::fmt::Formatter<'_>, name: &str, layout: &str) -> std::fmt::Result {
        let PlainRead { member, within, place, kind, certain, elsewhere } = self;
        let place = place.as_deref().map(|place| format!("{place}: ")).unwrap_or_default();
        let done = match kind {
            AccessKind::Load => "is read",
            AccessKind::Store => "is written",
            AccessKind::Give => "is given to a helper",
        };
        let Some(member) = member else {
            return write!(
                f,
                "{place}metadata {done} at an offset that the program computes, for no CO-RE relocation is there; if that is of \
                 struct {name}, which layout {layout} answers to, it is where that was compiled"
            );
        };
        let what = match certain {
            true => format!("{member} of struct {name}"),
            false => format!("the place of {member} in struct {name}"),
        };
        match within {
            None => write!(
                f,
                "{place}{what} {done} at the offset that the program was compiled with, for no CO-RE relocation is there; \
                 layout {layout}, which answers to that name, "
            ),
            Some(root) => write!(
                f,
                "{place}{what}, which is in struct {root}, {done} as far from its start as the program was compiled with, for \
                 the CO-RE relocation there ends at struct {name}; layout {layout}, which answers to {root}, "
            ),
        }?;
        f.write_str(match elsewhere {
            true => "has it elsewhere, or not at all",
            false => "has it there too, but the next one may not",
        })
    }
}

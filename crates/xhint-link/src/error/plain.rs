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
    /// The struct's member that has its place there.
    pub member: String,
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
            Some(PlainRead { member, place, kind, certain, elsewhere }) => {
                let place = place.as_deref().map(|place| format!("{place}: ")).unwrap_or_default();
                let what = match certain {
                    true => format!("{member} of struct {name}"),
                    false => format!("the place of {member} in struct {name}"),
                };
                let done = match kind {
                    AccessKind::Load => "is read",
                    AccessKind::Store => "is written",
                    AccessKind::Give => "is given to a helper",
                };
                write!(
                    f,
                    "{place}{what} {done} at the offset that the program was compiled with, for no CO-RE relocation is there; \
                     layout {layout}, which answers to that name, "
                )?;
                f.write_str(match elsewhere {
                    true => "has it elsewhere, or not at all",
                    false => "has it there too, but the next one may not",
                })?;
            }
        }
        f.write_str(
            "; declare it with __attribute__((preserve_access_index)), or, if it is no metadata, by another name",
        )?;
        if self.bare {
            f.write_str(
                "; the object has no CO-RE relocations at all: if it was stripped of .BTF.ext, or linked before, take the \
                 one that the compiler wrote",
            )?;
        }
        Ok(())
    }
}

//! Which layouts a program is linked for, how names meet them, and what becomes of several: alike wherever something is linked.

use std::path::PathBuf;

use clap::ValueEnum;
use xhint::link::{Fallback, FieldBind, FieldName, LinkOptions};
use xhint::runtime::{ForFile, Source};

use crate::arguments::btf::Nics;
use crate::arguments::dispatch::Dispatch;

/// What `link`, `explain` and `attach` have in common.
#[derive(Debug, Clone, clap::Args)]
pub struct Choice {
    /// Link for this layout only, given by its name, its id or another name that it answers to; may be repeated. A struct that
    /// no tag makes a layout becomes one by being named [default: all layouts that the program asks for]
    #[arg(long = "layout", value_name = "NAME")]
    pub layouts: Vec<String>,
    /// Resolve the program's struct LOCAL against the NIC's struct TARGET, which has another name; or a field of it,
    /// LOCAL.FIELD=TARGET.FIELD, against a field of the NIC's that has another name; may be repeated
    #[arg(long = "bind", value_name = "LOCAL=TARGET", value_parser = bind)]
    pub binds: Vec<Bind>,
    /// Where a packet could be taken for several layouts, try this one first, given by its name, its id or another name that
    /// it answers to; may be repeated
    #[arg(long, value_name = "NAME")]
    pub first: Vec<String>,
    /// How packets of several layouts come to the right code
    #[arg(long, value_enum, default_value_t = Dispatch::Auto)]
    pub dispatch: Dispatch,
    /// What becomes of packets that have none of the layouts, if there is a dispatch
    #[arg(long, value_enum, default_value_t = Action::Program)]
    fallback: Action,
    /// Do not refuse reads of fields that a layout lacks, but leave them to the verifier: for programs that guard such reads by
    /// a value that is set only when they are loaded
    #[arg(long)]
    pub allow_missing: bool,
}

/// What is linked to a file, and how: what `link` does and `explain` tells of.
#[derive(Debug, clap::Args)]
pub struct ToFile {
    /// The program, compiled with `clang -target bpf -O2 -g -c`
    pub program: PathBuf,
    #[command(flatten)]
    pub nics: Nics,
    #[command(flatten)]
    choice: Choice,
    /// Link for loading without CAP_PERFMON: pointers in metadata count as missing fields
    #[arg(long)]
    no_walk: bool,
    /// Remove the code that cannot be reached for a layout. Before Linux 6.18, programs that are loaded without CAP_PERFMON
    /// need it, because the verifier also checks branches that are never taken. Without it, and with --dispatch none, the
    /// program keeps all its instructions
    #[arg(long)]
    prune: bool,
}

/// What meets what that is called otherwise.
#[derive(Debug, Clone)]
pub enum Bind {
    /// A struct of the program a NIC's.
    Struct(String, String),
    /// A field of one a field of the other.
    Field(FieldBind),
}

/// What becomes of packets that no layout is for.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    /// Run the fallback: the program linked for no layout, in which every metadata field is missing
    Program,
    /// Return XDP_PASS
    Pass,
    /// Return XDP_DROP
    Drop,
    /// Return XDP_ABORTED, which the tracepoint xdp:xdp_exception reports
    Aborted,
}

impl Choice {
    /// What becomes of packets that no layout is for: the numbers are those of `enum xdp_action` in `linux/bpf.h`.
    pub fn fallback(&self) -> Fallback {
        match self.fallback {
            Action::Program => Fallback::Program,
            Action::Aborted => Fallback::Action(0),
            Action::Drop => Fallback::Action(1),
            Action::Pass => Fallback::Action(2),
        }
    }
}

impl ToFile {
    /// The program, read, and its options; with `explain`, the report of linking tells of every relocation.
    ///
    /// # Errors
    /// Names the file, or the layout that does not exist.
    pub fn read(&self, explain: bool) -> anyhow::Result<ForFile> {
        let choice = self.choice.clone();
        let fallback = choice.fallback();
        let (mut bind, mut bind_fields) = (Vec::new(), Vec::new());
        for one in choice.binds {
            match one {
                Bind::Struct(local, target) => bind.push((local, target)),
                Bind::Field(field) => bind_fields.push(field),
            }
        }
        let options = LinkOptions {
            fallback,
            layouts: Some(choice.layouts).filter(|named| !named.is_empty()),
            bind,
            bind_fields,
            first: choice.first,
            walk: !self.no_walk,
            dispatch: choice.dispatch.into(),
            allow_missing: choice.allow_missing,
            prune: self.prune,
            explain,
            ..LinkOptions::default()
        };
        Ok(ForFile::new(Source::read(&self.program)?, &[], self.nics.universe()?, options)?)
    }
}

/// `LOCAL=TARGET` or `LOCAL.FIELD=TARGET.FIELD`. C has no dots in the names of structs.
fn bind(text: &str) -> Result<Bind, String> {
    let wrong = || {
        "give it as LOCAL=TARGET, such as nic_meta=mlx_rx_v3, or for a field as LOCAL.FIELD=TARGET.FIELD, such as \
         nic_meta.rx_hash=mlx_rx_v3.rss_result"
            .to_owned()
    };
    let halves = text.split_once('=').filter(|(local, target)| !local.is_empty() && !target.is_empty());
    let (local, target) = halves.ok_or_else(wrong)?;
    if !local.contains('.') {
        return Ok(Bind::Struct(local.to_owned(), target.to_owned()));
    }
    match (FieldName::read(local), FieldName::read(target)) {
        (Some(local), Some(target)) => Ok(Bind::Field(FieldBind { local, target })),
        _ => Err(wrong()),
    }
}

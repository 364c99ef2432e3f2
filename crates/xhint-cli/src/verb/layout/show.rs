//! `xhint layout show`

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use serde::Serialize;
use xhint::layout::{ByteOrder, Field, Gap, Layout, LayoutId, LayoutRef, What};

use crate::arguments::btf::Base;
use crate::layouts;
use crate::print::{self, BOLD, DIM, Stdout, YELLOW, column, columns, line};

/// Show the layouts of a NIC's BTF: each field's place, width, byte order, type and hint, and the gaps between them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint layout show mynic.o")]
pub struct Args {
    /// Raw BTF, or an ELF object with a section .BTF
    file: PathBuf,
    #[command(flatten)]
    base: Base,
    /// Show this layout only, given by its name, by its id (0x… or decimal) or by another name that it answers to. A struct or
    /// typedef need not be tagged as a layout to be named
    #[arg(long, value_name = "NAME")]
    layout: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let mut universe = layouts::universe(std::slice::from_ref(&self.file), &self.base.files)?;
        layouts::tell_differing(&universe);
        if let Some(name) = self.layout.as_deref().and_then(|called| LayoutRef::read(called).name()) {
            universe.add_layout(name)?;
        }
        let chosen = self.layout.as_deref().map(|called| universe.called(called));
        let all = xhint::layout::layouts(&universe)?;
        let wanted = all.iter().enumerate().filter(|(n, _)| chosen.as_ref().is_none_or(|chosen| chosen.contains(n)));
        let shown: Vec<Shown> = wanted.map(|(_, layout)| shown(layout)).collect();
        match &self.layout {
            Some(id) if shown.is_empty() && !all.is_empty() => {
                let have: Vec<_> = all.iter().map(|l| format!("{} ({})", l.name, l.id)).collect();
                bail!("{}: no layout of it is called '{id}'; there is {}", self.file.display(), have.join(", "));
            }
            _ if shown.is_empty() => {
                bail!("{}: no struct is tagged as a layout; name one with --layout", self.file.display())
            }
            _ => {}
        }
        if self.json {
            print::json(&shown)?;
        } else {
            let mut out = print::stdout();
            shown.iter().try_for_each(|l| text(&mut out, l))?;
            out.flush()?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A layout, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    id: u32,
    /// The id stands in the BTF; otherwise it is derived from the content.
    declared: bool,
    /// Bytes of metadata.
    size: u32,
    answers_to: Vec<String>,
    /// The field that holds the id, if packets carry one.
    selector: Option<String>,
    /// Why the `btf_id` there is does not hold it.
    no_selector: Option<String>,
    /// Every field, in the order of the BTF; a struct, union or array of such is followed by what is in it.
    fields: Vec<ShownField>,
    /// Bits that no field has.
    gaps: Vec<ShownGap>,
    /// Why the soft NIC could not write it.
    unwritable: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShownField {
    path: String,
    /// As C writes it.
    #[serde(rename = "type")]
    type_name: String,
    kind: &'static str,
    bit_offset: u64,
    bits: u64,
    /// `little` or `big`; of what is no number, none.
    order: Option<&'static str>,
    signed: bool,
    pointer: bool,
    hint: Option<String>,
}

#[derive(Debug, Serialize)]
struct ShownGap {
    bit_offset: u64,
    bits: u64,
    /// Nothing but the end follows.
    padding: bool,
}

fn shown(layout: &Layout) -> Shown {
    Shown {
        name: layout.name.clone(),
        id: layout.id.0,
        declared: layout.declared,
        size: layout.size,
        answers_to: layout.answers_to.clone(),
        selector: layout.selector.clone(),
        no_selector: layout.no_selector.clone(),
        fields: layout.fields.iter().map(field).collect(),
        gaps: layout.gaps.iter().map(gap).collect(),
        unwritable: layout.plan().err().map(ToString::to_string),
    }
}

fn field(place: &Field) -> ShownField {
    let order = place.order.map(|order| if order == ByteOrder::Big { "big" } else { "little" });
    ShownField {
        path: place.path.clone(),
        type_name: place.type_name.clone(),
        kind: kind(place.what),
        bit_offset: place.bit_offset,
        bits: place.bits,
        order,
        signed: place.what.signed(),
        pointer: place.what == What::Ptr,
        hint: place.hint.map(|hint| hint.to_string()),
    }
}

fn kind(what: What) -> &'static str {
    match what {
        What::Struct => "struct",
        What::Union => "union",
        What::Array { .. } => "array",
        What::Int { .. } => "int",
        What::Enum { .. } => "enum",
        What::Ptr => "ptr",
        What::Float => "float",
        What::Unknown => "unknown",
    }
}

fn gap(gap: &Gap) -> ShownGap {
    ShownGap { bit_offset: gap.bit_offset, bits: gap.bits, padding: gap.tail }
}

fn text(out: &mut Stdout, layout: &Shown) -> io::Result<()> {
    let how = if layout.declared { "declared" } else { "derived" };
    let (id, size, names) = (LayoutId(layout.id), layout.size, layout.answers_to.join(", "));
    line!(out, "{BOLD}{}{BOLD:#}  id {id} ({how}), {size} bytes, answers to {names}", layout.name)?;
    match &layout.selector {
        Some(field) => line!(out, "  a packet says which layout it has in {field}")?,
        None => line!(out, "  packets carry no id: one layout at a time, and a change may be misread")?,
    }
    if let Some(why) = &layout.no_selector {
        line!(out, "  {YELLOW}{why}{YELLOW:#}")?;
    }
    let wide = columns(layout.fields.iter().map(|f| f.path.as_str()), 9);
    let types = columns(layout.fields.iter().map(|f| f.type_name.as_str()), 4);
    let (field, kind) = (column("field", wide), column("type", types));
    line!(out, "  {DIM}offset  {field}  bits  order   {kind}  hint{DIM:#}")?;
    let mut gaps = layout.gaps.iter().peekable();
    for f in &layout.fields {
        while let Some(gap) = gaps.next_if(|gap| gap.bit_offset < f.bit_offset) {
            nothing(out, gap, wide)?;
        }
        let (place, path, bits) = (place(f.bit_offset), column(&f.path, wide), f.bits);
        let (order, hint) = (f.order.unwrap_or(""), f.hint.as_deref().unwrap_or(""));
        let kind = column(&f.type_name, if hint.is_empty() { 0 } else { types });
        let end = if hint.is_empty() { "" } else { "  " };
        line!(out, "  {place:>6}  {path}  {bits:>4}  {order:<6}  {kind}{end}{hint}")?;
    }
    gaps.try_for_each(|gap| nothing(out, gap, wide))?;
    match &layout.unwritable {
        Some(why) => line!(out, "  {YELLOW}`xhint nic` cannot write it: {why}{YELLOW:#}"),
        None => Ok(()),
    }
}

/// A row for bits that no field has.
fn nothing(out: &mut Stdout, gap: &ShownGap, wide: usize) -> io::Result<()> {
    let word = if gap.padding { "(padding)" } else { "(hole)" };
    line!(out, "  {:>6}  {DIM}{}{DIM:#}  {:>4}", place(gap.bit_offset), column(word, wide), gap.bits)
}

/// The byte, and the bit in it if it is not the first.
fn place(bit_offset: u64) -> String {
    match bit_offset % 8 {
        0 => format!("{}", bit_offset / 8),
        bit => format!("{}.{bit}", bit_offset / 8),
    }
}

//! `xhint layout show`

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use serde::Serialize;
use xhint_layout::{Field, Order, Plan};
use xhint_universe::{Layout, Universe};

use crate::sources::Base;
use crate::{layouts, print};

/// Show the layouts of a NIC's BTF: each field's place, width, byte order and hint.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: xhint layout show mynic.o")]
pub struct Args {
    /// Raw BTF, or an ELF object with a section .BTF
    file: PathBuf,
    #[command(flatten)]
    base: Base,
    /// Show this struct or typedef only, whether or not it is tagged as a layout
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
        let chosen: Vec<Layout> = match &self.layout {
            Some(name) => {
                let index = universe.add_layout(name)?;
                universe.layouts().get(index).cloned().into_iter().collect()
            }
            None => universe.layouts().to_vec(),
        };
        if chosen.is_empty() {
            bail!("{}: no struct is tagged as a layout; name one with --layout", self.file.display());
        }
        let shown = chosen.iter().map(|l| show(&universe, l)).collect::<anyhow::Result<Vec<_>>>()?;
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
    fields: Vec<ShownField>,
    /// Fields that nothing is known of but their place in the BTF.
    without_hint: Vec<String>,
}

#[derive(Debug, Serialize)]
struct ShownField {
    path: String,
    hint: String,
    bit_offset: u32,
    bits: u32,
    /// `little` or `big`.
    order: &'static str,
    signed: bool,
    pointer: bool,
}

fn show(universe: &Universe, layout: &Layout) -> anyhow::Result<Shown> {
    let plan = Plan::of_layout(universe, layout).with_context(|| format!("layout {}", layout.name))?;
    Ok(Shown {
        name: layout.name.clone(),
        id: layout.id,
        declared: layout.declared,
        size: layout.size,
        answers_to: layout.answers_to.clone(),
        selector: layout.selector.as_ref().map(|s| s.field.clone()),
        fields: plan.fields.iter().map(field).collect(),
        without_hint: plan.silent.clone(),
    })
}

fn field(field: &Field) -> ShownField {
    ShownField {
        path: field.path.clone(),
        hint: field.hint.name().to_owned(),
        bit_offset: field.bit_offset,
        bits: field.bits,
        order: if field.order == Order::Big { "big" } else { "little" },
        signed: field.signed,
        pointer: field.pointer,
    }
}

fn text(out: &mut impl Write, layout: &Shown) -> std::io::Result<()> {
    let (bold, dim) = (print::BOLD, print::DIM);
    let how = if layout.declared { "declared" } else { "derived" };
    writeln!(
        out,
        "{bold}{}{bold:#}  id {:#x} ({how}), {} bytes, answers to {}",
        layout.name,
        layout.id,
        layout.size,
        layout.answers_to.join(", ")
    )?;
    match &layout.selector {
        Some(field) => writeln!(out, "  a packet says which layout it has in {field}")?,
        None => writeln!(out, "  packets carry no id: one layout at a time, and a change may be misread")?,
    }
    let width = layout.fields.iter().map(|f| f.path.len()).max().unwrap_or(0).max(5);
    writeln!(out, "  {dim}{:>6}  {:<width$}  {:>4}  {:<6}  hint{dim:#}", "offset", "field", "bits", "order")?;
    for f in &layout.fields {
        let place = match f.bit_offset % 8 {
            0 => format!("{}", f.bit_offset / 8),
            bit => format!("{}.{bit}", f.bit_offset / 8),
        };
        let kind = match (f.pointer, f.signed) {
            (true, _) => ", pointer",
            (_, true) => ", signed",
            _ => "",
        };
        writeln!(out, "  {place:>6}  {:<width$}  {:>4}  {:<6}  {}{kind}", f.path, f.bits, f.order, f.hint)?;
    }
    if !layout.without_hint.is_empty() {
        writeln!(out, "  without a hint: {}", layout.without_hint.join(", "))?;
    }
    Ok(())
}

//! What the demo found out, for a person and as JSON.

use std::{fmt, io};

use serde::Serialize;
use xhint::layout::{ByteOrder, LayoutId, Plan};

use xhint_softnic::MAX_META;

use super::collect::Tally;
use super::fields::{RECORD, field};
use crate::print::{BOLD, DIM, GREEN, PLAIN, RED, Stdout, Style, YELLOW, line};

/// All of it.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Packets put on the wire.
    pub sent: u64,
    /// Packets that the program saw.
    pub seen: u64,
    /// Those that it did not.
    pub lost: u64,
    /// Packets of which a field was not as the NIC wrote it.
    pub misread: u64,
    /// Programs put in the place of one that ran.
    pub swaps: u64,
    /// Bytes of metadata that this kernel lets stand in front of a packet.
    pub room: u32,
    /// Per firmware.
    pub runs: Vec<Run>,
}

/// One firmware of one NIC.
#[derive(Debug, Serialize)]
pub struct Run {
    /// The vendor.
    pub nic: String,
    /// Number of the firmware.
    pub firmware: usize,
    /// The layout's struct.
    pub layout: String,
    /// Its id.
    pub id: u32,
    /// Its length in bytes.
    pub size: u32,
    /// Packets that carried it.
    pub packets: u64,
    /// Of these, misread ones.
    pub misread: u64,
    /// The first thing that was wrong.
    pub first_misread: Option<String>,
    /// The fields that the program knows.
    pub fields: Vec<FieldRun>,
}

/// A field of the program in one firmware.
#[derive(Debug, Serialize)]
pub struct FieldRun {
    /// The program's name for it.
    pub name: &'static str,
    /// What the layout calls it; none if it has none.
    pub path: Option<String>,
    /// Bits from the layout's start.
    pub bit_offset: Option<u32>,
    /// Width in bits.
    pub bits: Option<u32>,
    /// Whether its most significant byte comes first.
    pub big_endian: Option<bool>,
    /// Packets in which it was read and right.
    pub read: u64,
    /// Packets in which it was read and wrong.
    pub misread: u64,
}

impl Report {
    /// Adds an act's packets.
    pub fn add(&mut self, sent: u64, seen: u64, misread: u64, swaps: u64) {
        self.sent += sent;
        self.seen += seen;
        self.lost = self.sent.saturating_sub(self.seen);
        self.misread += misread;
        self.swaps += swaps;
    }

    /// Whether every packet was seen and read right.
    pub fn good(&self) -> bool {
        self.lost == 0 && self.misread == 0 && self.seen > 0 && self.runs.iter().all(|r| r.packets > 0)
    }
}

impl Run {
    /// What came of `tally` under `plan`.
    pub fn new(nic: &str, firmware: usize, plan: &Plan, tally: &Tally) -> Run {
        let one = |((place, read), misread): ((&super::fields::RecordField, &u64), &u64)| {
            let at = field(plan, place.hint);
            FieldRun {
                name: place.name,
                path: at.map(|f| f.path.clone()),
                bit_offset: at.map(|f| f.bit_offset),
                bits: at.map(|f| f.bits),
                big_endian: at.map(|f| f.order == ByteOrder::Big && f.bits > 8),
                read: *read,
                misread: *misread,
            }
        };
        Run {
            nic: nic.to_owned(),
            firmware,
            layout: plan.name.clone(),
            id: plan.id,
            size: plan.size,
            packets: tally.packets,
            misread: tally.misread,
            first_misread: tally.first.clone(),
            fields: RECORD.iter().zip(&tally.right).zip(&tally.wrong).map(one).collect(),
        }
    }

    fn title(&self) -> String {
        format!("{} fw{}", self.nic, self.firmware)
    }
}

/// The tables.
pub fn text(out: &mut Stdout, report: &Report) -> io::Result<()> {
    packets(out, report)?;
    places(out, report)?;
    missing(out, report)?;
    if report.room < MAX_META {
        let room = report.room;
        line!(
            out,
            "{YELLOW}this kernel{YELLOW:#} lets at most {room} bytes of metadata stand in front of a packet, so these are \
             NICs with short layouts"
        )?;
    }
    let (style, verdict) =
        if report.good() { (GREEN, "every field of every packet is right") } else { (RED, "NOT right") };
    line!(out)?;
    line!(
        out,
        "{style}{} sent, {} seen, {} lost, {} misread, {} swaps while packets flowed: {verdict}{style:#}",
        report.sent,
        report.seen,
        report.lost,
        report.misread,
        report.swaps
    )?;
    out.flush()
}

fn packets(out: &mut Stdout, report: &Report) -> io::Result<()> {
    let head = ["NIC", "layout", "id", "bytes", "packets", "misread"];
    line!(
        out,
        "{BOLD}{:<10} {:<20} {:<10} {:>5} {:>8} {:>8}{BOLD:#}",
        head[0],
        head[1],
        head[2],
        head[3],
        head[4],
        head[5]
    )?;
    for run in &report.runs {
        let style = if run.misread == 0 { GREEN } else { RED };
        line!(
            out,
            "{:<10} {:<20} {} {:>5} {:>8} {style}{:>8}{style:#}",
            run.title(),
            run.layout,
            LayoutId(run.id),
            run.size,
            run.packets,
            run.misread
        )?;
        if let Some(first) = &run.first_misread {
            line!(out, "  {RED}{first}{RED:#}")?;
        }
    }
    Ok(())
}

/// Which field stood where: byte and width, bits for what does not stand at whole bytes.
fn places(out: &mut Stdout, report: &Report) -> io::Result<()> {
    line!(out)?;
    line!(out, "{BOLD}field{BOLD:#}{:9}{}", "", Cells(report.runs.iter().map(|r| (BOLD, r.title())).collect()))?;
    for (n, place) in RECORD.iter().enumerate() {
        let style = |field: &FieldRun| if field.path.is_none() { YELLOW } else { PLAIN };
        let row = report.runs.iter().filter_map(|r| r.fields.get(n)).map(|f| (style(f), f.place()));
        line!(out, "{:<14}{}", place.name, Cells(row.collect()))?;
    }
    line!(out, "{DIM}byte:bits of each layout, be for big-endian, .bit where a field starts within a byte{DIM:#}")
}

/// The rest of a row, with no blanks at its end.
struct Cells(Vec<(Style, String)>);

impl fmt::Display for Cells {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut before = 0usize;
        for (style, text) in &self.0 {
            write!(f, "{:before$} {style}{text}{style:#}", "")?;
            before = 16usize.saturating_sub(text.chars().count());
        }
        Ok(())
    }
}

impl FieldRun {
    fn place(&self) -> String {
        let (Some(at), Some(bits)) = (self.bit_offset, self.bits) else { return "–".to_owned() };
        let order = if self.big_endian == Some(true) { " be" } else { "" };
        match at % 8 {
            0 => format!("{}:{bits}{order}", at / 8),
            bit => format!("{}.{bit}:{bits}{order}", at / 8),
        }
    }
}

/// What the program did about fields that a layout does not have.
fn missing(out: &mut Stdout, report: &Report) -> io::Result<()> {
    line!(out)?;
    for run in &report.runs {
        let missing: Vec<_> = run.fields.iter().filter(|f| f.path.is_none()).map(|f| f.name).collect();
        if !missing.is_empty() {
            let names = missing.join(", ");
            let title = run.title();
            line!(
                out,
                "{YELLOW}{title}{YELLOW:#} has no {names}: bpf_core_field_exists is 0 there, so the program leaves it out"
            )?;
        }
    }
    Ok(())
}

//! Where each field comes from, as a table.

use std::io;

use xhint::runtime::{Filled, Filling};

use super::{DIM, Stdout, YELLOW, column, columns, line};

/// A row a field, under what they are; those that are absent with why.
pub fn table(out: &mut Stdout, filling: &Filling) -> io::Result<()> {
    let fields = columns(filling.fields.iter().map(|f| f.field.as_str()), 5);
    let words = columns(filling.fields.iter().map(|f| f.words.as_str()), 4);
    let head = (column("field", fields), column("from", words));
    line!(out, "  {DIM}{} {:>9} {} {:>5} {:>7}{DIM:#}", head.0, "provider", head.1, "bits", "cost")?;
    filling.fields.iter().try_for_each(|field| row(out, field, fields, words))
}

fn row(out: &mut Stdout, field: &Filled, fields: usize, words: usize) -> io::Result<()> {
    let name = column(&field.field, fields);
    let Some(provider) = field.provider else {
        return line!(out, "  {name} {:>9} {YELLOW}absent: {}{YELLOW:#}", "-", field.words);
    };
    let bits = field.bits.map_or_else(String::new, |bits| bits.to_string());
    let cost = field.cost.map_or_else(String::new, |cost| format!(" {:>7}", format!("{cost} ns")));
    line!(out, "  {name} {:>9} {} {bits:>5}{cost}", provider.name(), column(&field.words, words))
}

//! Which provider each field gets.

use std::collections::HashMap;

use xhint_layout::Hint;

use crate::{Asked, Error, Fill, Offer, Offers, Prefer, Provider, Shape, Standing};

/// What is done about each field that the program asks for, by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// A row each.
    pub rows: Vec<Row>,
}

/// A field, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub field: String,
    /// What it means.
    pub hint: Option<Hint>,
    /// Where it comes from, or why it is absent.
    pub from: Result<Source, String>,
}

/// Where a field comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What has it.
    pub offer: Offer,
    /// How it lies in metadata.
    pub shape: Shape,
    /// What it means.
    pub hint: Hint,
}

impl Choice {
    /// Chooses among `offers` as `fill` says.
    ///
    /// # Errors
    /// [`Error::NoField`]; [`Error::NotThere`] where a field was asked for by name from what does not have it.
    pub fn of(asked: &Asked, offers: &[Offers], fill: &Fill) -> Result<Choice, Error> {
        if let Some((field, _)) = fill.fields.iter().find(|(field, _)| !asked.fields.contains_key(field)) {
            return Err(Error::NoField { field: field.clone(), have: asked.fields.keys().cloned().collect() });
        }
        let mut rows = Vec::new();
        for (name, field) in &asked.fields {
            // The layout's id is the layout's own business.
            if field.hint == Some(Hint::LayoutId) {
                continue;
            }
            let from = match (&field.shape, field.hint) {
                (Ok(shape), Some(hint)) => {
                    choose(name, hint, offers, fill)?.map(|offer| Source { offer: offer.clone(), shape: *shape, hint })
                }
                (Err(why), _) => Err(why.clone()),
                (Ok(_), None) => Err("it has no hint of the vocabulary".to_owned()),
            };
            rows.push(Row { field: name.clone(), hint: field.hint, from });
        }
        one_shape_a_hint(&mut rows);
        Ok(Choice { rows })
    }

    /// The fields that are filled.
    pub fn filled(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.rows.iter().filter_map(|row| row.from.as_ref().ok().map(|source| (row.field.as_str(), source)))
    }

    /// Whether any value comes from the driver by the kernel's functions, so that the program is bound to its device.
    #[must_use]
    pub fn asks_driver(&self) -> bool {
        self.filled().any(|(_, source)| source.offer.origin.provider() == Provider::Kfunc)
    }
}

/// The first offer of those wanted that is of use; else why there is none.
fn choose<'o>(field: &str, hint: Hint, offers: &'o [Offers], fill: &Fill) -> Result<Result<&'o Offer, String>, Error> {
    let offered = offers.iter().find(|offers| offers.hint == hint);
    match fill.of(field) {
        Prefer::None => Ok(Err("it is not to be filled".to_owned())),
        Prefer::From(provider) => {
            let own = offered.and_then(|offered| offered.all.iter().find(|o| o.origin.provider() == provider));
            if let Some(offer) = own.filter(|offer| offer.standing != Standing::Refused) {
                return Ok(Ok(offer));
            }
            let why = own.and_then(|offer| offer.why.clone()).unwrap_or_else(|| format!("it has no {hint}"));
            if fill.fields.iter().any(|(name, _)| name == field) {
                return Err(Error::NotThere { field: field.to_owned(), provider, why });
            }
            Ok(Err(format!("{provider}: {why}")))
        }
        Prefer::Auto => Ok(match offered {
            Some(offered) => offered.best().ok_or_else(|| offered.absent()),
            None => Err("nothing has it".to_owned()),
        }),
    }
}

/// The filler writes each value once: fields of one hint lie on each other, and so must lie alike.
fn one_shape_a_hint(rows: &mut [Row]) {
    let mut first = HashMap::<Hint, (String, Shape)>::new();
    for row in rows {
        let Ok(source) = &row.from else { continue };
        let (name, shape) = first.entry(source.hint).or_insert_with(|| (row.field.clone(), source.shape));
        if *shape != source.shape {
            row.from = Err(format!("'{name}' has the same value, and is declared otherwise"));
        }
    }
}

//! Files that carry BTF: raw, or an ELF object with `.BTF`.

use std::sync::Arc;

use bytes::Bytes;
use object::{Object as _, ObjectSection as _};
use xhint_btf::Btf;

use crate::Error;

/// The BTF in `file`: raw BTF, or the section `.BTF` of an ELF object of either byte order, split on `base` if there is
/// one. A section `.BTF.base` beside it (a distilled base) takes the place of `base`.
///
/// # Errors
/// [`Error::NeitherBtfNorElf`], or what is wrong with the BTF or the ELF.
pub fn btf_of(file: impl Into<Bytes>, base: Option<Arc<Btf>>) -> Result<Btf, Error> {
    let file = file.into();
    match file.get(..2) {
        Some([0xEB, 0x9F] | [0x9F, 0xEB]) => parse("BTF", file, base),
        Some(b"\x7fE") => from_elf(&file, base),
        _ => {
            let first: Vec<_> = file.iter().take(4).map(|b| format!("{b:02x}")).collect();
            let first = if first.is_empty() { "nothing: it is empty".to_owned() } else { first.join(" ") };
            Err(Error::NeitherBtfNorElf { first })
        }
    }
}

/// A NIC's BTF: as [`btf_of`], standalone if it makes sense by itself, else split on `base`.
///
/// # Errors
/// As [`btf_of`]; of the two readings, the fault that the file has as split BTF, unless it cannot be one.
pub fn nic_btf(file: impl Into<Bytes>, base: Arc<Btf>) -> Result<Btf, Error> {
    let file = file.into();
    match btf_of(file.clone(), None) {
        Ok(btf) => Ok(btf),
        // What is split refers to types or strings that it does not have.
        Err(Error::Btf { .. }) => btf_of(file, Some(base)),
        Err(other) => Err(other),
    }
}

fn from_elf(file: &Bytes, base: Option<Arc<Btf>>) -> Result<Btf, Error> {
    let elf = object::File::parse(&file[..])?;
    let section = |name| -> Result<Option<Bytes>, Error> {
        let Some(section) = elf.section_by_name(name) else { return Ok(None) };
        Ok(Some(file.slice_ref(section.data()?)))
    };
    let hint = "; compile with -g so that it carries BTF";
    let own = section(".BTF")?.ok_or(Error::NoSection { name: ".BTF", hint })?;
    let base = match section(".BTF.base")? {
        Some(distilled) => Some(Arc::new(parse(".BTF.base", distilled, None)?)),
        None => base,
    };
    parse(".BTF", own, base)
}

fn parse(section: &'static str, bytes: Bytes, base: Option<Arc<Btf>>) -> Result<Btf, Error> {
    let btf = match base {
        Some(base) => Btf::parse_split(bytes, base),
        None => Btf::parse(bytes),
    };
    btf.map_err(|source| Error::Btf { section, source })
}

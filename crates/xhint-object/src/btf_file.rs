//! Files that carry BTF: raw, or an ELF object with `.BTF`; with or without a distilled base.
//!
//! A distilled base travels as the section `.BTF.base` beside `.BTF`, or in a file of its own beside a raw one. The bytes
//! of such a pair are one after the other ([`with_base`]), so that whoever keeps or compares a file's bytes has both.

use std::sync::Arc;

use bytes::Bytes;
use object::{Object as _, ObjectSection as _};
use xhint_btf::header::Header;
use xhint_btf::{Btf, rebase};

use crate::Error;

/// Where a file's BTF stands, for messages.
const RAW: &str = "BTF";
const SECTION: &str = ".BTF";
const BASE_SECTION: &str = ".BTF.base";
const BASE_FILE: &str = "BTF base";
const ON_BASE: &str = "BTF on its distilled base";

/// The BTF in `file`: raw BTF, or the section `.BTF` of an ELF object of either byte order, split on `base` if there is
/// one. If it has a distilled base, it is rebased on `base`, or without one read on that.
///
/// # Errors
/// [`Error::NeitherBtfNorElf`], or what is wrong with the BTF or the ELF.
pub fn btf_of(file: impl Into<Bytes>, base: Option<Arc<Btf>>) -> Result<Btf, Error> {
    BtfFile::of(file.into())?.read(base)
}

/// A NIC's BTF: as [`btf_of`], standalone if it makes sense by itself, else split on `base` or, if that is itself split, on
/// what of its chain it makes sense on. What needs no base does not ask for it.
///
/// # Errors
/// As [`btf_of`]; of the readings, the fault that the file has split on `base`, unless it cannot be split, or there is none.
pub fn nic_btf<'b>(file: impl Into<Bytes>, base: impl FnOnce() -> Option<&'b Arc<Btf>>) -> Result<Btf, Error> {
    let file = BtfFile::of(file.into())?;
    if file.distilled.is_some() {
        return file.read(base().cloned());
    }
    let (alone, base) = match file.read(None) {
        Err(fault) if fault.lacks_base() => (fault, base()),
        done => return done,
    };
    let Some(base) = base else { return Err(alone) };
    let on_base = file.read(Some(Arc::clone(base)));
    let mut link = base.base();
    while let (Err(_), Some(lower)) = (&on_base, link) {
        if let Ok(btf) = file.read(Some(Arc::clone(lower))) {
            return Ok(btf);
        }
        link = lower.base();
    }
    on_base
}

/// The bytes of raw BTF together with those of its distilled base, as [`btf_of`] and [`nic_btf`] take them.
///
/// # Errors
/// [`Error::Btf`] if the base is none.
pub fn with_base(split: &[u8], distilled: &[u8]) -> Result<Vec<u8>, Error> {
    let header = Header::parse(distilled).map_err(|source| Error::Btf { section: BASE_FILE, source })?;
    Ok([distilled.get(..header.end()).unwrap_or_default(), split].concat())
}

/// Whether `file` is raw BTF, beside which a distilled base may stand.
pub fn is_raw(file: &[u8]) -> bool {
    matches!(file.get(..2), Some([0xEB, 0x9F] | [0x9F, 0xEB]))
}

/// What a file carries.
struct BtfFile {
    own: Bytes,
    section: &'static str,
    distilled: Option<(Bytes, &'static str)>,
}

impl BtfFile {
    fn of(file: Bytes) -> Result<BtfFile, Error> {
        if is_raw(&file) {
            return Ok(BtfFile::raw(file));
        }
        if file.starts_with(b"\x7fE") {
            return BtfFile::elf(&file);
        }
        let first: Vec<_> = file.iter().take(4).map(|b| format!("{b:02x}")).collect();
        let first = if first.is_empty() { "nothing: it is empty".to_owned() } else { first.join(" ") };
        Err(Error::NeitherBtfNorElf { first })
    }

    /// Raw BTF; behind a distilled base, if there are two.
    fn raw(file: Bytes) -> BtfFile {
        let end = Header::parse(&file).map_or(file.len(), |header| header.end());
        if !is_raw(file.get(end..).unwrap_or_default()) {
            return BtfFile { own: file, section: RAW, distilled: None };
        }
        BtfFile { own: file.slice(end..), section: ON_BASE, distilled: Some((file.slice(..end), BASE_FILE)) }
    }

    fn elf(file: &Bytes) -> Result<BtfFile, Error> {
        let elf = object::File::parse(&file[..])?;
        let section = |name| -> Result<Option<Bytes>, Error> {
            let Some(section) = elf.section_by_name(name) else { return Ok(None) };
            Ok(Some(file.slice_ref(section.data()?)))
        };
        let hint = "; compile with -g so that it carries BTF";
        let own = section(SECTION)?.ok_or(Error::NoSection { name: SECTION, hint })?;
        let distilled = section(BASE_SECTION)?.map(|base| (base, BASE_SECTION));
        Ok(BtfFile { own, section: SECTION, distilled })
    }

    fn read(&self, base: Option<Arc<Btf>>) -> Result<Btf, Error> {
        let err = |source| Error::Btf { section: self.section, source };
        let Some((distilled, section)) = &self.distilled else { return parse(self.own.clone(), base).map_err(err) };
        let distilled = Btf::parse(distilled.clone()).map_err(|source| Error::Btf { section, source })?;
        let split = parse(self.own.clone(), Some(Arc::new(distilled))).map_err(err)?;
        match base {
            Some(base) => rebase(&split, base).map_err(err),
            None => Ok(split),
        }
    }
}

fn parse(bytes: Bytes, base: Option<Arc<Btf>>) -> Result<Btf, xhint_btf::Error> {
    match base {
        Some(base) => Btf::parse_split(bytes, base),
        None => Btf::parse(bytes),
    }
}

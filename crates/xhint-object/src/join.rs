//! One object of two: the functions and data of another beside those that are there.
//!
//! What either names and does not have (kernel functions) is one, if it has one name. Where the two have other things of
//! one name, they are not joined. The other's licence and version do not count.

use std::collections::{HashMap, HashSet};

use object::elf;
use xhint_bpf::SymbolId;
use xhint_btf::ext::CoreRelo;
use xhint_btf::{Builder, Kind, Moved, SecVar, Type};

use crate::image::{Image, Section, SectionContent, SectionId, Symbol, SymbolPlace};
use crate::records::Records;
use crate::{Assembly, Error, Object};

/// The data section that lists what the kernel has: it is in BTF alone.
const KSYMS: &str = ".ksyms";

impl Object {
    /// This object with all of `other` that programs are made of: functions, with their lines and CO-RE relocations, data,
    /// and names of kernel functions.
    ///
    /// # Errors
    /// [`Error::ByteOrder`]; [`Error::Joined`] where both have a function or a section of data of one name;
    /// [`Error::JumpTable`]; faults of either.
    pub fn join(&self, other: &Object) -> Result<Object, Error> {
        if self.order() != other.order() {
            return Err(Error::ByteOrder);
        }
        let mut join = Join::new(self, other)?;
        join.sections()?;
        join.symbols()?;
        Object::parse(join.finish()?)
    }
}

struct Join<'a> {
    own: &'a Object,
    other: &'a Object,
    image: Image,
    assembly: Assembly,
    btf: Builder,
    moved: Moved,
    /// Where the other's sections and symbols are now.
    sections: HashMap<SectionId, SectionId>,
    symbols: HashMap<SymbolId, SymbolId>,
}

impl<'a> Join<'a> {
    fn new(own: &'a Object, other: &'a Object) -> Result<Join<'a>, Error> {
        let assembly = Assembly::take(own)?;
        let mut btf = Builder::extend(own.btf());
        let known = Known::of(own);
        let moved = btf.append_but(other.btf(), |ty| known.replaces(other, ty))?;
        if let (Some(section), Some(others)) = (ksyms(own), ksyms(other)) {
            let new = |var: &SecVar| other.btf().ty(var.type_id).is_some_and(|ty| !known.externs.contains(ty.name()));
            let vars: Vec<_> =
                others.vars().filter(new).map(|var| SecVar { type_id: moved.id(var.type_id), ..var }).collect();
            btf.add_vars(section, section.size(), &vars)?;
        }
        let (sections, symbols) = (HashMap::new(), HashMap::new());
        Ok(Join { own, other, image: own.image().clone(), assembly, btf, moved, sections, symbols })
    }

    fn sections(&mut self) -> Result<(), Error> {
        let code: HashSet<SectionId> = self.other.functions().iter().map(|f| f.section).collect();
        for (id, section) in self.other.image().sections.entries() {
            let found = self.image.section_named(&section.name);
            let new = match found {
                Some(found) if code.contains(&id) => found,
                Some(_) if is_carried(section) => return Err(Error::Joined { name: section.name.clone() }),
                None if code.contains(&id) || is_carried(section) => {
                    self.image.sections.push(Section { link: SectionId::from(0), ..section.clone() })
                }
                _ => continue,
            };
            self.sections.insert(id, new);
        }
        Ok(())
    }

    fn symbols(&mut self) -> Result<(), Error> {
        let names: HashMap<String, SymbolId> =
            self.own.image().symbols.entries().map(|(id, symbol)| (symbol.name.clone(), id)).collect();
        for (id, symbol) in self.other.image().symbols.entries().skip(1).filter(|(_, symbol)| !symbol.gone) {
            let named = Some(&symbol.name).filter(|name| !name.is_empty()).and_then(|name| names.get(name));
            let new = match (symbol.place, named) {
                (SymbolPlace::Section(section), named) => {
                    let Some(section) = self.sections.get(&section).copied() else { continue };
                    if symbol.info.st_type() == elf::STT_SECTION {
                        self.image.section_symbol(section)
                    } else if named.is_some() && (symbol.is_function() || !symbol.is_local()) {
                        return Err(Error::Joined { name: symbol.name.clone() });
                    } else {
                        self.image.symbols.push(Symbol { place: SymbolPlace::Section(section), ..symbol.clone() })
                    }
                }
                (SymbolPlace::Special(elf::SHN_UNDEF), Some(named)) => *named,
                (SymbolPlace::Special(elf::SHN_UNDEF), None) => self.image.symbols.push(symbol.clone()),
                (SymbolPlace::Special(_), _) => continue,
            };
            self.symbols.insert(id, new);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, Error> {
        self.code()?;
        self.relocations();
        let mut ext = self.own.ext().clone();
        let btf = &mut self.btf;
        self.assembly.put(&mut self.image, &mut ext, |name| Ok(btf.string(name)?))?;
        let mut records = Records::default();
        records.add(&self.image, self.own, |symbol, core| Some((symbol, core)))?;
        let (symbols, moved) = (&self.symbols, self.moved);
        records.add(&self.image, self.other, |symbol, core| {
            let (type_id, access_str_off) = (moved.id(core.type_id), moved.string(core.access_str_off));
            symbols.get(&symbol).map(|new| (*new, CoreRelo { type_id, access_str_off, ..core }))
        })?;
        records.put(&mut ext, &self.image, &mut self.btf)?;
        // DWARF, and the places of variables in `.BTF`, are told of where they were.
        self.image.drop_debug();
        if let Some(number) = self.image.section_named(".BTF") {
            self.image.drop_relocations(number);
        }
        self.image.set_btf(self.btf.finish().into(), &ext)?;
        self.image.write()
    }

    /// Puts the other's code behind what stands in the sections of the same name.
    fn code(&mut self) -> Result<(), Error> {
        for (section, bodies) in Assembly::take(self.other)?.sections {
            let Some(section) = self.sections.get(&section) else { continue };
            for mut body in bodies {
                let Some(symbol) = self.symbols.get(&body.symbol) else { continue };
                body.symbol = *symbol;
                body.func = body.func.map(|func| self.moved.id(func));
                for instruction in &mut body.code {
                    if let Some(line) = &mut instruction.line {
                        line.file_name_off = self.moved.string(line.file_name_off);
                        line.line_off = self.moved.string(line.line_off);
                    }
                    if let Some(reference) = &mut instruction.reference {
                        let symbol = self.symbols.get(&reference.symbol);
                        reference.symbol = *symbol.ok_or(Error::NoSymbol { number: reference.symbol.0 })?;
                    }
                }
                self.assembly.sections.entry(*section).or_default().push(body);
            }
        }
        Ok(())
    }

    /// Lets the other's data point to what it pointed to.
    fn relocations(&mut self) {
        let (symbols, sections) = (&self.symbols, &self.sections);
        for (target, relocation) in self.other.image().all_relocations() {
            let (Some(new), Some(symbol)) = (sections.get(&target), symbols.get(&relocation.symbol)) else { continue };
            if !self.image.sections.at(*new).is_code() {
                let relocation = crate::image::Relocation { symbol: *symbol, ..*relocation };
                self.image.change_relocations(*new, |all| all.push(relocation));
            }
        }
    }
}

/// What of an object makes the same in another superfluous.
struct Known<'a> {
    /// Whether it lists names of the kernel's.
    ksyms: bool,
    /// These names.
    externs: HashSet<&'a str>,
}

impl<'a> Known<'a> {
    fn of(object: &'a Object) -> Known<'a> {
        let vars = ksyms(object).into_iter().flat_map(|section| section.vars());
        let externs = vars.filter_map(|var| object.btf().ty(var.type_id)).map(|ty| ty.name()).collect();
        Known { ksyms: ksyms(object).is_some(), externs }
    }

    /// Whether a type of `other` has no place beside what is known.
    fn replaces(&self, other: &Object, ty: &Type<'_>) -> bool {
        let listed = || ksyms(other).is_some_and(|section| section.vars().any(|var| var.type_id == ty.id()));
        match ty.kind() {
            Kind::Datasec if ty.name() == KSYMS => self.ksyms,
            Kind::Datasec => {
                !other.image().section_named(ty.name()).is_some_and(|s| is_carried(other.image().sections.at(s)))
            }
            Kind::Func | Kind::Var => self.externs.contains(ty.name()) && listed(),
            _ => false,
        }
    }
}

fn ksyms(object: &Object) -> Option<Type<'_>> {
    object.btf().of_kinds([Kind::Datasec]).find(|ty| ty.name() == KSYMS)
}

/// Whether a section is data that programs use.
fn is_carried(section: &Section) -> bool {
    let data = matches!(&section.content, SectionContent::Bytes(_) | SectionContent::Zeroes(_)) && !section.is_code();
    data && section.flags.contains(elf::SHF_ALLOC)
        && !section.gone
        && !["license", "version"].contains(&section.name.as_str())
}

#[cfg(test)]
mod tests;

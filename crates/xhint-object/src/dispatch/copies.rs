//! Copies of functions, one a class of variants, calling one another rightly.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use xhint_btf::Kind;
use xhint_btf::ext::{BtfExt, LineInfo};
use xhint_btf::write::{NewType, Writer};

use super::classes::{Classes, callees};
use super::emit::{Code, Emit, R0};
use crate::assembly::{Assembly, Body, new_symbol, text_section};
use crate::image::{Content, Image, Place};
use crate::name::c_name;
use crate::prune::{Ways, prune};
use crate::variant::Variant;
use crate::{Error, Object};

/// An object in the making: what it was, and the copies made so far.
pub struct Copies<'a> {
    pub object: &'a Object,
    pub image: Image,
    pub btf: Writer,
    pub variants: &'a [Variant<'a>],
    /// What a variant's copies are named by.
    names: Vec<String>,
    /// The variant that everything not dispatched is linked for.
    fallback: usize,
    /// Functions that an entry will stand in for.
    entries: HashSet<usize>,
    assembly: Assembly,
    /// Each function as it was, by its index.
    originals: Vec<Body>,
    /// Index of a function by its symbol.
    by_symbol: HashMap<usize, usize>,
    pub classes: Classes,
    /// By function and class, which ways its comparisons can go, for those that are to be pruned.
    ways: HashMap<(usize, usize), Ways>,
    made: HashMap<(usize, usize), usize>,
    /// By function, what takes its place for a fixed action.
    actions: HashMap<usize, usize>,
    todo: VecDeque<Todo>,
    taken: HashSet<String>,
}

/// A copy that has a symbol and no body yet.
struct Todo {
    function: usize,
    what: What,
    symbol: usize,
    section: usize,
    linkage: u32,
}

/// What a copy is.
#[derive(Debug, Clone, Copy)]
enum What {
    /// The function under this variant.
    Variant(usize),
    /// What returns this and does nothing else.
    Action(u32),
}

const STATIC: u32 = 0;
const GLOBAL: u32 = 1;

impl<'a> Copies<'a> {
    /// Begins with `object` as it is. `names` are those of `variants`; what is not in `entries` (functions by index) is
    /// linked for the variant `fallback`.
    ///
    /// # Errors
    /// As [`Assembly::take`].
    pub fn new(
        object: &'a Object,
        variants: &'a [Variant<'a>],
        names: Vec<String>,
        fallback: usize,
        entries: HashSet<usize>,
    ) -> Result<Copies<'a>, Error> {
        let assembly = Assembly::take(object)?;
        let mut all: HashMap<usize, Body> = HashMap::new();
        for body in assembly.sections.values().flatten() {
            all.insert(body.symbol, body.clone());
        }
        let originals: Vec<_> = object.functions().iter().filter_map(|f| all.remove(&f.symbol)).collect();
        Ok(Copies {
            object,
            image: object.image.clone(),
            btf: Writer::extend(object.btf()),
            variants,
            names,
            fallback,
            entries,
            by_symbol: originals.iter().enumerate().map(|(n, b)| (b.symbol, n)).collect(),
            originals,
            assembly,
            classes: Classes::of(object, variants),
            ways: HashMap::new(),
            made: HashMap::new(),
            actions: HashMap::new(),
            todo: VecDeque::new(),
            taken: object.image.symbols.iter().map(|s| s.name.clone()).collect(),
        })
    }

    /// From now on, copies lack what cannot be reached under any variant that they are for, whichever program runs.
    pub fn prune(&mut self) {
        for (number, variant) in self.variants.iter().enumerate() {
            let reach = variant.reach(self.object.entries());
            for function in reach.functions {
                let ways = self.ways.entry((function, self.classes.class(function, number))).or_default();
                reach.ways.get(&function).into_iter().for_each(|own| ways.join(own));
            }
        }
    }

    /// The symbol of `function` as it is under `variant`; a copy is made if there is none yet.
    pub fn function(&mut self, function: usize, variant: usize) -> usize {
        let class = self.classes.class(function, variant);
        let stays = self.classes.is_shared(function) || class == self.classes.class(function, self.fallback);
        if stays && !self.entries.contains(&function) {
            return self.originals.get(function).map_or(0, |b| b.symbol);
        }
        if let Some(symbol) = self.made.get(&(function, class)) {
            return *symbol;
        }
        let global = self.object.functions().get(function).is_some_and(|f| f.global && !f.is_program());
        let section = text_section(&mut self.image, &mut self.assembly);
        self.copy(function, variant, section, global)
    }

    /// A copy of a program that is a program of its own, in the same section.
    pub fn program(&mut self, function: usize, variant: usize) -> usize {
        let class = self.classes.class(function, variant);
        if let Some(symbol) = self.made.get(&(function, class)) {
            return *symbol;
        }
        let section = self.object.functions().get(function).map_or(0, |f| f.section);
        self.copy(function, variant, section, true)
    }

    fn copy(&mut self, function: usize, variant: usize, section: usize, global: bool) -> usize {
        let own = self.object.functions().get(function).map_or("", |f| f.name.as_str());
        let name = c_name(own, &format!("__{}", self.names.get(variant).map_or("", String::as_str)));
        let name = self.unique(name);
        let symbol = new_symbol(&mut self.image, name, global);
        self.made.insert((function, self.classes.class(function, variant)), symbol);
        let linkage = if global { GLOBAL } else { STATIC };
        self.todo.push_back(Todo { function, what: What::Variant(variant), symbol, section, linkage });
        symbol
    }

    /// A program of its own that returns `action`, in place of the program `function` for the fallback.
    pub fn action(&mut self, function: usize, action: u32) -> usize {
        if let Some(symbol) = self.actions.get(&function) {
            return *symbol;
        }
        let own = self.object.functions().get(function);
        let (section, own) = own.map_or((0, ""), |f| (f.section, f.name.as_str()));
        let name = self.unique(c_name(own, &format!("__{}", self.names.get(self.fallback).map_or("", String::as_str))));
        let symbol = new_symbol(&mut self.image, name, true);
        self.actions.insert(function, symbol);
        self.todo.push_back(Todo { function, what: What::Action(action), symbol, section, linkage: GLOBAL });
        symbol
    }

    /// How many different functions `program` comes to under these variants, itself included.
    pub fn functions_of(&self, program: usize, variants: impl Iterator<Item = usize>) -> usize {
        let mut seen = HashSet::new();
        for variant in variants {
            let mut todo = vec![program];
            while let Some(function) = todo.pop() {
                // What is of one class calls what is of one class.
                if seen.insert((function, self.classes.class(function, variant))) {
                    todo.extend(callees(self.object, function));
                }
            }
        }
        seen.len()
    }

    /// A name that no symbol has.
    pub fn unique(&mut self, mut name: String) -> String {
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    /// The code of `function` under `variant`, calling what it calls under that variant.
    pub fn body(&mut self, function: usize, variant: usize) -> Body {
        let body = self.relocated(function, variant);
        let body = match self.ways.get(&(function, self.classes.class(function, variant))) {
            Some(ways) => prune(body, ways, self.object.order()),
            None => body,
        };
        self.linked(body, variant)
    }

    /// The same with all its instructions where they were, for who changes some.
    pub fn whole_body(&mut self, function: usize, variant: usize) -> Body {
        let body = self.relocated(function, variant);
        self.linked(body, variant)
    }

    fn relocated(&self, function: usize, variant: usize) -> Body {
        let Some(mut body) = self.originals.get(function).cloned() else {
            return Body { symbol: 0, code: vec![], relocations: vec![], func: None, lines: vec![] };
        };
        if let Some(variant) = self.variants.get(variant) {
            variant.apply(function, &mut body.code);
        }
        body
    }

    fn linked(&mut self, mut body: Body, variant: usize) -> Body {
        for relocation in &mut body.relocations {
            if let Some(callee) = self.by_symbol.get(&relocation.symbol) {
                relocation.symbol = self.function(*callee, variant);
            }
        }
        body
    }

    /// A program in the place of `function` that returns `action`.
    fn returning(&self, function: usize, action: u32) -> Result<Body, Error> {
        let mut emit = Emit::new(self.object.order());
        emit.mov_imm(R0, action as i32);
        emit.exit();
        let code = emit.finish()?.bytes;
        let original = self.originals.get(function);
        let lines =
            original.and_then(|b| b.lines.first()).map(|l| LineInfo { insn_off: 0, ..*l }).into_iter().collect();
        Ok(Body { symbol: 0, code, relocations: Vec::new(), func: original.and_then(|b| b.func), lines })
    }

    /// The code of `function` as the compiler left it.
    pub fn plain_code(&self, function: usize) -> &[u8] {
        self.originals.get(function).map_or(&[], |b| &b.code)
    }

    /// That, to stand in an entry; its first line says which variant it is for.
    ///
    /// # Errors
    /// As [`Copies::name`].
    pub fn named_body(&mut self, function: usize, variant: usize, more: usize) -> Result<Body, Error> {
        let body = self.body(function, variant);
        self.name(body, variant, more)
    }

    /// Lets the first line say which variant `body` is for, and how many more.
    ///
    /// # Errors
    /// [`Error::BtfWrite`] if the strings outgrow BTF.
    pub fn name(&mut self, mut body: Body, variant: usize, more: usize) -> Result<Body, Error> {
        if let Some(first) = body.lines.first_mut() {
            let name = self.names.get(variant).map_or("", String::as_str).escape_debug();
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            first.line_off = self.btf.string(&format!("/* generated by xhint: the copy for {name}{more} */"))?;
        }
        Ok(body)
    }

    /// Lets `code` take the place of `function`, which is one of the entries.
    ///
    /// # Errors
    /// [`Error::BtfWrite`] if the strings outgrow BTF.
    pub fn set_entry(&mut self, function: usize, code: Code) -> Result<(), Error> {
        let Some(original) = self.originals.get(function) else { return Ok(()) };
        let (symbol, func) = (original.symbol, original.func);
        let text = self.btf.string("/* generated by xhint: to the copy for this packet's metadata */")?;
        // A function needs a line where it starts; the program's own first one says whose entry this is.
        let line = original.lines.first().map(|l| LineInfo { insn_off: 0, line_off: text, ..*l });
        let rest = code.lines.into_iter().filter(|l| line.is_none() || l.insn_off > 0);
        let lines = line.into_iter().chain(rest).collect();
        let body = Body { symbol, code: code.bytes, relocations: code.relocations, func, lines };
        let section = self.object.functions().get(function).map_or(0, |f| f.section);
        let bodies = self.assembly.sections.entry(section).or_default();
        if let Some(place) = bodies.iter_mut().find(|b| b.symbol == symbol) {
            *place = body;
        }
        Ok(())
    }

    /// Makes all copies that are asked for, and puts the object together.
    ///
    /// # Errors
    /// [`Error::BtfWrite`] if the types outgrow BTF.
    pub fn finish(mut self) -> Result<Image, Error> {
        for index in 0..self.originals.len() {
            if !self.entries.contains(&index) {
                self.relink(index);
            }
        }
        while let Some(todo) = self.todo.pop_front() {
            let mut body = match todo.what {
                What::Variant(variant) => self.body(todo.function, variant),
                What::Action(action) => self.returning(todo.function, action)?,
            };
            body.symbol = todo.symbol;
            let name = self.image.symbols.get(todo.symbol).map_or(String::new(), |s| s.name.clone());
            body.func = body.func.map(|func| self.new_func(func, &name, todo.linkage)).transpose()?;
            self.assembly.sections.entry(todo.section).or_default().push(body);
        }
        let mut ext = self.object.ext.clone();
        ext.relos.clear();
        let btf = &mut self.btf;
        self.assembly.put(&mut self.image, &mut ext, |name| Ok(btf.string(name)?))?;
        drop_debug(&mut self.image);
        place_btf(&mut self.image, self.btf.finish().into(), &ext);
        Ok(self.image)
    }

    /// Links a function that stays where it is for the fallback.
    fn relink(&mut self, index: usize) {
        let Some(symbol) = self.originals.get(index).map(|b| b.symbol) else { return };
        let body = self.body(index, self.fallback);
        let home = self.assembly.sections.values_mut().flatten().find(|b| b.symbol == symbol);
        if let Some(place) = home {
            *place = body;
        }
    }

    /// A FUNC like `func` with another name and linkage, and with the tags of its parameters.
    fn new_func(&mut self, func: u32, name: &str, linkage: u32) -> Result<u32, Error> {
        let btf = self.object.btf();
        let proto = btf.ty(func).map_or(0, |ty| ty.target());
        let new = self.btf.push(NewType { name, vlen: linkage, third: proto, ..NewType::of(Kind::Func) })?;
        for tag in btf.types().filter(|t| t.kind() == Kind::DeclTag && t.target() == func) {
            let tail = [tag.component().unwrap_or(-1) as u32];
            self.btf.push(NewType { name: tag.name(), third: new, tail: &tail, ..NewType::of(Kind::DeclTag) })?;
        }
        Ok(new)
    }
}

/// Writes `.BTF` and `.BTF.ext` anew. The relocations of `.BTF.ext` go: its records have moved, and what it says is
/// right without.
pub fn place_btf(image: &mut Image, btf: Bytes, ext: &BtfExt) {
    set_bytes(image, ".BTF", btf);
    if ext.is_empty() {
        // A loader takes a header with nothing behind it for a fault.
        return image.drop_section(".BTF.ext");
    }
    set_bytes(image, ".BTF.ext", ext.write().into());
    if let Some(number) = image.section_named(".BTF.ext") {
        image.drop_relocations(number);
    }
}

fn set_bytes(image: &mut Image, name: &str, bytes: Bytes) {
    let number = image.section_named(name);
    if let Some(section) = number.and_then(|n| image.sections.get_mut(n)) {
        section.content = Content::Bytes(bytes);
    }
}

/// DWARF describes code where it was, so it goes, and with it the symbols that only it names.
fn drop_debug(image: &mut Image) {
    let is_debug = |name: &str| name.starts_with(".debug") || name == ".eh_frame";
    let names: Vec<_> = image.sections.iter().filter(|s| is_debug(&s.name)).map(|s| s.name.clone()).collect();
    names.iter().for_each(|name| image.drop_section(name));
    for symbol in &mut image.symbols {
        if let Place::Section(section) = symbol.place {
            symbol.gone |= image.sections.get(section).is_none_or(|s| s.gone);
        }
    }
}

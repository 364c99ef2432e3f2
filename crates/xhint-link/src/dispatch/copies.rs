//! Copies of functions, one a class of variants, calling one another rightly.

use std::collections::{HashMap, HashSet, VecDeque};

use xhint_bpf::reg::R0;
use xhint_bpf::{Arena, Branches, Emit, FunctionId, Instruction, SymbolId, drop_useless, prune};
use xhint_btf::ext::LineInfo;
use xhint_btf::{Builder, Def, Kind, Linkage};
use xhint_object::{Assembly, Body, Image, SectionId};

use super::Request;
use super::classes::{Classes, callees};
use crate::name::c_name;
use crate::variant::{VariantId, Variants};
use crate::{Error, Object};

/// An object in the making: what it was, and the copies made so far.
pub struct Copies<'a> {
    pub object: &'a Object,
    pub image: Image,
    pub btf: Builder,
    pub variants: &'a Variants<'a>,
    /// What a variant's copies are named by.
    names: Arena<VariantId, String>,
    /// The variant that everything not dispatched is linked for.
    fallback: VariantId,
    /// Functions that an entry will stand in for.
    entries: HashSet<FunctionId>,
    assembly: Assembly,
    /// Each function as it was.
    originals: Arena<FunctionId, Body>,
    by_symbol: HashMap<SymbolId, FunctionId>,
    pub classes: Classes,
    /// By function and class, which branches its comparisons can take, for those that are to be pruned.
    branches: HashMap<(FunctionId, usize), Branches>,
    /// Those that are not what the compiler made of them even so: what they do not need goes too.
    tidied: HashSet<FunctionId>,
    made: HashMap<(FunctionId, usize), SymbolId>,
    /// By function, what takes its place for a fixed action.
    actions: HashMap<FunctionId, SymbolId>,
    todo: VecDeque<Todo>,
    taken: HashSet<String>,
}

/// A copy that has a symbol and no body yet.
struct Todo {
    function: FunctionId,
    what: What,
    symbol: SymbolId,
    section: SectionId,
    linkage: Linkage,
}

/// What a copy is.
#[derive(Debug, Clone, Copy)]
enum What {
    /// The function under this variant.
    Variant(VariantId),
    /// What returns this and does nothing else.
    Action(u32),
}

impl<'a> Copies<'a> {
    /// Begins with the object of a request, pruned if it says so.
    ///
    /// # Errors
    /// As [`Assembly::take`].
    pub fn of(request: &Request<'a>) -> Result<Copies<'a>, Error> {
        let entries = request.programs.iter().map(|p| p.function).collect();
        let mut copies =
            Copies::new(request.object, request.variants, request.names.clone(), request.fallback, entries)?;
        if request.prune {
            copies.prune(None);
        }
        if let Some(filled) = request.filled {
            // Of the filler there is code for all that anybody could ask for.
            copies.prune(Some(filled.function));
            copies.drop_original(filled.function);
        }
        Ok(copies)
    }

    /// Begins with `object` as it is. `names` are those of `variants`; what is not in `entries` (functions by index) is
    /// linked for the variant `fallback`.
    ///
    /// # Errors
    /// As [`Assembly::take`].
    pub fn new(
        object: &'a Object,
        variants: &'a Variants<'a>,
        names: Arena<VariantId, String>,
        fallback: VariantId,
        entries: HashSet<FunctionId>,
    ) -> Result<Copies<'a>, Error> {
        let assembly = Assembly::take(object)?;
        let all: HashMap<SymbolId, &Body> = assembly.sections.values().flatten().map(|b| (b.symbol, b)).collect();
        let originals: Arena<FunctionId, Body> =
            object.functions().iter().filter_map(|f| all.get(&f.symbol).copied().cloned()).collect();
        Ok(Copies {
            object,
            image: object.image().clone(),
            btf: Builder::extend(object.btf()),
            variants,
            names,
            fallback,
            entries,
            by_symbol: originals.entries().map(|(id, b)| (b.symbol, id)).collect(),
            originals,
            assembly,
            classes: Classes::of(object, variants),
            branches: HashMap::new(),
            tidied: HashSet::new(),
            made: HashMap::new(),
            actions: HashMap::new(),
            todo: VecDeque::new(),
            taken: object.image().symbols.iter().map(|s| s.name.clone()).collect(),
        })
    }

    /// From now on, copies lack what cannot be reached under any variant that they are for, whichever program runs; of what
    /// `only` runs, if that is said, and then what is of no use there either.
    pub fn prune(&mut self, only: Option<FunctionId>) {
        for (number, variant) in self.variants.entries() {
            let reach = variant.reach(only.map_or_else(|| self.object.entries(), |only| vec![only]));
            for function in reach.functions {
                if only.is_some() {
                    self.tidied.insert(function);
                }
                let branches = self.branches.entry((function, self.classes.class(function, number))).or_default();
                reach.branches.get(&function).into_iter().for_each(|own| branches.join(own));
            }
        }
    }

    /// The symbol of `function` as it is under `variant`; a copy is made if there is none yet.
    pub fn function(&mut self, function: FunctionId, variant: VariantId) -> SymbolId {
        let class = self.classes.class(function, variant);
        let stays = self.classes.is_shared(function) || class == self.classes.class(function, self.fallback);
        if stays && !self.entries.contains(&function) {
            return self.originals.at(function).symbol;
        }
        if let Some(symbol) = self.made.get(&(function, class)) {
            return *symbol;
        }
        let own = self.object.functions().at(function);
        let global = own.global && !own.is_program();
        let section = self.assembly.text(&mut self.image);
        self.copy(function, variant, section, global)
    }

    /// A copy of a program that is a program of its own, in the same section.
    pub fn program(&mut self, function: FunctionId, variant: VariantId) -> SymbolId {
        let class = self.classes.class(function, variant);
        if let Some(symbol) = self.made.get(&(function, class)) {
            return *symbol;
        }
        let section = self.object.functions().at(function).section;
        self.copy(function, variant, section, true)
    }

    fn copy(&mut self, function: FunctionId, variant: VariantId, section: SectionId, global: bool) -> SymbolId {
        let own = &self.object.functions().at(function).name;
        let name = c_name(own, &format!("__{}", self.name_of(variant)));
        let name = self.unique(name);
        let symbol = self.image.add_function(name, global);
        self.made.insert((function, self.classes.class(function, variant)), symbol);
        let linkage = if global { Linkage::Global } else { Linkage::Static };
        self.todo.push_back(Todo { function, what: What::Variant(variant), symbol, section, linkage });
        symbol
    }

    /// A program of its own that returns `action`, in place of the program `function` for the fallback.
    pub fn action(&mut self, function: FunctionId, action: u32) -> SymbolId {
        if let Some(symbol) = self.actions.get(&function) {
            return *symbol;
        }
        let own = self.object.functions().at(function);
        let section = own.section;
        let name = self.unique(c_name(&own.name, &format!("__{}", self.name_of(self.fallback))));
        let symbol = self.image.add_function(name, true);
        self.actions.insert(function, symbol);
        let linkage = Linkage::Global;
        self.todo.push_back(Todo { function, what: What::Action(action), symbol, section, linkage });
        symbol
    }

    /// How many different functions `program` comes to under these variants, itself included.
    pub fn functions_of(&self, program: FunctionId, variants: impl Iterator<Item = VariantId>) -> usize {
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

    /// What the copies of a variant are named by.
    fn name_of(&self, variant: VariantId) -> &str {
        self.names.at(variant)
    }

    /// A name that no symbol has.
    pub fn unique(&mut self, mut name: String) -> String {
        while !self.taken.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    /// The code of `function` under `variant`, calling what it calls under that variant.
    pub fn code(&mut self, function: FunctionId, variant: VariantId) -> Vec<Instruction> {
        let code = self.relocated(function, variant);
        let code = match self.branches.get(&(function, self.classes.class(function, variant))) {
            Some(branches) => prune(code, branches),
            None => code,
        };
        let code = if self.tidied.contains(&function) { drop_useless(code) } else { code };
        self.linked(code, variant)
    }

    /// The same with all its instructions where they were, for who changes some.
    pub fn whole_code(&mut self, function: FunctionId, variant: VariantId) -> Vec<Instruction> {
        let code = self.relocated(function, variant);
        self.linked(code, variant)
    }

    fn relocated(&self, function: FunctionId, variant: VariantId) -> Vec<Instruction> {
        let mut code = self.originals.at(function).code.clone();
        self.variants.at(variant).apply(function, &mut code);
        code
    }

    fn linked(&mut self, mut code: Vec<Instruction>, variant: VariantId) -> Vec<Instruction> {
        for reference in code.iter_mut().filter_map(|i| i.reference.as_mut()) {
            if let Some(callee) = self.by_symbol.get(&reference.symbol) {
                reference.symbol = self.function(*callee, variant);
            }
        }
        code
    }

    /// What returns `action`, in the place of `function`.
    fn returning(&self, function: FunctionId, action: u32) -> Vec<Instruction> {
        let mut emit = Emit::new(self.object.order());
        self.plain_code(function).iter().find_map(|i| i.line).into_iter().for_each(|line| emit.line_here(line));
        emit.mov_imm(R0, action);
        emit.exit();
        emit.finish()
    }

    /// The code of `function` as the compiler left it.
    pub fn plain_code(&self, function: FunctionId) -> &[Instruction] {
        &self.originals.at(function).code
    }

    /// That, to stand in an entry; its first line says which variant it is for.
    ///
    /// # Errors
    /// As [`Copies::name`].
    pub fn named_code(
        &mut self,
        function: FunctionId,
        variant: VariantId,
        more: usize,
    ) -> Result<Vec<Instruction>, Error> {
        let code = self.code(function, variant);
        self.name(code, variant, more)
    }

    /// Lets the first line say which variant `code` is for, and how many more.
    ///
    /// # Errors
    /// [`Error::BtfWrite`] if the strings outgrow BTF.
    pub fn name(
        &mut self,
        mut code: Vec<Instruction>,
        variant: VariantId,
        more: usize,
    ) -> Result<Vec<Instruction>, Error> {
        if let Some(first) = code.iter_mut().find_map(|i| i.line.as_mut()) {
            let name = self.name_of(variant).escape_debug().to_string();
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            first.line_off = self.btf.string(&format!("/* generated by xhint: the copy for {name}{more} */"))?;
        }
        Ok(code)
    }

    /// Lets `code` take the place of `function`, which is one of the entries.
    ///
    /// # Errors
    /// [`Error::BtfWrite`] if the strings outgrow BTF.
    pub fn set_entry(&mut self, function: FunctionId, mut code: Vec<Instruction>) -> Result<(), Error> {
        let original = self.originals.at(function);
        let (symbol, func) = (original.symbol, original.func);
        let text = self.btf.string("/* generated by xhint: to the copy for this packet's metadata */")?;
        // A function needs a line where it starts; the program's own first one says whose entry this is.
        let line = original.code.iter().find_map(|i| i.line).map(|l| LineInfo { line_off: text, ..l });
        if let (Some(first), Some(_)) = (code.first_mut(), line) {
            first.line = line;
        }
        let section = self.object.functions().at(function).section;
        let bodies = self.assembly.sections.entry(section).or_default();
        if let Some(place) = bodies.iter_mut().find(|b| b.symbol == symbol) {
            *place = Body { symbol, code, func };
        }
        Ok(())
    }

    /// Makes all copies that are asked for, and puts the object together.
    ///
    /// # Errors
    /// [`Error::BtfWrite`] if the types outgrow BTF.
    pub fn finish(mut self) -> Result<Image, Error> {
        for id in self.originals.ids() {
            if !self.entries.contains(&id) {
                self.relink(id);
            }
        }
        while let Some(Todo { function, what, symbol, section, linkage }) = self.todo.pop_front() {
            let code = match what {
                What::Variant(variant) => self.code(function, variant),
                What::Action(action) => self.returning(function, action),
            };
            let name = self.image.symbols.at(symbol).name.clone();
            let func = self.originals.at(function).func.map(|func| self.new_func(func, &name, linkage)).transpose()?;
            self.assembly.sections.entry(section).or_default().push(Body { symbol, code, func });
        }
        let mut ext = self.object.ext().clone();
        ext.relos.clear();
        let btf = &mut self.btf;
        self.assembly.put(&mut self.image, &mut ext, |name| Ok(btf.string(name)?))?;
        self.image.drop_debug();
        self.image.set_btf(self.btf.finish().into(), &ext)?;
        Ok(self.image)
    }

    /// Drops a function as it was, which nothing leads to but to its copies.
    fn drop_original(&mut self, function: FunctionId) {
        let symbol = self.originals.at(function).symbol;
        self.image.symbols.at_mut(symbol).gone = true;
        self.assembly.sections.values_mut().for_each(|bodies| bodies.retain(|body| body.symbol != symbol));
    }

    /// Links a function that stays where it is for the fallback.
    fn relink(&mut self, function: FunctionId) {
        let symbol = self.originals.at(function).symbol;
        let code = self.code(function, self.fallback);
        let home = self.assembly.sections.values_mut().flatten().find(|b| b.symbol == symbol);
        home.into_iter().for_each(|place| place.code.clone_from(&code));
    }

    /// A FUNC like `func` with another name and linkage, and with the tags of its parameters.
    fn new_func(&mut self, func: u32, name: &str, linkage: Linkage) -> Result<u32, Error> {
        let btf = self.object.btf();
        let proto = btf.ty(func).map_or(0, |ty| ty.target());
        let new = self.btf.add(&Def::Func { name, proto, linkage })?;
        for tag in btf.types().filter(|t| t.kind() == Kind::DeclTag && t.target() == func) {
            if let Some(Def::DeclTag { text, component, attribute, .. }) = tag.def() {
                self.btf.add(&Def::DeclTag { text, target: new, component, attribute })?;
            }
        }
        Ok(new)
    }
}

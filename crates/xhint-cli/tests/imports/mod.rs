//! Which files of a crate use each other, as their code says, whatever road a name takes: `crate::Error` leads into the
//! file that has it, and not to `lib.rs`, which only hands it on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

pub type Graph = BTreeMap<String, BTreeSet<String>>;
type Segments = Vec<String>;

/// A name is handed on so often at most.
const MOST_STEPS: usize = 8;

/// The `.rs` files below `dir`, by path without the ending.
pub fn files(dir: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            out.extend(files(&path).into_iter().map(|(name, text)| (format!("{stem}::{name}"), text)));
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.insert(stem, fs::read_to_string(&path).unwrap());
        }
    }
    out
}

/// By file of a crate, given by its text, those that it uses. Tests are left out, and the root is called "".
pub fn graph(files: &BTreeMap<String, String>) -> Graph {
    let files = files.iter().filter(|(name, _)| !name.ends_with("tests"));
    let name = |name: &str| if ["lib", "main"].contains(&name) { String::new() } else { name.to_owned() };
    let files = Files(files.map(|(file, text)| (name(file), File::read(text))).collect());
    let uses = |(name, file): (&String, &File)| {
        let homes = file.named.iter().filter_map(|path| files.home(name, path, MOST_STEPS));
        (name.clone(), homes.filter(|home| home != name).collect())
    };
    files.0.iter().map(uses).collect()
}

/// Files that use each other in a circle, whichever way round. One and those within it are one house: these may.
pub fn circles(graph: &Graph) -> BTreeSet<BTreeSet<String>> {
    let within = |a: &str, b: &str| !b.is_empty() && a.starts_with(&format!("{b}::"));
    let reached = |from: &String| {
        let (mut seen, mut left) = (BTreeSet::new(), vec![from]);
        while let Some(at) = left.pop() {
            let next = graph.get(at).into_iter().flatten().filter(|next| !within(at, next) && !within(next, at));
            left.extend(next.filter(|next| seen.insert((*next).clone())));
        }
        seen
    };
    let reached: Graph = graph.keys().map(|file| (file.clone(), reached(file))).collect();
    let circle = |(file, all): (&String, &BTreeSet<String>)| {
        let back = |other: &&String| reached.get(*other).is_some_and(|all| all.contains(file));
        all.iter().filter(back).cloned().collect::<BTreeSet<_>>()
    };
    reached.iter().map(circle).filter(|circle| !circle.is_empty()).collect()
}

/// What the code of a file says of others.
#[derive(Default)]
struct File {
    /// What a `use` brings in, by the name that it has here.
    brought: BTreeMap<String, Segments>,
    /// The paths that are named.
    named: BTreeSet<Segments>,
}

struct Files(BTreeMap<String, File>);

impl Files {
    /// The file that has what `path` means in the file `from`; `None` if it is of another crate, or no path that leads out of
    /// the file.
    fn home(&self, from: &str, path: &[String], steps: usize) -> Option<String> {
        let [first, rest @ ..] = path else { return None };
        let above = from.rsplit_once("::").map_or("", |(above, _)| above);
        match first.as_str() {
            // As in `pub(crate)`.
            "crate" | "self" | "super" if rest.is_empty() => None,
            "crate" => self.inside("", rest, steps),
            "self" => self.inside(from, rest, steps),
            "super" => self.inside(above, rest, steps),
            _ if self.0.contains_key(&below(from, first)) => self.inside(&below(from, first), rest, steps),
            name => {
                let whole = self.0.get(from)?.brought.get(name)?.iter().chain(rest).cloned();
                self.home(from, &whole.collect::<Segments>(), steps.checked_sub(1)?)
            }
        }
    }

    /// The same of a path that begins in the file `at`.
    fn inside(&self, at: &str, path: &[String], steps: usize) -> Option<String> {
        let known = |first: &String| {
            first == "super"
                || self.0.contains_key(&below(at, first))
                || self.0.get(at).is_some_and(|f| f.brought.contains_key(first))
        };
        if path.first().is_some_and(known) { self.home(at, path, steps) } else { Some(at.to_owned()) }
    }
}

fn below(file: &str, name: &str) -> String {
    if file.is_empty() { name.to_owned() } else { format!("{file}::{name}") }
}

impl File {
    fn read(text: &str) -> File {
        let mut file = File::default();
        file.visit_file(&syn::parse_file(text).unwrap());
        file
    }

    fn bring(&mut self, tree: &syn::UseTree, mut path: Segments) {
        match tree {
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.bring(item, path.clone())),
            syn::UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.bring(&part.tree, path);
            }
            syn::UseTree::Name(name) => self.brings(path, &name.ident, &name.ident),
            syn::UseTree::Rename(name) => self.brings(path, &name.ident, &name.rename),
            syn::UseTree::Glob(_) => _ = self.named.insert(path),
        }
    }

    fn brings(&mut self, mut path: Segments, name: &syn::Ident, here: &syn::Ident) {
        // `use a::{self}` is `use a`.
        let here = if here == "self" { path.last().cloned().unwrap_or_default() } else { here.to_string() };
        path.extend(Some(name.to_string()).filter(|name| name != "self"));
        self.named.insert(path.clone());
        self.brought.insert(here, path);
    }

    /// The paths in what a macro is given, which nobody else parses.
    fn tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut joined) = (Segments::new(), 0);
        for token in tokens {
            match token {
                TokenTree::Punct(colon) if colon.as_char() == ':' => joined += 1,
                TokenTree::Ident(name) => {
                    if joined != 2 {
                        self.named.insert(std::mem::take(&mut path));
                    }
                    path.push(name.to_string());
                    joined = 0;
                }
                other => {
                    self.named.insert(std::mem::take(&mut path));
                    joined = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.named.insert(path);
    }
}

impl Visit<'_> for File {
    fn visit_item_mod(&mut self, module: &syn::ItemMod) {
        if module.ident != "tests" {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        self.bring(&item.tree, Segments::new());
    }

    fn visit_path(&mut self, path: &syn::Path) {
        self.named.insert(path.segments.iter().map(|s| s.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_meta_list(&mut self, list: &syn::MetaList) {
        self.tokens(list.tokens.clone());
    }
}

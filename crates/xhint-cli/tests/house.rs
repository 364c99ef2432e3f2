//! ARCHITECTURE.md's arrows are those of the manifests, and no files import each other in a circle.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Graph = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// By crate, what the table says that it may use.
fn allowed() -> Graph {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rows = text.lines().filter_map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, _, uses, _] = cells.as_slice() else { return None };
        let name = name.strip_prefix("`xhint")?.strip_suffix('`').filter(|name| !name.contains('`'))?;
        let full = |short: &str| if short == "xhint" { short.to_owned() } else { format!("xhint-{short}") };
        let uses = uses.split(", ").filter(|u| !u.is_empty()).map(full).collect();
        Some((format!("xhint{name}"), uses))
    });
    rows.collect()
}

/// By crate, what of ours its manifest has among its dependencies.
fn manifests() -> Graph {
    let mut out = Graph::new();
    for entry in fs::read_dir(root().join("crates")).unwrap() {
        let manifest = fs::read_to_string(entry.unwrap().path().join("Cargo.toml")).unwrap();
        let name = manifest.lines().find_map(|l| l.strip_prefix("name = \"")?.strip_suffix('"')).unwrap().to_owned();
        let own = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
        let lines = own.lines().take_while(|line| !line.starts_with('['));
        let uses = lines.filter_map(|l| l.split(['.', ' ', '=']).next()).filter(|n| n.starts_with("xhint"));
        out.insert(name, uses.map(str::to_owned).collect());
    }
    out
}

#[test]
fn a_crate_uses_what_the_architecture_says_and_nothing_else() {
    let allowed = allowed();
    let mut crates = manifests();
    crates.retain(|name, _| !["xhint-testkit", "xhint-bench"].contains(&name.as_str()));
    assert!(crates.len() > 10, "{crates:?}");
    assert_eq!(crates, allowed);
}

/// By module of a crate, the modules that its text names by `crate::` or `super::`. Tests are left out.
fn modules(src: &Path) -> Graph {
    let mut files = BTreeMap::new();
    collect(src, "", &mut files);
    let names: BTreeSet<String> = files.keys().cloned().collect();
    let mut out = Graph::new();
    for (name, text) in &files {
        let text = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        let above = name.rsplit_once("::").map_or("", |(above, _)| above);
        let mut uses = BTreeSet::new();
        for (word, base) in [("crate::", ""), ("super::", above), ("self::", name.as_str())] {
            for rest in code.split(word).skip(1) {
                uses.extend(named(rest, base).into_iter().filter_map(|path| longest(&path, &names)));
            }
        }
        uses.remove(name);
        out.insert(name.clone(), uses);
    }
    out
}

fn collect(dir: &Path, prefix: &str, out: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let name = if prefix.is_empty() { stem.clone() } else { format!("{prefix}::{stem}") };
        if path.is_dir() {
            collect(&path, &name, out);
        } else if path.extension().is_some_and(|e| e == "rs")
            && !stem.ends_with("tests")
            && !["lib", "main"].contains(&stem.as_str())
        {
            out.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

/// The paths that a use begins, `a::b` and each in `{a, b::c}`, below `base`.
fn named(rest: &str, base: &str) -> Vec<String> {
    let path = |text: &str| {
        let text: String = text.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
        if base.is_empty() { text } else { format!("{base}::{text}") }
    };
    match rest.strip_prefix('{') {
        Some(list) => list.split('}').next().unwrap_or_default().split(',').map(|one| path(one.trim())).collect(),
        None => vec![path(rest)],
    }
}

/// The module that a path leads into.
fn longest(path: &str, names: &BTreeSet<String>) -> Option<String> {
    let mut path = path.trim_end_matches(':');
    loop {
        if names.contains(path) {
            return Some(path.to_owned());
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// A circle of modules, if there is one. A module and those within it are one house: only siblings count.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    let apart = |a: &str, b: &str| !a.starts_with(&format!("{b}::")) && !b.starts_with(&format!("{a}::"));
    fn visit<'g>(
        at: &'g str,
        graph: &'g Graph,
        way: &mut Vec<&'g str>,
        done: &mut BTreeSet<&'g str>,
        apart: &impl Fn(&str, &str) -> bool,
    ) -> bool {
        if let Some(start) = way.iter().position(|w| *w == at) {
            way.drain(..start);
            return true;
        }
        if !done.insert(at) {
            return false;
        }
        way.push(at);
        let next = graph.get(at).into_iter().flatten().filter(|next| apart(at, next));
        for next in next {
            if visit(next, graph, way, done, apart) {
                return true;
            }
        }
        way.pop();
        false
    }
    let (mut way, mut done) = (Vec::new(), BTreeSet::new());
    graph
        .keys()
        .any(|at| visit(at, graph, &mut way, &mut done, &apart))
        .then(|| way.into_iter().map(str::to_owned).collect())
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let made = |pairs: &[(&str, &[&str])]| -> Graph {
        let set = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
        pairs.iter().map(|(name, uses)| ((*name).to_owned(), set(uses))).collect()
    };
    assert_eq!(circle(&made(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])])), None);
    let found = circle(&made(&[("a", &["b"]), ("b", &["c"]), ("c", &["d", "b"]), ("d", &[])]));
    assert_eq!(found, Some(vec!["b".to_owned(), "c".to_owned()]));
    let graphs = manifests().into_keys().map(|name| (modules(&root().join("crates").join(&name).join("src")), name));
    let circles: Vec<_> = graphs.filter_map(|(graph, name)| Some((name, circle(&graph)?))).collect();
    assert!(circles.is_empty(), "{circles:?}");
}

#[test]
fn a_file_is_one_noun_or_verb() {
    let mut long = Vec::new();
    for name in manifests().keys() {
        let mut files = BTreeMap::new();
        collect(&root().join("crates").join(name).join("src"), "", &mut files);
        long.extend(
            files.into_iter().map(|(file, text)| (text.lines().count(), name.clone(), file)).filter(|f| f.0 > 600),
        );
    }
    assert!(long.is_empty(), "{long:?}");
}

/// A package is a folder by itself: what it is compiled from, and its licences, are in it.
#[test]
fn no_crate_reaches_out_of_its_folder() {
    let (mut wrong, mut published) = (Vec::new(), 0);
    for name in manifests().into_keys() {
        let folder = root().join("crates").join(&name);
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        if manifest.contains("\npublish = false\n") {
            continue;
        }
        published += 1;
        let lines = ["description = \"", "license", "include.workspace = true"];
        let lacks = lines.into_iter().filter(|line| !manifest.lines().any(|l| l.starts_with(line)));
        wrong.extend(lacks.map(|line| format!("{name}: no {line}")));
        let texts = ["LICENSE-MIT", "LICENSE-APACHE"].into_iter().filter(|text| !folder.join(text).is_file());
        wrong.extend(texts.map(|text| format!("{name}: no {text}")));
        let mut files = BTreeMap::new();
        collect(&folder.join("src"), "", &mut files);
        files.extend(fs::read_to_string(folder.join("build.rs")).map(|text| ("build".to_owned(), text)));
        let out = files.into_iter().filter(|(_, text)| text.contains("../.."));
        wrong.extend(out.map(|(file, _)| format!("{name}: {file} reads what lies outside")));
    }
    assert!(published > 10, "{published}");
    assert_eq!(wrong, [""; 0]);
}

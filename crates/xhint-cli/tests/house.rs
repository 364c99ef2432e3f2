//! ARCHITECTURE.md's arrows are those of the manifests, and no files import each other in a circle.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use imports::{Graph, circles, files, graph};

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

/// By crate, what of ours it is built from or with, as cargo reads its manifest, for whatever machine.
fn manifests() -> Graph {
    let cargo = ["metadata", "--format-version=1", "--no-deps", "--offline"];
    let out = Command::new(env!("CARGO")).args(cargo).current_dir(root()).output().unwrap();
    let all: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let name = |value: &serde_json::Value| value["name"].as_str().unwrap().to_owned();
    let uses = |package: &serde_json::Value| {
        let of = package["dependencies"].as_array().unwrap().iter();
        of.filter(|d| d["kind"] != "dev").map(name).filter(|name| name.starts_with("xhint")).collect()
    };
    let crates = all["packages"].as_array().unwrap().iter().filter(|p| {
        let folder = Path::new(p["manifest_path"].as_str().unwrap()).parent().unwrap();
        folder.parent().unwrap().ends_with("crates")
    });
    crates.map(|package| (name(package), uses(package))).collect()
}

#[test]
fn a_crate_uses_what_the_architecture_says_and_nothing_else() {
    let allowed = allowed();
    let mut crates = manifests();
    crates.retain(|name, _| !["xhint-testkit", "xhint-bench"].contains(&name.as_str()));
    assert!(crates.len() > 10, "{crates:?}");
    assert_eq!(crates, allowed);
}

/// Files that do use each other in a circle, by crate. None is to come; one that is mended is struck off.
const KNOWN: [(&str, &[&str]); 2] = [
    ("xhint", &["attached", "linker"]),
    // The root is "": manual pages and completions are of the whole command line.
    ("xhint-cli", &["", "verb::generate"]),
];

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut found = BTreeSet::new();
    for name in manifests().into_keys() {
        let all = circles(&graph(&files(&root().join("crates").join(&name).join("src"))));
        found.extend(all.into_iter().map(|circle| (name.clone(), circle)));
    }
    let owned = |files: &[&str]| files.iter().map(|file| (*file).to_owned()).collect::<BTreeSet<_>>();
    let known: BTreeSet<_> = KNOWN.iter().map(|(name, files)| ((*name).to_owned(), owned(files))).collect();
    assert_eq!(found, known);
}

#[test]
fn a_circle_is_found_whatever_road_a_name_takes() {
    let circles_of = |texts: &[(&str, &str)]| {
        let files = texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let circles = circles(&graph(&files)).into_iter();
        circles.map(|circle| circle.into_iter().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    let lib = ("lib", "mod a; mod b; pub use a::A; pub use b::{self as other, B}; pub use other_crate::C;");
    let to_a = [
        "use crate::A;",
        "use crate::{C, A as Z};",
        "use super::a;",
        "fn f() -> crate::a::A {}",
        "#[error(\"{}\", crate::A)] struct S;",
        "fn f() { write!(f, \"{}\", crate::a::A); }",
    ];
    for b in to_a {
        assert_eq!(circles_of(&[lib, ("a", "use crate::other::B;"), ("b", b)]), ["a b"], "{b}");
        assert_eq!(circles_of(&[lib, ("a", "use crate::C; use b::B;"), ("b", b)]), [""; 0], "{b}");
    }
    // What the root has itself.
    assert_eq!(circles_of(&[("lib", "mod a; use a::A; struct R;"), ("a", "use crate::R;")]), [" a"]);
    // A house, and two that meet in it.
    assert_eq!(circles_of(&[("a", "mod b; use b::B;"), ("a::b", "use super::A;")]), [""; 0]);
    let meet = [("a", "mod b; pub use b::B;"), ("a::b", "use crate::c::C;"), ("c", "use crate::a::B;")];
    assert_eq!(circles_of(&meet), ["a::b c"]);
    let tests = "#[cfg(test)] mod tests { use crate::b::B; }";
    assert_eq!(circles_of(&[lib, ("a", tests), ("b", "use crate::A;")]), [""; 0]);
}

#[test]
fn a_file_is_one_noun_or_verb() {
    let (mut long, mut seen) = (Vec::new(), BTreeSet::new());
    for name in manifests().keys() {
        for part in ["src", "tests", "benches"] {
            for (file, text) in files(&root().join("crates").join(name).join(part)) {
                seen.insert(part);
                long.extend(Some((text.lines().count(), name.clone(), part, file)).filter(|f| f.0 > 600));
            }
        }
    }
    assert_eq!(seen.len(), 3);
    assert!(long.is_empty(), "{long:?}");
}

/// Names that two libraries have for two types, and why. No other is to come.
const SHARED: [(&str, &str); 10] = [
    ("Callee", "what an instruction calls; where a call of the kernel's leads"),
    ("Error", "each crate has its own"),
    ("Asked", "what a program asks a filler for; what came of asking a driver"),
    ("Layout", "the universe's, by which is linked; the facade's, with all its fields"),
    ("Layouts", "the runtime's; the facade's, which hides device and state"),
    ("Link", "to link; the facade's, which is about to; netlink's word for a device"),
    ("Linker", "the runtime's; the facade's, which begins a link"),
    ("Result", "with each crate's own error"),
    ("Source", "a file as it was read; what a universe has of it"),
    ("Status", "of what is attached; of a soft NIC"),
];

/// Whether a type of `file` can be named from outside: each module above is public, or gives the type out.
fn is_public(files: &BTreeMap<String, String>, file: &str, ty: &str) -> bool {
    if file == "lib" {
        return true;
    }
    let (parent, module) = file.rsplit_once("::").unwrap_or(("lib", file));
    let text = &files[parent];
    let statements = text.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next());
    let own = statements.filter(|statement| !statement.starts_with("xhint_"));
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let given = own.flat_map(|s| s.split(|c| !is_word(c))).any(|word| word == ty);
    (given || text.contains(&format!("pub mod {module};"))) && is_public(files, parent, ty)
}

/// By name, where the public types of libraries are defined: those of public modules, and what a crate's root gives out.
fn public_types() -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in allowed().into_keys().filter(|name| name != "xhint-cli") {
        let files = files(&root().join("crates").join(&name).join("src"));
        for (file, text) in &files {
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let types = code.lines().filter_map(|line| {
                let mut words = line.strip_prefix("pub ")?.split(|c: char| !c.is_alphanumeric() && c != '_');
                ["struct", "enum", "trait", "type"].contains(&words.next()?).then(|| words.next())?
            });
            for ty in types.filter(|ty| is_public(&files, file, ty)) {
                all.entry(ty.to_owned()).or_default().insert(format!("{name}::{file}"));
            }
        }
    }
    all
}

#[test]
fn a_name_means_one_type() {
    let all = public_types();
    assert!(all.len() > 200, "{}", all.len());
    let shared: Vec<_> = all.iter().filter(|(_, files)| files.len() > 1).collect();
    let unknown: Vec<_> = shared.iter().filter(|(name, _)| SHARED.iter().all(|(known, _)| known != name)).collect();
    assert!(unknown.is_empty(), "each of these means two things: {unknown:?}");
    let gone: Vec<_> = SHARED.iter().filter(|(known, _)| shared.iter().all(|(name, _)| name != known)).collect();
    assert!(gone.is_empty(), "strike these off: {gone:?}");
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
        let mut files = files(&folder.join("src"));
        files.extend(fs::read_to_string(folder.join("build.rs")).map(|text| ("build".to_owned(), text)));
        let out = files.into_iter().filter(|(_, text)| text.contains("../.."));
        wrong.extend(out.map(|(file, _)| format!("{name}: {file} reads what lies outside")));
    }
    assert!(published > 10, "{published}");
    assert_eq!(wrong, [""; 0]);
}

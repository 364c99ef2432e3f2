//! Programs of which it is known what they return in the kernel, and whether they are told to read metadata plainly.

#![allow(clippy::unwrap_used, dead_code)]

use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::fixture::{self, Compile, Variant};
use xhint_testkit::run::Loaded;

use super::{nic_of, universe};

/// What all begin with.
const HEAD: &str = "#include \"kernel.h\"
char LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";
__u64 sum;
";

/// An object of this C.
pub fn compile(c: &str) -> Vec<u8> {
    compile_by(fixture::clangs().last().unwrap(), c)
}

fn compile_by(clang: &'static str, c: &str) -> Vec<u8> {
    let source = fixture::keep("plain", "c", format!("{HEAD}{c}").as_bytes());
    std::fs::read(Compile::new(&source).variant(Variant { clang, cpu: "v3" }).object()).unwrap()
}

/// A program that has its metadata in `meta`, up to `data`.
pub fn program(structs: &str, body: &str) -> String {
    format!(
        "{structs}
         SEC(\"xdp\") int prog(struct xdp_md *ctx)
         {{
             void *meta = (void *)(long)ctx->data_meta, *data = (void *)(long)ctx->data;
             (void)data, (void)meta;
             {body}
             return XDP_PASS;
         }}"
    )
}

/// What a program reads, and whether it is told of and how.
pub struct Case {
    pub what: &'static str,
    pub nic: &'static str,
    /// In front of the program.
    pub before: &'static str,
    pub body: &'static str,
    /// What the program returns in the kernel, given `WORDS` as metadata.
    pub value: u64,
    pub told: Option<bool>,
}

/// The metadata of that.
const WORDS: [u32; 4] = [0xbad0, 0x600d, 0x77, 5];
/// The bounds of metadata are known, and that it is the layout's.
const CHECKED: &str = "struct nic_meta *m = meta; if (meta + 16 > data) return 2;
    if (__builtin_preserve_access_index(({ m->btf_id; })) != 5) return 3;\n";

/// What each program gives is what it is told of: wrong values are not given in silence, and right ones are not refused.
pub fn check(clangs: &[&'static str], cases: &[Case]) {
    let metadata: Vec<u8> = WORDS.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let mut wrong = Vec::new();
    for (clang, Case { what, nic, before, body, value, told }) in
        clangs.iter().flat_map(|clang| cases.iter().map(move |case| (*clang, case)))
    {
        let what = format!("{what}, {clang}");
        let body = body.replace("CHECKED", CHECKED);
        let object = Object::parse(compile_by(clang, &program(before, &body))).unwrap();
        let options =
            LinkOptions { dispatch: Dispatch::None, layouts: Some(vec!["rx".to_owned()]), ..LinkOptions::default() };
        let linked = object.link(&universe(&[("nic.c", nic_of(nic))]), &options).unwrap();
        let file = fixture::keep("plain", "o", &linked.bytes);
        let run = match Loaded::load(&file, None) {
            Ok(run) => run,
            Err(error) => {
                wrong.push(format!("{what}: {error}"));
                continue;
            }
        };
        let run = run.run("prog", &metadata, &[0; 64]).unwrap();
        let says: Vec<_> = linked.report.plain.iter().map(|p| (p.certain, p.to_string())).collect();
        if u64::from(run.returned) != *value || says.first().map(|(certain, _)| *certain) != *told || says.len() > 1 {
            wrong.push(format!("{what}: {:#x}, {says:?}", run.returned));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

//! Many layouts of one size, no two of which have their four fields in the same places.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use xhint_testkit::fixture;

/// Words of a layout, without the id at the end.
const WORDS: usize = 15;

/// Where the fields `a` to `d` of layout `n` stand, in words.
#[must_use]
pub fn places(n: usize) -> [usize; 4] {
    let mut free: Vec<usize> = (0..WORDS).collect();
    let mut rest = n;
    [0; 4].map(|_| {
        let place = free.remove(rest % free.len());
        rest /= free.len() + 1;
        place
    })
}

/// The id of layout `n`, as good as random.
#[must_use]
pub fn id(n: usize) -> u32 {
    (n as u32 + 1).wrapping_mul(0x9e37_79b1) | 1
}

/// The NIC BTF (in an object) of the first `count` layouts.
#[must_use]
pub fn nic(count: usize) -> Vec<u8> {
    nic_of(0..count)
}

/// The NIC BTF (in an object) of these layouts.
#[must_use]
pub fn nic_of(layouts: std::ops::Range<usize>) -> Vec<u8> {
    let mut text = "typedef unsigned int u32;\n#define tag(t) __attribute__((btf_decl_tag(t)))\n".to_owned();
    for n in layouts {
        let places = places(n);
        let field = |word: usize| match places.iter().position(|p| *p == word) {
            Some(f) => ["a", "b", "c", "d"][f].to_owned(),
            None => format!("w{word}"),
        };
        let fields: String = (0..WORDS).map(|w| format!(" u32 {};", field(w))).collect();
        let tags = format!("tag(\"xhint:layout\") tag(\"xhint:as=nic_meta\") tag(\"xhint:id={:#x}\")", id(n));
        writeln!(text, "struct layout{n} {{{fields} u32 btf_id; }} {tags};\nstruct layout{n} *keep{n};").unwrap();
    }
    let source = fixture::keep("bench-nic", "c", text.as_bytes());
    fs::read(fixture::Compile::new(&source).object()).unwrap()
}

/// The cases of a switch on the id of the first `count` layouts, for reader.bpf.c. Returns the directory of `switch.h`.
#[must_use]
pub fn switch(count: usize) -> PathBuf {
    let case = |n: usize| {
        let [a, b, c, d] = places(n);
        format!("case {:#x}: READ(meta, {a}, {b}, {c}, {d}); break;\n", id(n))
    };
    let text: String = (0..count).map(case).collect();
    let dir = fixture::keep("bench-switch", "h", text.as_bytes()).with_extension("d");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("switch.h"), text).unwrap();
    dir
}

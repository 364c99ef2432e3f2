//! Metadata that is read without CO-RE is not read in silence, and what is no such read is left alone.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use own::{nic_of, universe};
use xhint_link::{Link, LinkOptions, Object, Plain};
use xhint_testkit::fixture::{self, Compile};

const HEAD: &str = "#include \"kernel.h\"
char LICENSE[] SEC(\"license\") = \"Dual BSD/GPL\";
__u64 sum;
";

fn compile(c: &str) -> Vec<u8> {
    let source = fixture::keep("plain", "c", format!("{HEAD}{c}").as_bytes());
    std::fs::read(Compile::new(&source).object()).unwrap()
}

fn plain(object: Vec<u8>) -> Vec<Plain> {
    let nic = nic_of("struct rx { __u32 pad; __u32 hash; __u32 btf_id; } LAYOUT(5); struct rx *r;");
    let object = Object::parse(object).unwrap();
    let report = object.explain(&universe(&[("nic.c", nic)]), &LinkOptions::default()).report;
    for plain in &report.plain {
        assert!(report.warnings.contains(&plain.to_string()), "{:?}", report.warnings);
    }
    report.plain
}

/// Whether a struct is complained of, and if so whether it is certain.
fn certain(c: &str) -> Option<bool> {
    match plain(compile(c)).as_slice() {
        [] => None,
        [one] => {
            assert_eq!((one.name.as_str(), one.bare), ("nic_meta", !c.contains("bpf_core") && !c.contains("CORE")));
            assert!(one.layout.contains("rx 0x00000005 of nic.c"), "{}", one.layout);
            Some(one.certain)
        }
        more => panic!("{more:?}"),
    }
}

fn program(structs: &str, body: &str) -> String {
    format!(
        "{structs}
         SEC(\"xdp\") int prog(struct xdp_md *ctx)
         {{
             void *meta = (void *)(long)ctx->data_meta, *data = (void *)(long)ctx->data;
             (void)data;
             {body}
             return XDP_PASS;
         }}"
    )
}

const PLAIN: &str = "struct nic_meta { __u32 hash; __u32 btf_id; };";
const READ: &str = "struct nic_meta *m = meta; if ((void *)(m + 1) <= data) sum += m->hash;";

#[test]
fn a_plain_read_is_named_with_its_cure() {
    // A local variable, a cast, a parameter, a typedef, and with the length taken from the layout.
    assert_eq!(certain(&program(PLAIN, READ)), Some(true));
    let cast = "if (meta + 8 <= data) sum += ((struct nic_meta *)meta)->hash;";
    assert_eq!(certain(&program(PLAIN, cast)), Some(true));
    let with_parameter = format!("{PLAIN} __noinline __u32 hash(struct nic_meta *m) {{ return m ? m->hash : 0; }}");
    assert_eq!(certain(&program(&with_parameter, "if (meta + 8 <= data) sum += hash(meta);")), Some(true));
    let sized = "struct nic_meta *m = meta; if (meta + bpf_core_type_size(struct nic_meta) <= data) sum += m->hash;";
    assert_eq!(certain(&program(PLAIN, sized)), Some(true));
    let typedef = "typedef struct { __u32 hash; __u32 btf_id; } nic_meta;";
    assert_eq!(certain(&program(typedef, &READ.replace("struct nic_meta", "nic_meta"))), Some(true));
    let all = plain(compile(&program(PLAIN, READ)));
    let says = all[0].to_string();
    for part in ["struct nic_meta", "rx 0x00000005 of nic.c", "preserve_access_index", ".BTF.ext"] {
        assert!(says.contains(part), "{part}: {says}");
    }
}

#[test]
fn what_was_linked_before_is_told() {
    let read = program(&PLAIN.replace("};", "} CORE;"), READ);
    assert_eq!(certain(&read), None);
    let nic = nic_of("struct rx { __u32 pad; __u32 hash; __u32 btf_id; } LAYOUT(5); struct rx *r;");
    let linked = Object::parse(compile(&read)).unwrap();
    let linked = linked.link(&universe(&[("nic.c", nic)]), &LinkOptions::default()).unwrap();
    let all = plain(linked.bytes);
    assert!(matches!(all.as_slice(), [one] if one.certain && one.bare && one.name == "nic_meta"), "{all:?}");
}

#[test]
fn what_is_no_plain_read_of_metadata_is_left_alone() {
    // Not asked of, only declared, or of a name that no layout answers to.
    assert_eq!(certain(&program("struct nic_meta;", "struct nic_meta *m = meta; sum += !m;")), None);
    assert_eq!(certain(&program(&PLAIN.replace("nic_meta", "mine"), &READ.replace("nic_meta", "mine"))), None);
    // Metadata is not touched at all.
    let no_meta = "struct nic_meta here = { ctx->ingress_ifindex }; sum += here.hash; (void)meta; (void)data;";
    assert_eq!(certain(&program(PLAIN, no_meta)), None);
    // By CO-RE through a flavour, and a plain copy of ours in a map: what a reader in user space is given.
    let flavour = "struct nic_meta___core { __u32 hash; } CORE;";
    let read = READ.replace("struct nic_meta", "struct nic_meta___core");
    let kept = format!("{PLAIN} {flavour} struct nic_meta last;");
    assert_eq!(certain(&program(&kept, &format!("{read} last.hash = sum;"))), None);
}

#[test]
fn what_may_be_one_is_warned_of_and_no_more() {
    let flavour = "struct nic_meta___core { __u32 hash; } CORE;";
    let both = format!(
        "{} if (meta + 8 <= data) sum += ((struct nic_meta *)meta)->btf_id;",
        READ.replace("struct nic_meta", "struct nic_meta___core")
    );
    assert_eq!(certain(&program(&format!("{PLAIN} {flavour}"), &both)), Some(false));
    let kept = format!("{PLAIN} struct nic_meta last;");
    assert_eq!(certain(&program(&kept, "if (meta + 8 <= data) last.hash = *(__u32 *)meta;")), Some(false));
    let id = "if (meta + 4 <= data) sum += *(__u32 *)meta == bpf_core_type_id_kernel(struct nic_meta);";
    assert_eq!(certain(&program(PLAIN, id)), Some(false));
}

/// A way to read the hash, and whether it follows the layout.
struct Form {
    structs: &'static str,
    body: &'static str,
    follows: bool,
}

const ATTRIBUTE: &str = "struct nic_meta { __u32 hash; __u32 btf_id; } CORE;";
/// A struct with and one without the attribute, for one layout.
const BESIDE: &str = "struct nic_meta { __u32 hash; __u32 btf_id; }; struct nic_meta___core { __u32 hash; } CORE;";
const NESTED: &str = "struct nic_meta { union { struct { __u32 hash; } in; __u32 other; }; __u32 btf_id; };";
const FORMS: [Form; 9] = [
    Form { structs: ATTRIBUTE, body: "sum = m->hash;", follows: true },
    Form { structs: ATTRIBUTE, body: "sum = BPF_CORE_READ_BITFIELD(m, hash);", follows: true },
    Form { structs: ATTRIBUTE, body: "__u32 *p = &m->hash; asm volatile(\"\" : \"+r\"(p)); sum = *p;", follows: true },
    Form { structs: PLAIN, body: "if (bpf_core_field_exists(m->hash)) sum = m->hash;", follows: false },
    Form { structs: PLAIN, body: "if (bpf_core_field_size(m->hash) == 4) sum = m->hash;", follows: false },
    Form { structs: PLAIN, body: "if (bpf_core_type_exists(struct nic_meta)) sum = m->hash;", follows: false },
    Form {
        structs: PLAIN,
        body: "__u32 id = __builtin_preserve_access_index(m->btf_id); if (id == 5)\nsum = m->hash;",
        follows: false,
    },
    Form {
        structs: BESIDE,
        body: "struct nic_meta___core *c = meta; if (c->hash) if (bpf_core_field_exists(m->btf_id))\nsum = m->hash;",
        follows: false,
    },
    Form { structs: NESTED, body: "if (bpf_core_type_exists(struct nic_meta)) sum = m->in.hash;", follows: false },
];

/// The kernel says which programs read the wrong bytes: those are told, as certain, and no other.
#[test]
fn the_kernel_agrees_on_what_is_read_plainly() {
    if !xhint_testkit::privileged() {
        return;
    }
    let nic = nic_of("struct rx { __u32 pad; __u32 hash; __u32 btf_id; } LAYOUT(5); struct rx *r;");
    let universe = universe(&[("nic.c", nic)]);
    let metadata: Vec<u8> = [0xbad_u32, 0x600d, 5].iter().flat_map(|w| w.to_ne_bytes()).collect();
    for Form { structs, body, follows } in FORMS {
        let body = format!("struct nic_meta *m = meta; if (meta + 12 <= data) {{\n{body}\n}}");
        let object = Object::parse(compile(&program(structs, &body))).unwrap();
        let options = LinkOptions { dispatch: xhint_link::Dispatch::None, ..LinkOptions::default() };
        let linked = object.link(&universe, &options).unwrap();
        let file = fixture::keep("plain", "o", &linked.bytes);
        let loaded = xhint_testkit::run::Loaded::load(&file, None).unwrap();
        loaded.run("prog", &metadata, &[0; 64]).unwrap();
        let sum = u64::from_ne_bytes(loaded.global(".bss")[..8].try_into().unwrap());
        assert_eq!(sum, if follows { 0x600d } else { 0xbad }, "{body}");
        let told: Vec<_> = linked.report.plain.iter().map(|p| (p.name.as_str(), p.certain)).collect();
        assert_eq!(told, if follows { vec![] } else { vec![("nic_meta", true)] }, "{body}");
        for plain in &linked.report.plain {
            let read = plain.read.as_ref().unwrap();
            let words = plain.to_string();
            assert!(read.certain && read.member == "hash" && words.contains(".c:"), "{words}");
        }
    }
}

#[test]
fn what_is_read_by_hand_is_not_certain() {
    let with = |structs: &str, body: &str| certain(&program(structs, body));
    // The place of a member, by a program that knows of it: warned of. Another place: nothing.
    let core = "struct nic_meta___core *c = meta; if (meta + 12 <= data) sum += c->hash;";
    let kept = format!("{BESIDE} struct nic_meta last;");
    assert_eq!(with(&kept, &format!("{core}\nif (meta + 12 <= data) sum += *(__u32 *)(meta + 4);")), Some(false));
    assert_eq!(with(&kept, &format!("{core}\nif (meta + 12 <= data) sum += *(__u32 *)(meta + 8);")), None);
    // A struct of the program's own that has a member so called.
    let own = format!("{kept} struct own {{ __u32 hash; }};");
    let read = "if (meta + 12 <= data) sum += ((struct own *)meta)->hash;";
    assert_eq!(with(&own, &format!("{core}\n{read}")), Some(false));
    // Metadata that the program has put there itself.
    let moved = "if (bpf_xdp_adjust_meta(ctx, -8)) return XDP_DROP; meta = (void *)(long)ctx->data_meta; data = (void \
                 *)(long)ctx->data; struct nic_meta *m = meta; if (meta + 8 <= data)\nsum += m->hash;";
    assert_eq!(with(&kept, &format!("{core}\n{moved}")), None);
    // What no layout can come to.
    let absent = "struct nic_meta *m = meta; if (!bpf_core_type_exists(struct nic_meta)) if (meta + 12 <= data)\nsum += \
                  m->hash;";
    assert_eq!(with(&kept, &format!("{core}\n{absent}")), None);
}

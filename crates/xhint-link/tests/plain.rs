//! Metadata that is read without CO-RE is not read in silence, and what is no such read is left alone.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use own::case::{self, Case, compile, program};
use own::{nic_of, universe};
use xhint_link::{Link, LinkOptions, Object, Plain};
use xhint_testkit::fixture;

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
    if !xhint_testkit::may_load() {
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
            assert!(read.certain && read.member.as_deref() == Some("hash") && words.contains(".c:"), "{words}");
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

const NIC: &str = "struct rx { __u32 pad; __u32 hash; __u32 mark; __u32 btf_id; } LAYOUT(5); struct rx *r;";
const THREE: &str = "struct nic_meta { __u32 hash; __u32 mark; __u32 btf_id; };";
const WITH: &str = "struct nic_meta { __u32 hash; __u32 mark; __u32 btf_id; } CORE;";
const CASES: [Case; 22] = [
    Case {
        what: "array",
        nic: "struct rx { __u32 pad; __u32 v[2]; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: "struct nic_meta { __u32 v[2]; __u32 btf_id; };",
        body: "CHECKED return m->v[0];",
        value: 0xbad0,
        told: Some(true),
    },
    Case {
        what: "a byte of an array",
        nic: "struct rx { __u16 pad; __u8 mac[6]; __u32 x; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: "struct nic_meta { __u8 mac[6]; __u32 btf_id; };",
        body: "CHECKED return m->mac[0];",
        value: 0xd0,
        told: Some(true),
    },
    Case {
        what: "behind a call",
        nic: NIC,
        before: "struct nic_meta { __u32 hash; __u32 mark; __u32 btf_id; }; static __noinline int other(int x) { asm volatile(\"\" : \"+r\"(x)); return x * 2; }",
        body: "if (other(7) == 3) return 9; meta = (void *)(long)ctx->data_meta; data = (void *)(long)ctx->data;\nCHECKED return m->hash;",
        value: 0xbad0,
        told: Some(true),
    },
    Case {
        what: "behind adjust_head",
        nic: NIC,
        before: THREE,
        body: "if (bpf_xdp_adjust_head(ctx, 0)) return 9; meta = (void *)(long)ctx->data_meta; data = (void *)(long)ctx->data;\nCHECKED return m->hash;",
        value: 0xbad0,
        told: Some(true),
    },
    Case {
        what: "in a global function",
        nic: NIC,
        before: "struct nic_meta { __u32 hash; __u32 mark; __u32 btf_id; };\n__noinline int get(struct xdp_md *ctx) { void *meta = (void *)(long)ctx->data_meta, *data = (void *)(long)ctx->data; struct nic_meta *m = meta; if (meta + 16 > data) return 0;\n return m->hash; }",
        body: "CHECKED return get(ctx);",
        value: 0xbad0,
        told: Some(true),
    },
    Case {
        what: "in a callback",
        nic: NIC,
        before: "struct nic_meta { __u32 hash; __u32 mark; __u32 btf_id; }; struct w { struct xdp_md *ctx; __u32 v; };\nstatic long rd(__u32 i, struct w *w) { struct xdp_md *ctx = w->ctx; void *meta = (void *)(long)ctx->data_meta, *data = (void *)(long)ctx->data; struct nic_meta *m = meta; if (meta + 16 > data) return 1;\n w->v = m->hash; return 0; }",
        body: "CHECKED struct w w = { ctx, 0 }; bpf_loop(1, rd, &w, 0); return w.v;",
        value: 0xbad0,
        told: Some(true),
    },
    Case {
        what: "of metadata and of packets",
        nic: NIC,
        before: "struct nic_meta { __u32 hash; __u32 mark; __u32 btf_id; };\nstatic __noinline int rd(struct nic_meta *m) {\n return m->hash; }",
        body: "CHECKED if (data + 16 > (void *)(long)ctx->data_end) return 9; int a = rd(m), b = rd(data); return a + b;",
        value: 0xbad0,
        told: Some(true),
    },
    Case {
        what: "as a key",
        nic: NIC,
        before: "struct nic_meta { __u32 hash; __u32 mark; __u32 btf_id; }; struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 0x6100); __type(key, __u32); __type(value, __u32); } mp SEC(\".maps\");",
        body: "CHECKED return bpf_map_lookup_elem(&mp, &m->hash) ? 0x600d : 7;",
        value: 7,
        told: Some(true),
    },
    Case {
        what: "a store",
        nic: NIC,
        before: THREE,
        body: "CHECKED m->mark = 0x600d;\n return __builtin_preserve_access_index(({ m->mark; }));",
        value: 0x77,
        told: Some(false),
    },
    Case {
        what: "in a macro",
        nic: NIC,
        before: THREE,
        body: "CHECKED return __builtin_bswap32(m->hash);",
        value: 0xd0ba_0000,
        told: Some(true),
    },
    Case {
        what: "in a struct within",
        nic: "struct rx { __u32 pad; __u32 x; struct { __u32 dst; } v4; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: "struct v4 { __u32 dst; }; struct nic_meta { __u32 pad; struct v4 v4; __u32 btf_id; };",
        body: "CHECKED return m->v4.dst;",
        value: 0x600d,
        told: Some(true),
    },
    Case {
        what: "only asked whether it fits",
        nic: NIC,
        before: WITH,
        body: "struct nic_meta *m = meta; return bpf_core_field_exists(m->hash) ? 7 : 6;",
        value: 7,
        told: None,
    },
    Case {
        what: "packets by a struct of the name",
        nic: NIC,
        before: "struct nic_meta { __u32 hash; __u32 mark; }; struct ip { __u32 a, b, saddr; };",
        body: "struct ip *ip = data; if ((void *)(ip + 1) + 8 > (void *)(long)ctx->data_end) return 3; struct nic_meta *m = (void *)(ip + 1); return 1 + m->hash + ip->saddr;",
        value: 1,
        told: None,
    },
    Case {
        what: "packets by a struct of another layout's name",
        nic: "struct rx { __u32 pad; __u32 hash; __u32 mark; __u32 btf_id; } LAYOUT(5); struct rx *r; struct tunnel_hdr { __u32 a; __u32 vni; __u32 x; __u32 y; __u32 btf_id; } tag(\"xhint:layout\") tag(\"xhint:id=9\"); struct tunnel_hdr *t;",
        before: "struct nic_meta { __u32 hash; __u32 btf_id; } CORE; struct tunnel_hdr { __u32 vni; };",
        body: "struct nic_meta *c = meta; if (meta + 16 > data) return 3; if (c->btf_id != 5) return 4; struct tunnel_hdr *t = data; if (data + 4 > (void *)(long)ctx->data_end) return 2; return t->vni + c->hash;",
        value: 0x600d,
        told: None,
    },
    Case {
        what: "only its size",
        nic: NIC,
        before: PLAIN,
        body: "if (meta + bpf_core_type_size(struct nic_meta) > data) return 3; return bpf_core_type_size(struct nic_meta);",
        value: 16,
        told: None,
    },
    Case {
        what: "a local variable",
        nic: NIC,
        before: THREE,
        body: "struct nic_meta k = { 1, 2, 3 }; if (meta + 16 > data) return 3; asm volatile(\"\" :: \"r\"(&k) : \"memory\"); return k.hash;",
        value: 1,
        told: None,
    },
    Case {
        what: "by hand beside packets",
        nic: NIC,
        before: THREE,
        body: "if (meta + 16 > data) return 3; if (*(__u32 *)(meta + 12) != 5) return 4;\n struct nic_meta *m = data; if (data + 12 > (void *)(long)ctx->data_end) return 2; __u32 h = *(__u32 *)(meta + 4);\n return m->hash + h;",
        value: 0x600d,
        told: Some(false),
    },
    Case {
        what: "what the program wrote",
        nic: NIC,
        before: THREE,
        body: "CHECKED __u32 h = __builtin_preserve_access_index(({ m->hash; }));\n struct nic_meta *o = meta; o->hash = h; asm volatile(\"\" ::: \"memory\");\n return o->hash;",
        value: 0x600d,
        told: Some(false),
    },
    Case {
        what: "at offsets that are right",
        nic: "struct rx { __u32 hash; __u32 mark; __u32 x; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: THREE,
        body: "CHECKED return m->hash;",
        value: 0xbad0,
        told: Some(true),
    },
    Case {
        what: "a flavour beside",
        nic: NIC,
        before: "struct nic_meta { __u32 hash; __u32 mark; __u32 btf_id; }; struct nic_meta___c { __u32 hash; __u32 mark; __u32 btf_id; } CORE;",
        body: "struct nic_meta___c *c = meta; if (meta + 16 > data) return 8; if (c->btf_id != 5) return 4;\n struct nic_meta *m = meta;\n return m->hash;",
        value: 0xbad0,
        told: Some(false),
    },
    Case {
        what: "a copy",
        nic: NIC,
        before: THREE,
        body: "CHECKED struct nic_meta k = *m; asm volatile(\"\" :: \"r\"(&k) : \"memory\"); return k.hash;",
        value: 0xbad0,
        told: Some(false),
    },
    Case {
        what: "in a loop",
        nic: "struct rx { __u32 pad; struct { __u32 hash; __u32 mark; } e[1]; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: "struct e { __u32 hash; }; struct nic_meta { struct e e[3]; __u32 btf_id; };",
        body: "CHECKED __u32 s = 0;\n_Pragma(\"clang loop unroll(disable)\") for (int i = 0; i < 3; i++)\n s += m->e[i].hash;\n return s;",
        value: 0xbad0 + 0x600d + 0x77,
        told: Some(true),
    },
];

#[test]
fn wrong_values_are_told_of_and_right_ones_left_alone() {
    if xhint_testkit::may_load() {
        case::check(&fixture::clangs()[fixture::clangs().len() - 1..], &CASES);
    }
}

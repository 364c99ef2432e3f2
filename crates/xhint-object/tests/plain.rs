//! Metadata that is read without CO-RE is not read in silence, and what is no such read is left alone.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod own;

use own::{nic_of, universe};
use xhint_object::{LinkOptions, Object, Plain};
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

//! To libbpf, programs of two objects are the same when these are one.

use std::fs;

use bytes::Bytes;
use xhint_testkit::fixture::{self, Compile};
use xhint_testkit::{may_load, oracle};

use crate::{Error, Object};

/// What is joined to others: a function of its own, CO-RE, and a function of the kernel's.
const OTHER: &str = r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
struct net_device { int ifindex; unsigned mtu; } __attribute__((preserve_access_index));
extern void bpf_rcu_read_lock(void) __ksym __weak;
static __attribute__((noinline)) int added(struct net_device *device) { return device ? BPF_CORE_READ(device, mtu) : 7; }
SEC("xdp") int joined_program(struct xdp_md *ctx)
{
	if (bpf_core_field_exists(((struct net_device *)0)->ifindex) && &bpf_rcu_read_lock)
		return added((void *)(long)ctx->ingress_ifindex);
	return added(0);
}
char LICENSE[] SEC("license") = "GPL";
"#;

fn object(stem: &str, text: &str) -> Object {
    let path = Compile::new(&fixture::keep(stem, "bpf.c", text.as_bytes())).object();
    Object::parse(fs::read(path).unwrap()).unwrap()
}

#[test]
fn libbpf_sees_the_programs_of_both() {
    if !may_load() {
        return;
    }
    let base = fixture::corpus_path("vmlinux.btf");
    let other = object("joined", OTHER);
    let relocate = |bytes: &[u8]| oracle::relocate(&fixture::keep("join", "o", bytes), Some(&base));
    let alone = relocate(&other.image().write().unwrap()).unwrap();
    let mut seen = 0;
    for source in fixture::names("programs", ".bpf.c") {
        for variant in fixture::variants().into_iter().filter(|v| v.compiles_all_of(&source)) {
            let bytes: Bytes = fs::read(fixture::program(&source).variant(variant).object()).unwrap().into();
            let Ok(before) = relocate(&bytes) else { continue };
            let own = Object::parse(bytes).unwrap();
            let whole = own.join(&other).unwrap();
            let joined = relocate(&whole.image().write().unwrap()).unwrap_or_else(|e| panic!("{source}: {e:?}"));
            assert_eq!(joined.maps, before.maps, "{source}");
            let both = || before.programs.iter().chain(&alone.programs);
            assert_eq!(joined.programs.len(), both().count(), "{source}");
            for program in both() {
                let same = joined.programs.iter().find(|p| p.name == program.name).unwrap();
                assert_eq!(same, program, "{source}");
            }
            assert_eq!(whole.relos().len(), own.relos().len() + other.relos().len());
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen}");
}

#[test]
fn what_both_call_is_one_and_what_both_have_is_refused() {
    let other = object("joined", OTHER);
    let twice =
        other.join(&object("joined", &OTHER.replace("joined_program", "second").replace("added", "more"))).unwrap();
    let named = |name: &str| twice.image().symbols.iter().filter(|s| s.name == name && !s.gone).count();
    assert_eq!((named("bpf_rcu_read_lock"), named("joined_program"), named("second")), (1, 1, 1));
    let funcs = twice.btf().types().filter(|t| t.name() == "bpf_rcu_read_lock").count();
    assert_eq!(funcs, 1, "a second would be taken for a function of the object's own");
    assert!(matches!(other.join(&other), Err(Error::Joined { name }) if name == "joined_program" || name == "added"));
    let data = |name: &str| {
        let text = format!("{OTHER}\nint {name} SEC(\".data.mine\") = 5;\nint *{name}_at(void) {{ return &{name}; }}");
        object("joined", &text.replace("joined_program", &format!("{name}_p")).replace("added", &format!("{name}_f")))
    };
    let (one, two) = (data("one"), data("two"));
    assert!(matches!(one.join(&two), Err(Error::Joined { name }) if name == ".data.mine"));
    assert!(other.join(&one).unwrap().image().section_named(".data.mine").is_some());
}

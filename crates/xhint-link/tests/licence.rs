//! What linking adds to a program asks for no licence: the kernel takes programs that are not compatible with the GPL.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

mod own;

use own::{nic_of, universe};
use xhint_link::{Dispatch, Link, LinkOptions, Object};
use xhint_testkit::fixture::{self, Compile};
use xhint_testkit::may_load;
use xhint_testkit::run::Loaded;

const C: &str = "#include <xhint.h>
char LICENSE[] SEC(\"license\") = \"Proprietary\";
struct nic_meta { __u32 rx_hash; __u32 btf_id; } __attribute__((preserve_access_index));
__u64 sum;
SEC(\"xdp\") int prog(struct xdp_md *ctx)
{
    struct nic_meta *m = xhint_meta(ctx, struct nic_meta);
    if (xhint_fits(ctx, m) && xhint_is(m, struct nic_meta) && bpf_core_field_exists(m->rx_hash))
        sum += m->rx_hash;
#ifdef PRINT
    bpf_printk(\"%d\", sum);
#endif
    return XDP_PASS;
}";

fn loads(argument: Option<&str>, options: &LinkOptions) -> Result<(), String> {
    let source = fixture::keep("licence", "c", C.as_bytes());
    let compile = argument.iter().fold(Compile::new(&source), |c, a| c.argument(*a));
    let object = Object::parse(std::fs::read(compile.object()).unwrap()).unwrap();
    let nic = nic_of(
        "struct a { __u32 rx_hash; __u32 btf_id; } LAYOUT(5);
         struct b { __u32 mark; __u32 rx_hash; __u32 btf_id; } LAYOUT(6);
         struct a *a; struct b *b;",
    );
    let linked = object.link(&universe(&[("nic.c", nic)]), options).unwrap();
    Loaded::load(&fixture::keep("licence", "o", &linked.bytes), None).map(|_| ())
}

#[test]
fn a_program_of_any_licence_can_be_linked_in_every_way() {
    if !may_load() {
        return;
    }
    for dispatch in [Dispatch::Static, Dispatch::Tail, Dispatch::Table] {
        for count in [false, true] {
            let options = LinkOptions { dispatch, count, ..LinkOptions::default() };
            assert_eq!(loads(None, &options), Ok(()), "{dispatch:?}, count {count}");
        }
    }
    // The kernel did look.
    let refused = loads(Some("-DPRINT"), &LinkOptions { dispatch: Dispatch::Static, ..LinkOptions::default() });
    assert!(refused.unwrap_err().contains("GPL"));
}

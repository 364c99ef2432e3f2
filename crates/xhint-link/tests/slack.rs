//! Room for what the kernel adds: there is enough, nothing of it is left when the program runs, and what that does stays.

// A test that meets the unexpected fails by panicking.
#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

use xhint_link::{Error, with_slack};
use xhint_testkit::fixture::{self, Compile};
use xhint_testkit::may_load;
use xhint_testkit::run::Loaded;

/// Look-ups, divisions and loops, which the kernel makes longer: `PAD` decides where in a page the program ends.
const C: &str = r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "Dual BSD/GPL";
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, __u32); __type(value, __u64); } map SEC(".maps");
__u64 out;
#ifdef LOOPS
static int each(__u32 n, __u64 *sum) { *sum += n; return 0; }
#endif
SEC("xdp") int prog(struct xdp_md *ctx)
{
    volatile __u64 sum = 7;
#pragma unroll
    for (int i = 0; i < PAD; i++) sum += 0x12345678;
#pragma unroll
    for (int i = 0; i < LONGER; i++) {
        __u32 key = i & 3;
        __u64 *v = bpf_map_lookup_elem(&map, &key);
        if (v) sum += *v + sum / (ctx->rx_queue_index + 3);
    }
#ifdef LOOPS
    __u64 n = 0;
#pragma unroll
    for (int i = 0; i < LOOPS; i++) bpf_loop(10, each, &n, 0);
    sum += n;
#endif
    out = sum;
    return XDP_PASS;
}
SEC("xdp") int other(struct xdp_md *ctx) { return XDP_DROP; }
"#;

fn compiled(pad: u32, longer: u32, loops: Option<u32>) -> Vec<u8> {
    let source = fixture::keep("slack", "c", C.as_bytes());
    let mut compile = Compile::new(&source).argument(format!("-DPAD={pad}")).argument(format!("-DLONGER={longer}"));
    if let Some(loops) = loops {
        compile = compile.argument(format!("-DLOOPS={loops}"));
    }
    std::fs::read(compile.object()).unwrap()
}

fn load(object: &[u8]) -> Loaded {
    Loaded::load(&fixture::keep("slack", "o", object), None).unwrap()
}

/// What it left in `out`.
fn ran(loaded: &Loaded) -> Vec<u8> {
    assert_eq!(loaded.run("prog", &[], &[0; 64]).unwrap().returned, 2);
    assert_eq!(loaded.run("other", &[], &[0; 64]).unwrap().returned, 1);
    loaded.global(".bss")
}

#[test]
fn the_kernel_adds_no_more_than_there_is_room_for() {
    if !may_load() {
        return;
    }
    let mut outgrew = 0;
    for (pad, longer, loops) in [(1, 1, None), (40, 30, None), (75, 25, None), (1, 60, None), (30, 20, Some(17))] {
        let plain = compiled(pad, longer, loops);
        let before = load(&plain);
        let (given, made) = before.lengths("prog");
        outgrew += usize::from(made > given);
        for apart in [false, true] {
            let after = load(&with_slack(plain.clone(), apart).unwrap());
            let (room, left) = after.lengths("prog");
            let what = format!("{pad} {longer} {loops:?} apart {apart}: {given} made {made}, {room} made {left}");
            assert!(room > given && left <= room, "{what}");
            // What is left of it: `r0 = 0`, and the call and exit of an entry.
            assert!(left <= made + 4, "{what}");
            assert_eq!(ran(&after), ran(&before), "{what}");
        }
    }
    assert!(outgrew >= 4, "{outgrew}");
}

#[test]
fn more_loops_than_there_is_room_for_are_refused() {
    let refused = with_slack(compiled(1, 1, Some(18)), false).unwrap_err();
    assert!(matches!(refused, Error::Loops { loops: 18, most: 17, .. }), "{refused}");
}

#[test]
fn what_is_not_linked_is_refused() {
    let object = std::fs::read(fixture::example("hints.bpf.c").object()).unwrap();
    assert!(matches!(with_slack(object, false), Err(Error::Unlinked)));
}

//! `include/xhint.h` as real compilers compile it and the kernel's verifier takes it, with libbpf's own CO-RE, so that
//! nothing of xhint is between.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod common;

use std::fs;

use caps::Capability::{CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON};
use common::{example, nic, with_only};
use xhint_testkit::fixture::{Compile, Variant, clangs, keep};
use xhint_testkit::flat::{Nic, merge};
use xhint_testkit::run::{Loaded, room};
use xhint_testkit::{privileged, skipped};

const PACKET: [u8; 64] = [0x02; 64];

/// The smallest program with the header: 2 if the packet carries the layout, else 1 (XDP_DROP).
const PROBE: &str = r#"
#include <xhint.h>
struct beta_rx_completion {
	__u32 rx_hash;
	__u32 btf_id;
} __attribute__((preserve_access_index));
SEC("xdp") int probe(struct xdp_md *ctx)
{
	struct beta_rx_completion *m = xhint_meta(ctx, struct beta_rx_completion);

	if (!xhint_fits(ctx, m) || !xhint_is(m, struct beta_rx_completion))
		return XDP_DROP;
	return m->rx_hash == 7 ? XDP_PASS : XDP_TX;
}
char LICENSE[] SEC("license") = "Dual BSD/GPL";
"#;

fn probe(clang: &'static str) -> Compile {
    let source = keep("probe", "bpf.c", PROBE.as_bytes());
    Compile::new(&source).variant(Variant { clang, cpu: "v3" })
}

#[test]
fn length_and_id_are_tested() {
    if !privileged() {
        return;
    }
    if room() < 44 {
        return skipped("this kernel lets no packet with so much metadata through");
    }
    let btf = keep("beta-alone", "btf", &nic("beta"));
    // Under libbpf the target's type id is what stands for the layout's: found by trying.
    for clang in clangs() {
        let object = probe(clang).object();
        with_only(&[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON], || {
            let loaded = Loaded::load(&object, Some(&btf)).unwrap();
            let run = |meta: &[u8]| loaded.run("probe", meta, &PACKET).unwrap().returned;
            let mut meta = [0u8; 40];
            meta[4] = 7;
            let passed: Vec<u8> = (0..100).filter(|id| run(&with_id(meta, *id)) == 2).collect();
            assert_eq!(passed.len(), 1, "{clang}: one id, and no other: {passed:?}");
            let good = with_id(meta, passed[0]);
            assert_eq!(run(&good[..36]), 1, "{clang}: shorter");
            assert_eq!(run(&[&good[..], &[0; 4]].concat()), 1, "{clang}: longer");
            assert_eq!(run(&[&[0; 4], &good[..]].concat()), 1, "{clang}: longer in front");
            assert_eq!(run(&[]), 1, "{clang}: none");
        });
    }
}

fn with_id(mut meta: [u8; 40], id: u8) -> [u8; 40] {
    meta[36] = id;
    meta
}

#[test]
fn the_example_loads_for_every_nic() {
    if !privileged() {
        return;
    }
    let base = fs::read("/sys/kernel/btf/vmlinux").unwrap();
    for name in ["alpha_fw1", "alpha_fw2", "beta"] {
        let flat = keep(name, "flat.btf", &merge(&base, &[Nic::Standalone(&nic(name))]));
        for clang in clangs() {
            let object = example("hints.bpf.c").variant(Variant { clang, cpu: "v3" }).object();
            let load = || Loaded::load(&object, Some(&flat)).map(|_| ());
            assert_eq!(with_only(&[CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON], load), Ok(()), "{name}, {clang}");
        }
    }
}

//! A program that reads two fields, and as many layouts for it as one likes.
#![allow(dead_code)]

use xhint_btf::{Builder, ByteOrder, Def, Member};
use xhint_link::Dispatch;
use xhint_runtime::attach::attach;
use xhint_runtime::{Device, Home, LinkedAs, Mode, Source};
use xhint_testkit::fixture::{Compile, keep};

use super::nic::linker;

const PROGRAM: &str = r#"
#include "kernel.h"
struct nic_meta { __u32 hash; __u32 btf_id; } CORE;
__u64 sum;
SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct nic_meta *m = (void *)(long)ctx->data_meta;

	if (!bpf_core_field_exists(m->hash) || (void *)m + bpf_core_type_size(struct nic_meta) > (void *)(long)ctx->data)
		return XDP_PASS;
	sum += m->hash;
	return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"#;

/// `struct layout { u32 fN; u32 hash; u32 btf_id; }`: another layout, with another id, for each N; all files are of one
/// length.
pub fn nic(n: u32) -> Source {
    nic_with(n, &[])
}

/// The same with these tags beside the usual.
pub fn nic_with(n: u32, tags: &[&str]) -> Source {
    let mut w = Builder::new(ByteOrder::NATIVE);
    layout(&mut w, "layout", n, tags);
    Source::new(format!("nic{n:04}.btf"), w.finish())
}

/// Two layouts in one file, called `layoutN`.
pub fn both(first: u32, second: u32) -> Source {
    let mut w = Builder::new(ByteOrder::NATIVE);
    for n in [first, second] {
        layout(&mut w, &format!("layout{n:04}"), n, &[]);
    }
    Source::new("both.btf", w.finish())
}

fn layout(w: &mut Builder, name: &str, n: u32, tags: &[&str]) {
    let u32 = w.add(&Def::unsigned("u32", 4)).unwrap();
    let own = format!("f{n:04}");
    let members = [Member::new(&own, u32, 0), Member::new("hash", u32, 32), Member::new("btf_id", u32, 64)];
    let ty = w.add(&Def::structure(name, 12, &members)).unwrap();
    for text in ["xhint:layout", "xhint:as=nic_meta"].iter().chain(tags) {
        w.add(&Def::tag(text, ty)).unwrap();
    }
}

pub fn attach_one(home: &Home, device: &Device) {
    attach_as(home, device, Dispatch::Tail);
}

pub fn attach_as(home: &Home, device: &Device, asked: Dispatch) {
    let program = Source::read(Compile::new(&keep("grows", "bpf.c", PROGRAM.as_bytes())).object()).unwrap();
    let options = LinkedAs { asked, ..LinkedAs::default() };
    attach(home, device, &linker().link(program, vec![nic(0)], options, Mode::Native).unwrap()).unwrap();
}

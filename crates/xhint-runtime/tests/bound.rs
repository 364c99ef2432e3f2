//! Fields that are bound stay so for whatever layouts come while the program runs.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::World;
use common::nic::linker;
use xhint_link::{Dispatch, FieldBind, FieldName};
use xhint_runtime::attach::{attach, running};
use xhint_runtime::layouts::Layouts;
use xhint_runtime::{Device, LinkedAs, Mode, Source};
use xhint_testkit::fixture::{Compile, keep};
use xhint_testkit::privileged;

const PROGRAM: &str = r#"
#include "kernel.h"
struct nic_meta { __u32 hash; __u32 btf_id; } CORE;
__u64 sum;
SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct nic_meta *m = (void *)(long)ctx->data_meta;

	if (bpf_core_field_exists(m->hash) && (void *)m + bpf_core_type_size(struct nic_meta) <= (void *)(long)ctx->data)
		sum += m->hash;
	return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"#;

/// A layout with the hash in this field.
fn nic(name: &str, field: &str) -> Source {
    let source = format!(
        "#include \"kernel.h\"\n#define tag(t) __attribute__((btf_decl_tag(t)))\n
         struct {name} {{ __u32 pad; struct {{ __u32 {field}; }} in; __u32 btf_id; }} tag(\"xhint:as=nic_meta\");
         struct {name} *keep;"
    );
    let object = Compile::new(&keep(name, "c", source.as_bytes())).object();
    Source::new(format!("{name}.btf"), std::fs::read(object).unwrap())
}

#[test]
fn a_field_stays_bound_for_layouts_that_come_later() {
    if !privileged() {
        return;
    }
    let name = |text| FieldName::read(text).unwrap();
    let bound = vec![FieldBind { local: name("nic_meta.hash"), target: name("late.in.value") }];
    let object = Source::read(Compile::new(&keep("bound", "bpf.c", PROGRAM.as_bytes())).object()).unwrap();
    for asked in [Dispatch::Static, Dispatch::Tail] {
        let world = World::new();
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        let options = LinkedAs { asked, bind_fields: bound.clone(), ..LinkedAs::default() };
        let job = linker().link(object.clone(), vec![nic("first", "hash")], options, Mode::Native).unwrap();
        let says = "no layout is called 'late', so binding 'nic_meta.hash' to 'late.in.value' does nothing";
        assert!(job.warnings.iter().any(|warning| warning == says), "{:?}", job.warnings);
        attach(home, device, &job).unwrap();
        let kept = || running(home, device).unwrap().unwrap().options.bind_fields;
        assert_eq!(kept(), bound);
        let layouts = Layouts::of(home, device);
        let refused = layouts.add(linker(), nic("late", "valeu")).unwrap_err();
        let cause = std::error::Error::source(&refused).map(ToString::to_string);
        let says = "has no field 'in.value'; the nearest are in.valeu, ";
        assert!(format!("{refused} {cause:?}").contains(says), "{asked}: {refused} {cause:?}");
        let added = layouts.add(linker(), nic("late", "value")).unwrap();
        assert_eq!(added.layouts.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["late"], "{asked}");
        assert_eq!(kept(), bound);
    }
}

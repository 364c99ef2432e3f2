//! Layouts that several files have, ids that would mean two things, and packets that could be of two layouts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::sync::Arc;

use common::nic::linker;
use common::{World, with_only};
use xhint_btf::Btf;
use xhint_runtime::attach::{Job, attach, running};
use xhint_runtime::layouts::Layouts;
use xhint_runtime::{Device, Error, LinkedAs, Linker, Mode, Source};
use xhint_testkit::fixture::{Compile, corpus, keep};
use xhint_testkit::privileged;

const PROGRAM: &str = r#"
#include "kernel.h"
struct nic_meta { __u32 hash; struct nic_meta *next; __u32 btf_id; } CORE;
__u64 sum;
SEC("xdp") int prog(struct xdp_md *ctx)
{
	struct nic_meta *m = (void *)(long)ctx->data_meta;

	if (!bpf_core_field_exists(m->hash) || (void *)m + bpf_core_type_size(struct nic_meta) > (void *)(long)ctx->data)
		return XDP_PASS;
	sum += m->hash;
	if (bpf_core_field_exists(m->next))
		sum += BPF_CORE_READ(m, next, hash);
#ifdef RING
	sum += bpf_core_type_size(struct rx_ring);
#endif
	return XDP_PASS;
}
char LICENSE[] SEC("license") = "GPL";
"#;

fn program(arguments: &[&str]) -> Source {
    let ring = "struct rx_ring { __u32 queue; } CORE;\n";
    let source = PROGRAM.replace("__u64 sum;", &format!("{ring}__u64 sum;"));
    let compile = Compile::new(&keep("prog", "bpf.c", source.as_bytes()));
    Source::read(arguments.iter().fold(compile, |c, a| c.argument(*a)).object()).unwrap()
}

/// A NIC BTF called so, with these types; `L` makes a layout, `ID(n)` declares its id, `SEL` its selector.
fn nic(name: &str, c: &str) -> Source {
    let head = "#include \"kernel.h\"\n#define tag(t) __attribute__((btf_decl_tag(t)))\n#define L tag(\"xhint:layout\") \
                tag(\"xhint:as=nic_meta\")\n#define ID(n) tag(\"xhint:id=\" #n)\n#define SEL tag(\"xhint:selector\")\n";
    let object = Compile::new(&keep(name, "c", format!("{head}{c}").as_bytes())).object();
    Source::new(format!("{name}.btf"), std::fs::read(object).unwrap())
}

const SHARED: &str = "struct shared { __u32 hash; __u32 btf_id; } L; struct shared *s;\n";

fn firmware(n: u32) -> Source {
    nic(
        &format!("fw{n}"),
        &format!("{SHARED}struct own{n} {{ __u32 pad[{n}]; __u32 hash; __u32 btf_id; }} L; struct own{n} *o;"),
    )
}

fn job(nics: &[Source], asked: &str) -> Result<Job, Error> {
    let options = LinkedAs { asked: asked.to_owned(), count: true, ..LinkedAs::default() };
    linker().link(program(&[]), nics.to_vec(), options, Mode::Native)
}

fn names(home: &xhint_runtime::Home, device: &Device) -> Vec<String> {
    let mut names: Vec<_> = Layouts::of(home, device).list().unwrap().into_iter().map(|l| l.layout.name).collect();
    names.sort();
    names
}

#[test]
fn files_that_share_a_layout_are_linked_added_and_removed() {
    if !privileged() {
        return;
    }
    for asked in ["static", "tail"] {
        let world = World::new();
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        assert_eq!(job(&[firmware(1), firmware(2)], asked).unwrap().state.layouts.len(), 3);
        attach(home, device, &job(&[firmware(1)], asked).unwrap()).unwrap();
        let layouts = Layouts::of(home, device);
        let added = layouts.add(linker(), firmware(2)).unwrap();
        assert_eq!(added.layouts.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["own2"], "{asked}");
        assert_eq!(added.swap.is_none(), asked == "tail");
        // The old firmware goes; what the new one has, too, stays.
        let removed = layouts.remove(linker(), "fw1.btf").unwrap();
        assert_eq!(removed.layouts.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["own1"], "{asked}");
        assert_eq!(names(home, device), ["own2", "shared"]);
        assert_eq!(running(home, device).unwrap().unwrap().nics.len(), 1);
        // A file with nothing new is no fault, but for the same one again.
        let nothing = layouts.add(linker(), nic("other", SHARED)).unwrap();
        assert!(nothing.layouts.is_empty() && nothing.swap.is_none());
        assert!(matches!(layouts.add(linker(), firmware(2)), Err(Error::LayoutThere { .. })));
        layouts.remove(linker(), "fw2.btf").unwrap();
        assert_eq!(names(home, device), ["shared"]);
        layouts.add(linker(), firmware(1)).unwrap();
        assert_eq!(names(home, device), ["own1", "shared"]);
    }
}

#[test]
fn an_id_never_changes_its_meaning_under_packets() {
    if !privileged() {
        return;
    }
    let one = nic("one", "struct one { __u32 hash; __u32 btf_id; } L ID(5); struct one *o;");
    let two = nic("two", "struct two { __u32 pad; __u32 hash; __u32 btf_id; } L ID(5); struct two *t;");
    let says = |error: Error| {
        let text = error.to_string();
        for part in ["'one'", "one.btf", "'two'", "two.btf", "0x5"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    says(job(&[one.clone(), two.clone()], "static").unwrap_err());
    for asked in ["none", "static", "tail"] {
        let world = World::new();
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        attach(home, device, &job(std::slice::from_ref(&one), asked).unwrap()).unwrap();
        says(Layouts::of(home, device).add(linker(), two.clone()).unwrap_err());
        let before = running(home, device).unwrap();
        let link = |nic: &Source| {
            linker().link_after(before.as_ref(), program(&[]), vec![nic.clone()], LinkedAs::default(), Mode::Native)
        };
        let error = link(&two).unwrap_err();
        assert!(matches!(error, Error::IdTaken { id: 5, .. }), "{error}");
        says(error);
        link(&one).unwrap();
    }
}

#[test]
fn a_layout_that_packets_of_another_can_pass_for_is_not_added() {
    if !privileged() {
        return;
    }
    let back = nic("back", "struct back { __u64 more; __u32 hash; __u32 btf_id; } L; struct back *b;");
    let front =
        nic("front", "struct front { __u16 kind SEL; __u16 p; __u32 hash; __u64 more; } L ID(0x55); struct front *f;");
    // Of a length that no layout has yet: the running entry does not look there, so that it takes a swap.
    let elsewhere = nic(
        "else",
        "struct elsewhere { __u16 kind SEL; __u16 p; __u32 hash; __u32 more[4]; } L ID(0x56); struct elsewhere *e;",
    );
    let usual = nic("usual", "struct usual { __u32 hash; __u32 more[6]; __u32 btf_id; } L; struct usual *u;");
    for asked in ["static", "tail"] {
        let world = World::new();
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        attach(home, device, &job(std::slice::from_ref(&back), asked).unwrap()).unwrap();
        let layouts = Layouts::of(home, device);
        let says = layouts.add(linker(), front.clone()).unwrap_err().to_string();
        assert!(says.contains("front 0x00000055 of front.btf") && says.contains("back 0x"), "{asked}: {says}");
        assert_eq!(names(home, device), ["back"]);
        assert_eq!(layouts.add(linker(), usual.clone()).unwrap().swap.is_none(), asked == "tail");
        assert!(layouts.add(linker(), elsewhere.clone()).unwrap().swap.is_some(), "{asked}");
        assert_eq!(names(home, device), ["back", "elsewhere", "usual"]);
        // Which is tried first is remembered.
        let first = LinkedAs { asked: asked.to_owned(), first: vec!["back".to_owned()], ..LinkedAs::default() };
        let job = linker().link(program(&[]), vec![back.clone()], first, Mode::Native).unwrap();
        attach(home, device, &job).unwrap();
        assert!(layouts.add(linker(), front.clone()).unwrap().swap.is_some());
        assert_eq!(names(home, device), ["back", "front"]);
    }
}

#[test]
fn a_program_that_reads_metadata_without_core_is_not_attached() {
    let text = PROGRAM.replace("CORE;", ";").replace("if (bpf_core_field_exists(m->next))", "if (0)");
    let text = text.replace("!bpf_core_field_exists(m->hash) ||", "");
    let plain = Source::read(Compile::new(&keep("plain", "bpf.c", text.as_bytes())).object()).unwrap();
    let options = LinkedAs::default;
    let refused = linker().link(plain.clone(), vec![firmware(1)], options(), Mode::Native).unwrap_err().to_string();
    assert!(refused.contains("struct nic_meta") && refused.contains("preserve_access_index"), "{refused}");
    // For another loader it is linked, and that is said.
    let linked = linker().link_only(plain, vec![firmware(1)], options()).unwrap();
    assert!(linked.warnings.iter().any(|w| w.contains("struct nic_meta") && w.contains("preserve_access_index")));
}

#[test]
fn a_linked_object_does_not_depend_on_who_links() {
    if !privileged() {
        return;
    }
    // On a base that is the same everywhere, with a pointer in the layout, which only some may follow.
    let base = Arc::new(Btf::parse(corpus("vmlinux.btf")).unwrap());
    let linker = Linker::on(base);
    let own = "struct walks { struct nic_meta *next; __u32 hash; __u32 btf_id; } L; struct walks *w;";
    let nics = vec![nic("walks", own), firmware(3)];
    for asked in ["auto", "static", "tail", "table"] {
        let link = |walk| {
            let options = LinkedAs { asked: asked.to_owned(), walk, ..LinkedAs::default() };
            linker
                .link_only(program(&[]), nics.clone(), options)
                .map(|job| (job.linked, job.state.layouts, job.warnings))
        };
        let as_root = link(true).unwrap();
        assert!(as_root == with_only(&[], || link(true)).unwrap(), "{asked}");
        if asked != "table" {
            let without = link(false).unwrap();
            assert!(without == with_only(&[], || link(false)).unwrap(), "{asked}");
            assert_ne!(without.0, as_root.0, "{asked}: the option is heeded");
        }
    }
}

#[test]
fn causes_go_to_the_last_word() {
    let driver = |n: u32, pad: u32| {
        nic(&format!("driver{n}"), &format!("struct rx_ring {{ __u32 pad[{pad}]; __u32 queue; }}; struct rx_ring *r;"))
    };
    let nics = vec![firmware(1), driver(1, 1), driver(2, 2)];
    let says = |result: Result<Job, Error>| {
        let text = result.unwrap_err().to_string();
        for part in ["rx_ring is ambiguous", "driver1.btf gives 8", "driver2.btf gives 12", "prog", "CO-RE relocation"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    let object = || program(&["-DRING"]);
    for asked in ["auto", "static", "tail", "table"] {
        let options = || LinkedAs { asked: asked.to_owned(), ..LinkedAs::default() };
        says(linker().link(object(), nics.clone(), options(), Mode::Native));
        says(linker().link_only(object(), nics.clone(), options()));
    }
    // A file at fault is named once, and what is wrong with it told.
    let mut broken = firmware(1).bytes;
    let at = broken.windows(2).position(|w| w == [0x9f, 0xeb]).unwrap();
    broken[at + 8] = 0xff;
    let text = linker().universe(&[Source::new("broken.o", broken)]).unwrap_err().to_string();
    assert!(text.starts_with("broken.o: .BTF: ") && text.matches("broken.o").count() == 1, "{text}");
    let tagged = nic("odd", "struct odd { __u32 x; } tag(\"xhint:layuot\"); struct odd *o;");
    let text = linker().universe(&[tagged]).unwrap_err().to_string();
    assert!(text.contains("layuot") && text.matches("odd.btf").count() == 1, "{text}");
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    let options = LinkedAs { asked: "static".to_owned(), ..LinkedAs::default() };
    let job = linker().link(object(), vec![firmware(1), driver(1, 1)], options, Mode::Native).unwrap();
    attach(home, device, &job).unwrap();
    let more = "struct more { __u32 hash; __u32 p[3]; __u32 btf_id; } L; struct more *m;";
    let two = nic("driver2", &format!("struct rx_ring {{ __u32 pad[2]; __u32 queue; }}; struct rx_ring *r; {more}"));
    let error = Layouts::of(home, device).add(linker(), two).unwrap_err().to_string();
    assert!(error.contains("rx_ring is ambiguous") && error.contains("driver2.btf gives 12"), "{error}");
}

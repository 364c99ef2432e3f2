//! Layouts that several files have, ids that would mean two things, and packets that could be of two layouts.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::arithmetic_side_effects)]

mod common;

use std::sync::Arc;

use common::nic::linker;
use common::{World, sh, with_only};
use libbpf_rs::{MapCore, MapFlags};
use xhint_btf::Btf;
use xhint_link::Dispatch;
use xhint_link::counts::COUNT_SIZE;
use xhint_runtime::Job;
use xhint_runtime::attach::{attach, running};
use xhint_runtime::detach::detach;
use xhint_runtime::follow::{EventKind, Follow};
use xhint_runtime::layouts::{Layouts, Which};
use xhint_runtime::read_nics;
use xhint_runtime::status::status;
use xhint_runtime::{Device, Error, LinkedAs, Linker, Mode, Source, State};
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
    let options = LinkedAs { asked: Dispatch::named(asked).unwrap(), count: true, ..LinkedAs::default() };
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
        // A file with nothing new is no fault, the same one again neither.
        let nothing = layouts.add(linker(), nic("other", SHARED)).unwrap();
        assert!(nothing.layouts.is_empty() && nothing.swap.is_none());
        let again = layouts.add(linker(), firmware(2)).unwrap();
        assert!(again.layouts.is_empty() && again.swap.is_none());
        assert_eq!(running(home, device).unwrap().unwrap().nics.len(), 2, "the same again is not noted again");
        layouts.remove(linker(), "fw2.btf").unwrap();
        assert_eq!(names(home, device), ["shared"]);
        layouts.add(linker(), firmware(1)).unwrap();
        assert_eq!(names(home, device), ["own1", "shared"]);
    }
}

#[test]
fn a_layout_is_removed_by_any_name_that_means_it_alone() {
    if !privileged() {
        return;
    }
    let alias = |n: u32| {
        let own =
            format!("struct same {{ __u32 pad[{n}]; __u32 hash; __u32 btf_id; }} L ID({n}) tag(\"xhint:as=v{n}\");");
        nic(&format!("same{n}"), &format!("{own} struct same *o;"))
    };
    for asked in ["static", "tail"] {
        let world = World::new();
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        attach(home, device, &job(&[alias(1), alias(2)], asked).unwrap()).unwrap();
        let layouts = Layouts::of(home, device);
        layouts.add(linker(), alias(3)).unwrap();
        for name in ["same", "nic_meta"] {
            let error = layouts.remove(linker(), name).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::ManyLayouts { .. }), "{text}");
            assert!(["0x00000001", "0x00000002", "0x00000003"].iter().all(|id| text.contains(id)), "{text}");
        }
        assert_eq!(layouts.remove(linker(), "v2").unwrap().layouts[0].id, 2, "{asked}");
        assert_eq!(layouts.remove(linker(), "0x3").unwrap().layouts[0].id, 3, "{asked}");
        assert!(matches!(layouts.remove(linker(), "v2"), Err(Error::NoSuchLayout { .. })));
        // A file goes whose layouts another has, too: nothing that runs changes.
        let program = running(home, device).unwrap();
        let copy = Source::new("copy.btf", alias(1).bytes().unwrap().to_vec());
        layouts.add(linker(), copy).unwrap();
        let gone = layouts.remove(linker(), "same1.btf").unwrap();
        assert!(gone.layouts.is_empty() && gone.swap.is_none(), "{asked}");
        let left = running(home, device).unwrap().unwrap();
        assert_eq!((left.nics.len(), left.nics[0].path.to_str()), (1, Some("copy.btf")), "{asked}");
        assert_eq!(left.since, program.unwrap().since);
    }
}

#[test]
fn what_is_to_come_is_named_and_what_is_tried_first() {
    if !privileged() {
        return;
    }
    let back = nic("back", "struct back { __u64 more; __u32 hash; __u32 btf_id; } L; struct back *b;");
    let front =
        nic("front", "struct front { __u16 kind SEL; __u16 p; __u32 hash; __u64 more; } L ID(0x55); struct front *f;");
    let bare = "struct nic_meta { __u32 p[4]; __u32 hash; __u32 btf_id; }; struct nic_meta *b;";
    let two =
        nic("two", &format!("{SHARED} struct other {{ __u32 p[3]; __u32 hash; __u32 btf_id; }} L; struct other *o;"));
    for asked in ["static", "tail"] {
        let world = World::new();
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        attach(home, device, &job(std::slice::from_ref(&back), asked).unwrap()).unwrap();
        let layouts = Layouts::of(home, device);
        let add = |nic: &Source, layouts_: &[&str], first: &[&str]| {
            let of = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
            layouts.add_some(linker(), nic.clone(), &Which { layouts: of(layouts_), first: of(first) })
        };
        let says = add(&two, &["nobody"], &[]).unwrap_err().to_string();
        assert!(says.contains("two.btf") && says.contains("'nobody'") && says.contains("shared"), "{says}");
        add(&two, &["shared"], &[]).unwrap();
        assert_eq!(names(home, device), ["back", "shared"], "{asked}");
        // A struct that no tag makes a layout, and that stays one when all is linked anew.
        let untagged = nic("bare", bare);
        assert!(matches!(add(&untagged, &[], &[]), Err(Error::NoLayout { .. })));
        add(&untagged, &["nic_meta"], &[]).unwrap();
        assert!(add(&front, &[], &[]).unwrap_err().to_string().contains("front 0x00000055"));
        assert!(add(&front, &[], &["back"]).unwrap().swap.is_some());
        assert_eq!(names(home, device), ["back", "front", "nic_meta", "shared"], "{asked}");
        let state = running(home, device).unwrap().unwrap();
        assert_eq!(state.options.first, ["back"]);
        // However it is called: it is there, and nothing is to be done.
        let id = state.layouts.iter().find(|l| l.name == "shared").unwrap().id;
        for called in [format!("{id}"), format!("{id:#x}"), format!("0X{id:08X}")] {
            assert!(add(&two, &[&called], &[]).unwrap().layouts.is_empty(), "{asked} {called}");
            assert!(add(&two, &[], &[&called]).is_ok(), "{asked} {called}");
        }
        assert!(add(&two, &["1234567"], &[]).unwrap_err().to_string().contains("'1234567'"));
        assert!(
            !running(home, device)
                .unwrap()
                .unwrap()
                .options
                .named
                .iter()
                .any(|name| name.starts_with(char::is_numeric))
        );
    }
}

/// What is known of the files that are there stands for them: the answer is the one that they would give.
#[test]
fn one_that_comes_is_held_against_those_that_are_not_read_again() {
    if !privileged() {
        return;
    }
    let driver = |n: u32, own: &str| {
        let ring = format!("struct rx_ring {{ __u32 pad[{n}]; __u32 queue; }}; struct rx_ring *r;");
        nic(&format!("driver{n}"), &format!("{ring}{own}"))
    };
    let unread = "struct unread { __u32 hash; __u32 btf_id; } tag(\"xhint:layout\") ID(9); struct unread *u;";
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    let options = LinkedAs { asked: Dispatch::Tail, ..LinkedAs::default() };
    let nics = vec![firmware(1), driver(1, unread)];
    attach(home, device, &linker().link(program(&["-DRING"]), nics, options, Mode::Native).unwrap()).unwrap();
    let layouts = Layouts::of(home, device);
    // A layout of a file that is there and that the program does not ask for.
    let clash = nic("clash", "struct clash { __u32 p; __u32 hash; __u32 btf_id; } L ID(9); struct clash *c;");
    let says = layouts.add(linker(), clash).unwrap_err().to_string();
    for part in ["'unread'", "driver1.btf", "'clash'", "clash.btf", "0x00000009"] {
        assert!(says.contains(part), "{part}: {says}");
    }
    // The ring is found in the driver's file, which has it; of two that differ none answers for what has none of its own.
    assert!(layouts.add(linker(), firmware(2)).unwrap().swap.is_none());
    let own = "struct more { __u32 hash; __u32 p[3]; __u32 btf_id; } L; struct more *m;";
    assert!(layouts.add(linker(), driver(2, own)).unwrap().swap.is_none(), "it has one of its own");
    let says = layouts.add(linker(), firmware(3)).unwrap_err().to_string();
    for part in ["rx_ring is ambiguous", "driver1.btf gives 8", "driver2.btf gives 12"] {
        assert!(says.contains(part), "{part}: {says}");
    }
    // A file without a layout of the program's stays where another goes.
    layouts.remove(linker(), "fw2.btf").unwrap();
    layouts.remove(linker(), "more").unwrap();
    let nics = running(home, device).unwrap().unwrap().nics;
    assert_eq!(nics.iter().map(|n| n.path.to_str().unwrap()).collect::<Vec<_>>(), ["fw1.btf", "driver1.btf"]);
}

/// What follows tells causes to the last word, too.
#[test]
fn following_tells_all_causes() {
    if !privileged() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = ["fw1.btf", "driver1.btf", "driver2.btf"].iter().map(|f| dir.path().join(f)).collect();
    let ring = |n: u32| {
        let c = format!("struct rx_ring {{ __u32 pad[{n}]; __u32 queue; }}; struct rx_ring *r;");
        nic(&format!("ring{n}"), &c).bytes().unwrap()
    };
    for (file, bytes) in files.iter().zip([firmware(1).bytes().unwrap(), ring(1), ring(1)]) {
        std::fs::write(file, bytes).unwrap();
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    let nics = read_nics(linker(), &files).unwrap();
    attach(home, device, &linker().link(program(&["-DRING"]), nics, LinkedAs::default(), Mode::Native).unwrap())
        .unwrap();
    let mut follow = Follow::start(home, device, linker(), files.clone()).unwrap();
    std::fs::write(&files[2], ring(2)).unwrap();
    let events = loop {
        let events = follow.next().unwrap();
        if !events.is_empty() {
            break events;
        }
    };
    assert_eq!((events.len(), events[0].kind), (1, EventKind::Kept), "{events:?}");
    for part in
        ["rx_ring is ambiguous", "driver1.btf gives 8", "driver2.btf gives 12", "CO-RE relocation", "what ran goes on"]
    {
        assert!(events[0].text.contains(part), "{part}: {events:?}");
    }
}

/// What happens next, within some seconds.
fn next(follow: &mut Follow<'_>) -> String {
    for _ in 0..60 {
        if let Some(event) = follow.next().unwrap().into_iter().next() {
            return event.text;
        }
    }
    panic!("nothing happened");
}

/// Neither where its file stays as it is, nor where that has more, nor where it comes anew.
#[test]
fn following_brings_nothing_back_that_was_removed() {
    if !privileged() {
        return;
    }
    for asked in ["static", "tail"] {
        let dir = tempfile::tempdir().unwrap();
        let files: Vec<_> = ["a.btf", "b.btf", "c.btf"].iter().map(|f| dir.path().join(f)).collect();
        let put = |file: usize, nic: Source| std::fs::write(&files[file], nic.bytes().unwrap()).unwrap();
        let two = |a: u32, b: u32| {
            let own = |n: u32| {
                format!("struct own{n} {{ __u32 pad[{n}]; __u32 hash; __u32 btf_id; }} L; struct own{n} *o{n};")
            };
            nic(&format!("two{a}{b}"), &format!("{}{}", own(a), own(b)))
        };
        put(0, two(1, 2));
        put(1, firmware(3));
        put(2, firmware(4));
        let world = World::new();
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        let nics = read_nics(linker(), &files).unwrap();
        attach(home, device, &job(&nics, asked).unwrap()).unwrap();
        let mut follow = Follow::start(home, device, linker(), files.clone()).unwrap();
        let layouts = Layouts::of(home, device);
        layouts.remove(linker(), "own2").unwrap();
        layouts.remove(linker(), files[2].to_str().unwrap()).unwrap();
        assert_eq!(names(home, device), ["own1", "own3", "shared"], "{asked}");
        // Another file changes.
        put(1, firmware(5));
        assert!(next(&mut follow).contains("own5"));
        assert_eq!(names(home, device), ["own1", "own3", "own5", "shared"], "{asked}");
        assert_eq!(running(home, device).unwrap().unwrap().nics.len(), 3, "the file that was removed is not back");
        // Its own file does, and has it still.
        put(0, two(2, 6));
        assert!(next(&mut follow).contains("own6"));
        assert_eq!(names(home, device), ["own1", "own5", "own6", "shared"], "{asked}");
        // Asked for again it stays.
        layouts.add(linker(), two(2, 6)).unwrap();
        put(1, firmware(7));
        next(&mut follow);
        assert_eq!(names(home, device), ["own2", "own5", "own6", "own7", "shared"], "{asked}");
    }
}

/// Both go: whoever names a file means what was ever read of it.
#[test]
fn a_file_is_removed_with_all_its_versions() {
    if !privileged() {
        return;
    }
    for asked in ["static", "tail"] {
        let world = World::new();
        let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
        let layouts = Layouts::of(home, device);
        let version = |n: u32| Source::new("nic.btf", firmware(n).bytes().unwrap().to_vec());
        attach(home, device, &job(&[firmware(9), version(1)], asked).unwrap()).unwrap();
        layouts.add(linker(), version(2)).unwrap();
        assert_eq!(names(home, device), ["own1", "own2", "own9", "shared"], "{asked}");
        let removed = layouts.remove(linker(), "nic.btf").unwrap();
        assert_eq!(removed.layouts.len(), 2, "{asked}");
        assert_eq!(names(home, device), ["own9", "shared"], "{asked}");
        assert_eq!(running(home, device).unwrap().unwrap().nics.len(), 1, "{asked}");
    }
}

/// The same id and length, another content: its packets are not the old one's.
#[test]
fn another_layout_with_an_old_id_is_counted_from_0() {
    if !privileged() {
        return;
    }
    let one = nic("one", "struct one { __u32 hash; __u32 pad; __u32 btf_id; } L ID(5); struct one *o;");
    let two = nic("two", "struct two { __u32 pad; __u32 hash; __u32 btf_id; } L ID(5); struct two *t;");
    for asked in ["static", "tail"] {
        // The layout that goes and comes was linked with the entry, or came later.
        for later in [false, true] {
            let world = World::new();
            let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
            let layouts = Layouts::of(home, device);
            let first = if later { vec![firmware(1)] } else { vec![firmware(1), one.clone()] };
            attach(home, device, &job(&first, asked).unwrap()).unwrap();
            if later {
                layouts.add(linker(), one.clone()).unwrap();
            }
            let slot =
                || running(home, device).unwrap().unwrap().layouts.iter().find(|l| l.id == 5).unwrap().slot.unwrap();
            let counts = || {
                let path = status(home, device).unwrap().map_path("xhint_counts").unwrap();
                libbpf_rs::MapHandle::from_pinned_path(path).unwrap()
            };
            let each =
                vec![7u64.to_ne_bytes().repeat(COUNT_SIZE as usize / 8); libbpf_rs::num_possible_cpus().unwrap()];
            counts().update_percpu(&slot().to_ne_bytes(), &each, MapFlags::ANY).unwrap();
            let counted = || {
                let all = status(home, device).unwrap().counters.unwrap().layouts;
                all.into_iter().find(|l| l.id == 5).map(|l| (l.name, l.count.packets))
            };
            let total = 7 * each.len() as u64;
            assert_eq!(counted(), Some(("one".to_owned(), total)), "{asked}");
            layouts.remove(linker(), "one").unwrap();
            assert_eq!(counted(), Some(("one".to_owned(), total)), "{asked}: kept while nobody else has the id");
            let added = layouts.add(linker(), two.clone()).unwrap();
            assert_eq!(counted(), Some(("two".to_owned(), 0)), "{asked} {later}");
            assert!(added.warnings.iter().any(|w| w.contains("counted from 0")), "{asked}: {:?}", added.warnings);
            // The same comes again, and goes on counting.
            counts().update_percpu(&slot().to_ne_bytes(), &each, MapFlags::ANY).unwrap();
            layouts.remove(linker(), "two").unwrap();
            layouts.add(linker(), two.clone()).unwrap();
            assert_eq!(counted(), Some(("two".to_owned(), total)), "{asked} {later}");
        }
    }
}

#[test]
fn what_was_linked_for_what_no_longer_runs_is_not_attached() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    attach(home, device, &job(&[firmware(1)], "tail").unwrap()).unwrap();
    let before = running(home, device).unwrap();
    let late = Job { after: Some(State::mark_of(before.as_ref())), ..job(&[firmware(1)], "tail").unwrap() };
    Layouts::of(home, device).add(linker(), firmware(2)).unwrap();
    let program = device.programs().unwrap().native;
    assert!(matches!(attach(home, device, &late), Err(Error::Changed(_))));
    assert_eq!(device.programs().unwrap().native, program);
    let now = Some(State::mark_of(running(home, device).unwrap().as_ref()));
    attach(home, device, &Job { after: now, ..late.clone() }).unwrap();
    detach(home, device).unwrap();
    assert!(matches!(attach(home, device, &late), Err(Error::Changed(_))));
    attach(home, device, &Job { after: Some(State::mark_of(None)), ..late }).unwrap();
}

#[test]
fn to_attach_again_mends_what_lost_its_files() {
    if !privileged() {
        return;
    }
    let world = World::new();
    let (home, device) = (&world.home, &Device::find("near", world.netns()).unwrap());
    for spoil in ["rm", "truncate -s 1"] {
        attach(home, device, &job(&[firmware(1)], "tail").unwrap()).unwrap();
        sh(&format!("find {} -type f ! -name state.json -exec {spoil} {{}} +", world.state().display()));
        let lost = Layouts::of(home, device).add(linker(), firmware(2)).unwrap_err();
        assert!(matches!(lost, Error::Lost { .. }) && lost.to_string().contains("attach again"), "{lost}");
        let before = running(home, device).unwrap();
        assert_eq!(before, None);
        let again = Job { after: Some(State::mark_of(before.as_ref())), ..job(&[firmware(1)], "tail").unwrap() };
        attach(home, device, &again).unwrap();
        Layouts::of(home, device).add(linker(), firmware(2)).unwrap();
        detach(home, device).unwrap();
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
        for part in ["'one'", "one.btf", "'two'", "two.btf", "0x00000005"] {
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
        let first =
            LinkedAs { asked: Dispatch::named(asked).unwrap(), first: vec!["back".to_owned()], ..LinkedAs::default() };
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
    let linked = linker().for_file(plain, &[], &[firmware(1)], options().options()).unwrap().link().unwrap();
    assert!(
        linked.report.warnings.iter().any(|w| w.contains("struct nic_meta") && w.contains("preserve_access_index"))
    );
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
            let options = LinkedAs { asked: Dispatch::named(asked).unwrap(), walk, ..LinkedAs::default() };
            linker
                .for_file(program(&[]), &[], &nics, options.options())?
                .link()
                .map(|linked| (linked.bytes, linked.report))
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
    fn says<T: std::fmt::Debug>(result: Result<T, Error>) {
        let text = result.unwrap_err().to_string();
        for part in ["rx_ring is ambiguous", "driver1.btf gives 8", "driver2.btf gives 12", "prog", "CO-RE relocation"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let object = || program(&["-DRING"]);
    for asked in ["auto", "static", "tail", "table"] {
        let options = || LinkedAs { asked: Dispatch::named(asked).unwrap(), ..LinkedAs::default() };
        says(linker().link(object(), nics.clone(), options(), Mode::Native));
        says(linker().for_file(object(), &[], &nics, options().options()).unwrap().link());
    }
    // A file at fault is named once, and what is wrong with it told.
    let mut broken = firmware(1).bytes().unwrap().to_vec();
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
    let options = LinkedAs { asked: Dispatch::Static, ..LinkedAs::default() };
    let job = linker().link(object(), vec![firmware(1), driver(1, 1)], options, Mode::Native).unwrap();
    attach(home, device, &job).unwrap();
    let more = "struct more { __u32 hash; __u32 p[3]; __u32 btf_id; } L; struct more *m;";
    let two = nic("driver2", &format!("struct rx_ring {{ __u32 pad[2]; __u32 queue; }}; struct rx_ring *r; {more}"));
    let error = Layouts::of(home, device).add(linker(), two).unwrap_err().to_string();
    assert!(error.contains("rx_ring is ambiguous") && error.contains("driver2.btf gives 12"), "{error}");
}

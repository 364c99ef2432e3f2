//! Which structs of a NIC BTF become layouts, and which are refused.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use xhint_btf::{Btf, Builder, ByteOrder, Def, Member};
use xhint_testkit::fixture::{Compile, keep, section};
use xhint_universe::{Error, FieldOrder, Layout, SourceId, Universe};

/// Types and tags that every C source below may use.
const PRELUDE: &str = "
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef __u16 __be16; typedef __u32 __be32;
#define tag(text) __attribute__((btf_decl_tag(text)))
";

fn btf(c: &str) -> Arc<Btf> {
    let object = Compile::new(&keep("discover", "c", format!("{PRELUDE}{c}").as_bytes())).object();
    let raw = section(&std::fs::read(object).unwrap(), ".BTF").unwrap().to_vec();
    Arc::new(Btf::parse(raw).unwrap())
}

fn base() -> Arc<Btf> {
    let mut writer = Builder::new(ByteOrder::NATIVE);
    writer.add(&Def::structure("kernel_type", 0, &[])).unwrap();
    Arc::new(Btf::parse(writer.finish()).unwrap())
}

fn universe(c: &str) -> Result<Universe, Error> {
    let mut universe = Universe::new(base());
    universe.add("nic.btf", btf(c))?;
    Ok(universe)
}

fn layouts(c: &str) -> Vec<Layout> {
    universe(c).unwrap().layouts().to_vec()
}

fn names(c: &str) -> Vec<String> {
    layouts(c).into_iter().map(|l| l.name).collect()
}

fn refusal(c: &str) -> String {
    universe(c).unwrap_err().to_string()
}

#[test]
fn any_of_the_tags_makes_a_layout() {
    for tags in ["tag(\"xhint:layout\")", "tag(\"xhint:id=7\")", "tag(\"xhint:as=other\")"] {
        assert_eq!(
            names(&format!("struct a {{ __u32 x; }} {tags}; struct b {{ __u32 y; }}; struct a *a; struct b *b;")),
            ["a"]
        );
    }
    assert_eq!(names("struct a { __u32 x; } tag(\"mine\"); struct a *a;"), [""; 0]);
}

#[test]
fn ids_are_decimal_or_hexadecimal() {
    let id = |text: &str| layouts(&format!("struct a {{ __u32 x; }} tag(\"xhint:id={text}\"); struct a *a;"))[0].id;
    assert_eq!([id("17"), id("0x11"), id("0XffFFffFF"), id("4294967295")], [17, 17, u32::MAX, u32::MAX]);
    for text in ["", "0", "0x0", "x", "-1", "+1", "0x+1", "0x", "4294967296", "1 "] {
        let error = refusal(&format!("struct a {{ __u32 x; }} tag(\"xhint:id={text}\"); struct a *a;"));
        assert!(error.contains("nic.btf") && error.contains("'a'") && error.contains("an id is a number"), "{error}");
    }
}

#[test]
fn a_layout_answers_to_its_essential_name_and_aliases() {
    let c = "struct mlx___v3 { __u32 x; } tag(\"xhint:as=nic_meta\") tag(\"xhint:as=other___v1\") tag(\"xhint:as=mlx\"); struct mlx___v3 *a;";
    let universe = universe(c).unwrap();
    let [layout] = universe.layouts() else { panic!() };
    assert_eq!(layout.name, "mlx___v3");
    assert_eq!(layout.answers_to, ["mlx", "nic_meta", "other"]);
    assert!(universe.is_metadata("other") && universe.is_metadata("mlx") && !universe.is_metadata("mlx___v3"));
}

#[test]
fn an_anonymous_struct_bears_the_typedefs_name() {
    let on_struct = layouts("typedef struct { __u32 x; } tag(\"xhint:layout\") meta_t; meta_t *a;");
    let on_typedef = layouts("typedef struct { __u32 x; } meta_t tag(\"xhint:layout\"); meta_t *a;");
    let on_both = layouts("typedef struct { __u32 x; } tag(\"xhint:as=one\") meta_t tag(\"xhint:as=two\"); meta_t *a;");
    assert_eq!((on_struct[0].name.as_str(), on_struct.len()), ("meta_t", 1));
    assert_eq!((on_typedef[0].name.as_str(), on_typedef.len()), ("meta_t", 1));
    assert_eq!(on_struct[0].id, on_typedef[0].id);
    assert_eq!(on_both.len(), 1);
    assert!(on_both[0].answers("meta_t") && on_both[0].answers("one") && on_both[0].answers("two"));
}

#[test]
fn a_union_by_the_right_name_lists_layouts() {
    for name in ["xdp_hints_union", "xhint_layouts"] {
        let c = format!(
            "struct a {{ __u32 x; }}; typedef struct {{ __u32 y; }} b_t; struct c {{ __u32 z; }};
             union {name} {{ struct a a; b_t b; }}; union {name} *u; struct c *c;"
        );
        assert_eq!(names(&c), ["a", "b_t"], "{name}");
    }
}

#[test]
fn a_union_of_structs_with_ids_lists_layouts() {
    let a = "struct a { __u64 x; __u32 y; __u32 btf_id; }; struct b { __u32 btf_id; };";
    assert_eq!(names(&format!("{a} union any_name {{ struct a a; struct b b; }}; union any_name *u;")), ["a", "b"]);
    // As what holds an id does everywhere: a number of 32 bits that ends the struct.
    let bytes = "struct a { __u32 x; __u8 btf_id[4]; }; struct b { struct { __u32 id; } btf_id; };";
    assert_eq!(names(&format!("{bytes} union any {{ struct a a; }}; union any *u;")), [""; 0]);
    assert_eq!(names(&format!("{bytes} union any {{ struct b b; }}; union any *u;")), [""; 0]);
    // One member without an id, or a union within something else: chance.
    assert_eq!(names(&format!("{a} union any {{ struct a a; struct b b; __u32 raw; }}; union any *u;")), [""; 0]);
    assert_eq!(names(&format!("{a} union any {{ struct a a; }}; struct s {{ union any u; }}; struct s *s;")), [""; 0]);
    // Tags speak louder.
    let tagged = "struct t { __u32 x; } tag(\"xhint:layout\"); struct t *t;";
    assert_eq!(names(&format!("{a} union any {{ struct a a; }}; union any *u; {tagged}")), ["t"]);
}

#[test]
fn drivers_have_no_layouts_by_chance() {
    let kernel = Arc::new(Btf::parse(xhint_testkit::fixture::corpus("vmlinux.btf")).unwrap());
    for driver in ["ice.btf", "igc.btf", "mlx5_core.btf", "veth.btf"] {
        let mut universe = Universe::new(kernel.clone());
        let raw = xhint_testkit::fixture::corpus(driver);
        universe.add(driver, Arc::new(Btf::parse_split(raw, kernel.clone()).unwrap())).unwrap();
        assert_eq!(universe.layouts(), [], "{driver}");
    }
}

#[test]
fn the_selector_is_tagged_or_ends_the_struct() {
    let selector = |fields: &str| {
        let c = format!("struct a {{ {fields} }} tag(\"xhint:id=3\"); struct a *a;");
        layouts(&c).remove(0).selector.map(|s| (s.field, s.bit_offset, s.bits, s.order))
    };
    let host = FieldOrder::Host;
    assert_eq!(selector("__u64 x; __u32 y; __u32 btf_id;"), Some(("btf_id".into(), 96, 32, host)));
    assert_eq!(selector("__u32 btf_id; __u32 x;"), None);
    assert_eq!(selector("__u16 x; __u16 btf_id;"), None);
    let tagged = "__u8 pkt_type tag(\"xhint:selector\"); __u8 a; __u16 b; __u32 btf_id;";
    assert_eq!(selector(tagged), Some(("pkt_type".into(), 0, 8, host)));
    let nested = "__u32 x; struct { __be32 a; struct { __u16 lo; __be16 id tag(\"xhint:selector\"); } in; } head;";
    assert_eq!(selector(nested), Some(("head.in.id".into(), 80, 16, FieldOrder::Big)));
    let bits = "__u32 a : 5; __u32 id : 7 tag(\"xhint:selector\"); __u32 b : 20;";
    assert_eq!(selector(bits), Some(("id".into(), 5, 7, host)));
}

#[test]
fn selectors_that_cannot_hold_the_id_are_refused() {
    let c = |fields: &str, tags: &str| format!("struct a {{ {fields} }} tag(\"xhint:layout\") {tags}; struct a *a;");
    let narrow = "__u8 id tag(\"xhint:selector\"); __u8 x[3];";
    assert!(refusal(&c(narrow, "tag(\"xhint:id=256\")")).contains("does not fit in the 8 bits"));
    assert!(refusal(&c(narrow, "")).contains("too few for a derived id"));
    assert!(universe(&c(narrow, "tag(\"xhint:id=255\")")).is_ok());
    let wide = "__u64 id tag(\"xhint:selector\");";
    assert!(refusal(&c(wide, "")).contains("not a number of 1 to 32 bits"));
    let two = "__u32 a tag(\"xhint:selector\"); __u32 b tag(\"xhint:selector\");";
    assert!(refusal(&c(two, "")).contains("two selectors, 'a' and 'b'"));
}

#[test]
fn what_cannot_be_metadata_is_refused() {
    let refused = |c: &str| refusal(&format!("{c} tag(\"xhint:layout\"); struct a *a;"));
    assert!(refused("struct a { __u32 x[64]; }").contains("256 bytes"));
    assert!(refused("struct a { __u8 x[6]; }").contains("6 bytes"));
    assert!(refused("struct a { }").contains("0 bytes"));
    assert!(refusal("struct a { __u32 x; } tag(\"xhint:layuot\"); struct a *a;").contains("xhint:layuot"));
    let twice = "struct a { __u32 x; } tag(\"xhint:id=1\") tag(\"xhint:id=2\"); struct a *a;";
    assert!(refusal(twice).contains("another id"));
}

#[test]
fn one_id_for_two_layouts_is_refused_with_both_files() {
    let mut universe = Universe::new(base());
    universe.add("one.btf", btf("struct a { __u32 x; } tag(\"xhint:id=5\"); struct a *a;")).unwrap();
    let error = universe.add("two.btf", btf("struct b { __u32 x; } tag(\"xhint:id=5\"); struct b *b;")).unwrap_err();
    let text = error.to_string();
    assert!(["'a'", "one.btf", "'b'", "two.btf", "0x00000005"].iter().all(|part| text.contains(part)), "{text}");
    // Nothing was added.
    assert_eq!((universe.sources().len(), universe.layouts().len()), (2, 1));
}

#[test]
fn equal_layouts_are_one() {
    let shared = "struct shared { __u32 x; __u32 btf_id; } tag(\"xhint:layout\")";
    let own = |n: u32| format!("struct own{n} {{ __u32 x[{n}]; }} tag(\"xhint:layout\"); struct own{n} *o;");
    let mut universe = Universe::new(base());
    universe.add("fw1.btf", btf(&format!("{shared}; struct shared *s; {}", own(1)))).unwrap();
    universe.add("fw2.btf", btf(&format!("{shared} tag(\"xhint:as=also\"); {} struct shared *s;", own(2)))).unwrap();
    let names: Vec<_> = universe.layouts().iter().map(|l| l.name.as_str()).collect();
    assert_eq!(names, ["shared", "own1", "own2"]);
    let shared = &universe.layouts()[0];
    assert_eq!(shared.sources().map(|s| s.0).collect::<Vec<_>>(), [1, 2]);
    assert!(shared.answers("also") && shared.is_of(SourceId(2)) && !universe.layouts()[1].is_of(SourceId(2)));
    assert_eq!(universe.layout_of_id(shared.id), Some(shared));

    // One id, and anything else that is not the same: another content, name, or place of the id.
    let at = |c: &str| {
        format!("struct {c} tag(\"xhint:id=5\"); {} *v;", c.split('{').next().map(|n| format!("struct {n}")).unwrap())
    };
    let first = at("a { __u32 x; __u32 btf_id; }");
    for second in [
        "a { __u32 y; __u32 btf_id; }",
        "b { __u32 x; __u32 btf_id; }",
        "a { __u32 x tag(\"xhint:selector\"); __u32 btf_id; }",
    ] {
        let mut universe = Universe::new(base());
        universe.add("one.btf", btf(&first)).unwrap();
        let error = universe.add("two.btf", btf(&at(second))).unwrap_err();
        assert!(matches!(error, Error::SameId { id: 5, .. }), "{error}");
        assert_eq!((universe.sources().len(), universe.layouts().len()), (2, 1), "unchanged");
    }
    let mut universe = Universe::new(base());
    for file in ["one.btf", "two.btf", "three.btf"] {
        universe.add(file, btf(&first)).unwrap();
    }
    assert_eq!((universe.sources().len(), universe.layouts().len()), (4, 1));
}

#[test]
fn a_layout_can_be_named() {
    let mut universe =
        universe("struct a { __u32 x; }; typedef struct { __u32 y; } b_t; struct a *a; b_t *b;").unwrap();
    assert_eq!(universe.layouts(), []);
    assert_eq!([universe.add_layout("a").unwrap(), universe.add_layout("b_t").unwrap()], [0, 1]);
    assert_eq!(universe.add_layout("a").unwrap(), 0);
    let error = universe.add_layout("c").unwrap_err().to_string();
    assert!(error.contains("no struct 'c' in nic.btf") && error.contains("layouts are a, b_t"), "{error}");
}

#[test]
fn a_struct_that_is_named_is_a_layout_of_each_file_that_has_it() {
    let firmware = |field: &str| btf(&format!("struct meta {{ __u32 {field}; }}; struct meta *m;"));
    let mut universe = Universe::new(base());
    for (file, field) in [("fw1.btf", "x"), ("driver.btf", "x"), ("fw2.btf", "y")] {
        universe.add(file, firmware(field)).unwrap();
    }
    assert_eq!(universe.add_layout("meta").unwrap(), 0);
    // The driver's is that of the first firmware.
    let sources: Vec<u32> = universe.layouts().iter().map(|l| l.source.0).collect();
    assert_eq!(sources, [1, 3]);
    assert_eq!((universe.add_layout("meta").unwrap(), universe.layouts().len()), (0, 2));
}

#[test]
fn candidates_come_from_each_source_once_asked() {
    let mut universe =
        universe("struct x___v1 { __u32 a; }; struct x { __u64 b; }; struct x *x; struct x___v1 *v;").unwrap();
    assert_eq!(universe.nic_candidates("x").len(), 2);
    assert_eq!(universe.candidates(SourceId::BASE, "kernel_type").len(), 1);
    universe.require(["x", "kernel_type", "nothing"]);
    let clone = universe.clone();
    universe.add("more.btf", btf("struct x { __u8 c; }; struct x *x;")).unwrap();
    let found: Vec<u32> = universe.nic_candidates("x").iter().map(|(source, _)| source.0).collect();
    assert_eq!(found, [1, 1, 2]);
    assert_eq!(clone.nic_candidates("x").len(), 2);
}

#[test]
fn what_the_base_has_is_still_found_in_nic_btfs_when_asked_for() {
    let universe = universe("struct kernel_type { __u8 other; }; struct kernel_type *k;").unwrap();
    universe.require(["kernel_type___flavour", "nothing"]);
    assert_eq!(universe.candidates(SourceId::BASE, "kernel_type").len(), 1);
    let of_nics = universe.nic_candidates("kernel_type");
    assert_eq!(of_nics.iter().map(|(source, _)| source.0).collect::<Vec<_>>(), [1]);
    assert!(universe.nic_candidates("nothing").is_empty());
}

#[test]
fn hostile_nesting_ends() {
    // Structs of nothing that fan out at every level, by value, and one within itself.
    let mut writer = Builder::new(ByteOrder::NATIVE);
    let mut inner = writer.add(&Def::structure("leaf", 0, &[])).unwrap();
    for _ in 0..12 {
        inner = writer.add(&Def::structure("level", 4, vec![Member::new("m", inner, 0); 50])).unwrap();
    }
    let own = writer.next_id();
    writer.add(&Def::structure("own", 4, &[Member::new("m", own, 0)])).unwrap();
    for id in [inner, own] {
        let mut writer = Builder::extend(&Btf::parse(writer.clone().finish()).unwrap());
        writer.add(&Def::tag("xhint:layout", id)).unwrap();
        let mut universe = Universe::new(base());
        let error = universe.add("hostile", Arc::new(Btf::parse(writer.finish()).unwrap())).unwrap_err();
        assert!(matches!(error, Error::NotALayout { .. }), "{error}");
    }
}

/// The demo's NICs have a plan whose selector is the layout's.
#[test]
fn the_examples_are_layouts() {
    for (nic, fields, silent) in [("alpha_fw1", 16, 0), ("alpha_fw2", 16, 1), ("beta", 15, 1)] {
        let object = std::fs::read(xhint_testkit::fixture::example(&format!("nics/{nic}.c")).object()).unwrap();
        let btf = Arc::new(Btf::parse(section(&object, ".BTF").unwrap().to_vec()).unwrap());
        let mut universe = Universe::new(base());
        universe.add(nic, btf.clone()).unwrap();
        let layout = universe.layouts()[0].clone();
        let plan = xhint_layout::Plan::of(&btf, layout.type_id, &layout.name, layout.id).unwrap();
        assert_eq!((plan.size, plan.id), (layout.size, layout.id));
        assert_eq!((plan.fields.len(), plan.silent.len()), (fields, silent), "{nic}: {plan:#?}");
        let (selector, told) = (plan.selector().unwrap(), layout.selector.unwrap());
        assert_eq!((selector.bit_offset, selector.bits), (told.bit_offset, told.bits));
    }
}

#[test]
fn tags_on_fields_that_nobody_understands_are_refused() {
    for (tag, word) in
        [("selecter", "xhint:selector"), ("hnit=rx_hash", "xhint:hint=NAME"), ("hint=rx_hsah", "rx_hash")]
    {
        let error =
            refusal(&format!("struct a {{ __u32 x tag(\"xhint:{tag}\"); }} tag(\"xhint:layout\"); struct a *a;"));
        let at = |what: &str| error.find(what).unwrap_or_else(|| panic!("{error}: no {what}"));
        assert!(at("nic.btf: field 'x' of 'a'") < at(&format!("tag \"xhint:{tag}\"")), "{error}");
        assert!(at(&format!("tag \"xhint:{tag}\"")) < at(word), "{error}");
    }
    // On a struct that is no layout as well: nothing else would tell.
    assert!(refusal("struct a { __u32 x tag(\"xhint:id=7\"); }; struct a *a;").contains("goes on a struct"));
    assert!(refusal("struct a { __u32 x; } tag(\"xhint:selector\"); struct a *a;").contains("goes on a field"));
}

#[test]
fn tags_behind_a_brace_are_the_fields() {
    let arm = |tag: &str| {
        format!(
            "struct a {{ union {{ struct {{ __u32 v4; }} tag(\"{tag}\") x; __u32 y; }} l3; __u32 btf_id; }}
             tag(\"xhint:layout\"); struct a *a;"
        )
    };
    assert_eq!(names(&arm("xhint:when=ipv4")), ["a"]);
    let btf = btf(&arm("xhint:when=ipv4"));
    let a = btf.types().find(|t| t.name() == "a").unwrap();
    let tags = xhint_layout::Tags::of(&btf);
    struct Whens<'a, 't>(&'t xhint_layout::Tags<'a>, Vec<(String, Option<xhint_layout::Class>)>);
    impl<'a> xhint_layout::walk::Visit<'a> for Whens<'a, '_> {
        type Error = xhint_layout::WalkFault;
        fn enter(&mut self, field: &xhint_layout::walk::Visited<'a>) -> Result<xhint_layout::walk::Go, Self::Error> {
            self.1.push((field.path.clone(), self.0.meaning(field).unwrap().when));
            Ok(xhint_layout::walk::Go::Each)
        }
    }
    let mut whens = Whens(&tags, Vec::new());
    xhint_layout::walk::walk(&btf, a, &mut whens).unwrap();
    let tagged: Vec<_> = whens.1.iter().filter(|(_, when)| when.is_some()).map(|(path, _)| path.as_str()).collect();
    assert_eq!(tagged, ["l3.x"]);
    for (tag, why) in [("xhint:wehn=ipv4", "on a field go xhint:when=KIND"), ("xhint:layout", "goes on a struct")] {
        let error = refusal(&arm(tag));
        assert!(error.contains("nic.btf: field 'x' of a union without a name in 'a'"), "{error}");
        assert!(error.contains(tag) && error.contains(why), "{error}");
    }
}

#[test]
fn a_btf_id_that_is_no_selector_is_explained() {
    let why = |fields: &str| {
        let btf = btf(&format!("struct a {{ {fields} }} tag(\"xhint:layout\"); struct a *a;"));
        let a = btf.types().find(|t| t.name() == "a").unwrap();
        match xhint_layout::selector(&btf, &xhint_layout::Tags::of(&btf), a.id()).unwrap() {
            xhint_layout::Selection::Field(selector) => selector.field,
            xhint_layout::Selection::None(almost) => almost.map(|a| a.to_string()).unwrap_or_default(),
        }
    };
    assert_eq!(why("__u64 x; __u32 y; __u32 btf_id;"), "btf_id");
    assert!(why("__u64 x; __u32 btf_id;").starts_with("4 bytes of padding follow btf_id"));
    assert!(why("__u32 btf_id; __u32 x, y;").starts_with("x comes after btf_id"));
    assert!(why("__u32 x; __u16 y, btf_id;").starts_with("btf_id is not an integer of 32 bits"));
    assert_eq!(why("__u32 x;"), "");
}

//! Structs without CO-RE within structs that have it, and places that a program chooses or computes.

#![allow(missing_docs, clippy::panic, clippy::unwrap_used)]

mod own;

use own::case::{self, Case};
use xhint_testkit::fixture;

/// A layout, the metadata of which is `case::WORDS`: 0xbad0, 0x600d, 0x77, 5.
const NIC: &str = "struct rx { __u32 pad; __u32 hash; __u32 mark; __u32 btf_id; } LAYOUT(5); struct rx *r;";
const THREE: &str = "struct nic_meta { __u32 hash; __u32 mark; __u32 btf_id; };";
const WITH: &str = "struct nic_meta { __u32 hash; __u32 mark; __u32 btf_id; } CORE;";

/// A layout with a struct in it, whose members stand the other way round in the program's.
const INNER: &str = "struct in { __u32 mark; __u32 hash; }; struct rx { struct in in; __u32 more; __u32 btf_id; } LAYOUT(5); struct rx *r;";
const TURNED: &str = "struct in { __u32 hash; __u32 mark; }; struct nic_meta { struct in in; __u32 btf_id; } CORE;";
const FOLLOWED: &str =
    "struct in { __u32 hash; __u32 mark; } CORE; struct nic_meta { struct in in; __u32 btf_id; } CORE;";
const SAME: &str = "struct in { __u32 mark; __u32 hash; }; struct nic_meta { struct in in; __u32 btf_id; } CORE;";

const CASES: [Case; 27] = [
    Case {
        what: "one of two fields",
        nic: NIC,
        before: THREE,
        body: "CHECKED __u32 *p = ctx->rx_queue_index ? &m->mark : &m->hash;\n return *p;",
        value: 0xbad0,
        told: Some(false),
    },
    Case {
        what: "one of two fields by CO-RE",
        nic: NIC,
        before: WITH,
        body: "CHECKED __u32 *p = ctx->rx_queue_index ? &m->mark : &m->hash;\n return *p;",
        value: 0x600d,
        told: None,
    },
    Case {
        what: "one of three fields",
        nic: NIC,
        before: THREE,
        body: "CHECKED __u32 *p = &m->mark; switch (ctx->rx_queue_index) { case 0: p = &m->hash; break; case 1: p = &m->btf_id; }\n return *p;",
        value: 0xbad0,
        told: Some(false),
    },
    Case {
        what: "fields in a loop",
        nic: NIC,
        before: THREE,
        body: "CHECKED __u32 s = 0;\n_Pragma(\"clang loop unroll(disable)\") for (int i = 0; i < 2; i++) {\n __u32 *p = &m->hash + i;\n s += *p; }\n return s;",
        value: 0xbad0 + 0x600d,
        told: Some(false),
    },
    Case {
        what: "by a number that is not known",
        nic: NIC,
        before: THREE,
        body: "CHECKED __u32 *p = meta + (ctx->rx_queue_index & 1) * 4; if ((void *)(p + 1) > data) return 9;\n return *p;",
        value: 0xbad0,
        told: Some(false),
    },
    Case {
        what: "an element of an array",
        nic: "struct rx { __u32 pad; __u32 v[2]; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: "struct nic_meta { __u32 v[3]; __u32 btf_id; };",
        body: "CHECKED __u32 *p = &m->v[ctx->rx_queue_index & 1]; if ((void *)(p + 1) > data) return 9;\n return *p;",
        value: 0xbad0,
        told: Some(false),
    },
    Case {
        what: "an element of an array by CO-RE",
        nic: "struct rx { __u32 pad; __u32 v[2]; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: "struct nic_meta { __u32 v[3]; __u32 btf_id; } CORE;",
        body: "CHECKED __u32 *p = &m->v[(ctx->rx_queue_index & 1) + 1]; if ((void *)(p + 1) > data) return 9;\n return *p + m->v[0];",
        value: 0x77 + 0x600d,
        told: None,
    },
    Case {
        what: "by an offset that relocation tells",
        nic: NIC,
        before: WITH,
        body: "CHECKED return *(__u32 *)(meta + bpf_core_field_offset(struct nic_meta, hash));",
        value: 0x600d,
        told: None,
    },
    Case {
        what: "behind a field, by hand",
        nic: NIC,
        before: WITH,
        body: "CHECKED return *(__u32 *)(meta + bpf_core_field_offset(struct nic_meta, hash) + 4);",
        value: 0x77,
        told: None,
    },
    Case {
        what: "from the end",
        nic: NIC,
        before: WITH,
        body: "CHECKED return *(__u32 *)(meta + bpf_core_type_size(struct nic_meta) - 4);",
        value: 5,
        told: None,
    },
    Case {
        what: "first within",
        nic: INNER,
        before: TURNED,
        body: "CHECKED return m->in.hash;",
        value: 0xbad0,
        told: Some(true),
    },
    Case {
        what: "second within",
        nic: INNER,
        before: TURNED,
        body: "CHECKED return m->in.mark;",
        value: 0x600d,
        told: Some(true),
    },
    Case {
        what: "within by CO-RE",
        nic: INNER,
        before: FOLLOWED,
        body: "CHECKED return m->in.hash;",
        value: 0x600d,
        told: None,
    },
    Case {
        what: "the same within",
        nic: INNER,
        before: SAME,
        body: "CHECKED return m->in.hash;",
        value: 0x600d,
        told: None,
    },
    Case {
        what: "behind its address",
        nic: INNER,
        before: TURNED,
        body: "CHECKED struct in *in = &m->in;\n return in->mark;",
        value: 0x600d,
        told: Some(true),
    },
    Case {
        what: "in a function that is given it",
        nic: INNER,
        before: "struct in { __u32 hash; __u32 mark; }; struct nic_meta { struct in in; __u32 btf_id; } CORE;\nstatic __noinline __u32 get(struct in *in) {\n return in->mark; }",
        body: "CHECKED return get(&m->in);",
        value: 0x600d,
        told: Some(true),
    },
    Case {
        what: "one of two within",
        nic: INNER,
        before: TURNED,
        body: "CHECKED __u32 *p = ctx->rx_queue_index ? &m->in.mark : &m->in.hash;\n return *p;",
        value: 0xbad0,
        told: Some(false),
    },
    Case {
        what: "one of two structs",
        nic: "struct in { __u32 mark; __u32 hash; }; struct rx { struct in a; struct in b; } tag(\"xhint:layout\") tag(\"xhint:as=nic_meta\") tag(\"xhint:id=7\"); struct rx *r;",
        before: "struct in { __u32 hash; __u32 mark; }; struct nic_meta { struct in a, b; } CORE;",
        body: "struct nic_meta *m = meta; if (meta + 16 > data) return 2; struct in *in = ctx->rx_queue_index ? &m->b : &m->a;\n return in->mark;",
        value: 0x600d,
        told: Some(true),
    },
    Case {
        what: "a member of a union",
        nic: "struct rx { struct { __u32 y; __u32 x; } u; __u32 pad; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: "union u { __u32 x; struct { __u32 a, b; } other; }; struct nic_meta { union u u; __u32 btf_id; } CORE;",
        body: "CHECKED if (!bpf_core_field_exists(m->u)) return 1;\n return m->u.x;",
        value: 0xbad0,
        told: Some(true),
    },
    Case {
        what: "one of two of a name",
        nic: "struct in { union { struct { __u32 pad; } a; struct { __u32 x; } b; }; }; struct rx { __u32 pad; struct in in; __u32 more; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: "struct in { union { struct { __u32 x; } a; struct { __u32 x; } b; }; }; struct nic_meta { struct in in; __u32 btf_id; } CORE;",
        body: "CHECKED return m->in.b.x;",
        value: 0x600d,
        told: None,
    },
    Case {
        what: "a bitfield within",
        nic: "struct in { __u32 high: 16; __u32 low: 16; }; struct rx { __u32 pad; struct in in; __u32 x; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: "struct in { __u32 low: 16; __u32 high: 16; }; struct nic_meta { struct in in; __u32 btf_id; } CORE;",
        body: "CHECKED return m->in.low;",
        value: 0x600d,
        told: Some(true),
    },
    Case {
        what: "the same bitfield within",
        nic: "struct in { __u32 low: 16; __u32 high: 16; }; struct rx { __u32 pad; struct in in; __u32 x; __u32 btf_id; } LAYOUT(5); struct rx *r;",
        before: "struct in { __u32 low: 16; __u32 high: 16; }; struct nic_meta { struct in in; __u32 btf_id; } CORE;",
        body: "CHECKED return m->in.low;",
        value: 0x600d,
        told: None,
    },
    Case {
        what: "an element",
        nic: "struct e { __u32 pad; __u32 x; }; struct rx { struct e e[2]; } tag(\"xhint:layout\") tag(\"xhint:as=nic_meta\") tag(\"xhint:id=7\"); struct rx *r;",
        before: "struct e { __u32 x; __u32 pad; }; struct nic_meta { struct e e[2]; } CORE;",
        body: "struct nic_meta *m = meta; if (meta + 16 > data) return 2;\n return m->e[1].x;",
        value: 0x77,
        told: Some(true),
    },
    Case {
        what: "any element",
        nic: "struct e { __u32 pad; __u32 x; }; struct rx { struct e e[2]; } tag(\"xhint:layout\") tag(\"xhint:as=nic_meta\") tag(\"xhint:id=7\"); struct rx *r;",
        before: "struct e { __u32 x; __u32 pad; }; struct nic_meta { struct e e[2]; } CORE;",
        body: "struct nic_meta *m = meta; if (meta + 16 > data) return 2;\n struct e *e = &m->e[ctx->rx_queue_index & 1]; if ((void *)(e + 1) > data) return 9;\n return e->x;",
        value: 0xbad0,
        told: Some(true),
    },
    Case {
        what: "any element, the same",
        nic: "struct e { __u32 x; __u32 pad; }; struct rx { struct e e[2]; } tag(\"xhint:layout\") tag(\"xhint:as=nic_meta\") tag(\"xhint:id=7\"); struct rx *r;",
        before: "struct e { __u32 x; __u32 pad; }; struct nic_meta { struct e e[2]; } CORE;",
        body: "struct nic_meta *m = meta; if (meta + 16 > data) return 2;\n struct e *e = &m->e[ctx->rx_queue_index & 1]; if ((void *)(e + 1) > data) return 9;\n return e->x;",
        value: 0xbad0,
        told: None,
    },
    Case {
        what: "behind what CO-RE wrote",
        nic: INNER,
        before: TURNED,
        body: "CHECKED m->btf_id = 5;\n return m->in.mark;",
        value: 0x600d,
        told: Some(true),
    },
    Case {
        what: "a copy of it",
        nic: INNER,
        before: TURNED,
        body: "CHECKED struct in k = m->in; asm volatile(\"\" :: \"r\"(&k) : \"memory\"); return k.mark;",
        value: 0x600d,
        told: Some(false),
    },
];

#[test]
fn wrong_values_are_told_of_and_right_ones_left_alone() {
    if xhint_testkit::may_load() {
        case::check(fixture::clangs(), &CASES);
    }
}

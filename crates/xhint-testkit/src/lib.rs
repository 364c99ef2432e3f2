//! What the tests of xhint share, and what no user ever links.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`fixture`] | where the committed data lies, and C sources compiled to BPF objects or NIC BTFs, cached by content |
//! | [`oracle`] | libbpf's own CO-RE: the instructions it makes of an object and a custom BTF |
//! | [`matrix`] | every program in every universe, linked by libbpf and by us |
//! | [`flat`] | a base and NIC BTFs put into one flat BTF by libbpf alone |
//! | [`distill`] | distilled bases, made and relocated by libbpf |
//! | [`cases`] | programs, metadata, and the values they must read, worked out by hand |
//! | [`run`] | a program loaded by libbpf and run by `BPF_PROG_TEST_RUN` with metadata in front of its packet |
//! | [`privilege`] | may this process load programs, and are there devices? if not, the test says loudly that it was skipped |
//! | [`damage`] | valid files broken systematically, the same way every time |
//! | [`hostile`] | BTF made by hand to hurt: loops, deep chains, sizes that overflow |
//!
//! Nothing here uses the crates under test, so what it says about them is a second opinion.

// A test helper that meets the unexpected fails its test, and panicking is how a test fails.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod cases;
pub mod damage;
pub mod distill;
pub mod fixture;
pub mod flat;
pub mod hostile;
mod libbpf;
pub mod matrix;
pub mod oracle;
pub mod privilege;
pub mod run;

pub use privilege::{may_load, privileged, skipped};

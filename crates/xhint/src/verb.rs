//! One module a verb: its arguments, and what it prints.

pub mod btf;
pub mod layout;
pub mod nic;

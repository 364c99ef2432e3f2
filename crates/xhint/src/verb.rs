//! One module a verb: its arguments, and what it prints.

pub mod btf;
pub mod explain;
pub mod layout;
pub mod link;
pub mod nic;

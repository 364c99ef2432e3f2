//! One module a verb: its arguments, and what it prints.

pub mod attach;
pub mod btf;
pub mod demo;
pub mod detach;
pub mod explain;
pub mod generate;
pub mod layout;
pub mod layouts;
pub mod link;
pub mod nic;
pub mod probe;
pub mod status;

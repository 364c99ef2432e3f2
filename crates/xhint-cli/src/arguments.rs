//! Arguments that several verbs share.

pub mod btf;
pub mod choice;
pub mod device;
pub mod dispatch;

//! Arguments that several verbs share.

pub mod btf;
pub mod device;
pub mod dispatch;

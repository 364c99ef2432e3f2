//! The BTF that all others stand beside, which is read when something is asked of it and not before: a kernel's has 130,000
//! types, and many a program asks for none of them.

use std::fmt;
use std::sync::{Arc, OnceLock};

use xhint_btf::{Btf, Builder, ByteOrder};

/// How it is read; the error is why it cannot be had, in words.
type How = Box<dyn Fn() -> Result<Btf, String> + Send + Sync>;

/// That BTF, shared by all clones of a universe.
pub(crate) struct Base {
    order: ByteOrder,
    how: How,
    read: OnceLock<Read>,
}

/// What came of reading it.
#[derive(Debug)]
struct Read {
    btf: Arc<Btf>,
    /// Why there is none; an empty one stands in its place.
    absent: Option<String>,
}

impl Base {
    /// One that is read when it is asked for, and has this byte order.
    pub fn deferred(order: ByteOrder, how: How) -> Base {
        Base { order, how, read: OnceLock::new() }
    }

    /// One that is at hand.
    pub fn here(btf: Arc<Btf>) -> Base {
        let order = btf.order();
        let read = OnceLock::from(Read { btf, absent: None });
        Base { order, how: Box::new(|| Err("it was read already".to_owned())), read }
    }

    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// It, an empty one if it cannot be had.
    pub fn btf(&self) -> &Arc<Btf> {
        &self.read().btf
    }

    /// Why it cannot be had, if so.
    pub fn absent(&self) -> Option<&str> {
        self.read().absent.as_deref()
    }

    /// It, if it was asked for before.
    pub fn if_read(&self) -> Option<&Arc<Btf>> {
        self.read.get().map(|read| &read.btf)
    }

    fn read(&self) -> &Read {
        self.read.get_or_init(|| match (self.how)() {
            Ok(btf) => Read { btf: Arc::new(btf), absent: None },
            Err(why) => {
                let empty = Btf::parse(Builder::new(self.order).finish());
                let empty = empty.unwrap_or_else(|fault| unreachable!("an empty BTF is sound: {fault}"));
                Read { btf: Arc::new(empty), absent: Some(why) }
            }
        })
    }
}

impl fmt::Debug for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Base").field("order", &self.order).field("read", &self.read).finish_non_exhaustive()
    }
}

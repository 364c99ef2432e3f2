//! libFuzzer on the target that `XHINT_FUZZ` names. Built and run by `scripts/fuzz.sh`.
#![no_main]
#![allow(missing_docs)]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use xhint_fuzz::{Target, target};

static TARGET: LazyLock<Target> = LazyLock::new(|| target(&std::env::var("XHINT_FUZZ").unwrap_or_default()));

fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));

//! Threads whose namespaces may be changed.

use std::thread::{Builder, scope};

use crate::error::Error;

/// Does `work` on a thread of its own, which it may move to other namespaces.
///
/// # Errors
/// If the system gives no thread, else what `work` returns.
pub fn on_thread<T: Send, E: From<Error> + Send>(
    work: impl FnOnce() -> std::result::Result<T, E> + Send,
) -> std::result::Result<T, E> {
    scope(|scope| {
        let thread = Builder::new().spawn_scoped(scope, work).map_err(Error::system("starting a thread"))?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    use super::*;

    const CHILD: &str = "XHINT_NO_ROOM";

    /// In a process that has no room for the stack of one more thread.
    #[test]
    fn where_there_is_no_thread_it_says_so() {
        if std::env::var_os(CHILD).is_some() {
            let none = libc::rlimit { rlim_cur: 0, rlim_max: libc::RLIM_INFINITY };
            // SAFETY: the struct outlives the call, which reads it.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const none) }, 0);
            let says = on_thread(|| Ok::<_, Error>(())).unwrap_err().to_string();
            assert!(says.starts_with("starting a thread: "), "{says}");
            return;
        }
        assert_eq!(on_thread(|| Ok::<_, Error>(7)).unwrap(), 7);
        let test = "thread::tests::where_there_is_no_thread_it_says_so";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child.args(["--exact", test]).env(CHILD, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}

//! Tests that need a second process run themselves again in it.

use std::process::{Command, Output};

pub(crate) const PART: &str = "PMEM_MAP_TEST_PART";

/// The part that this process is to play, if it is a child.
pub(crate) fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Runs the test `name` ("module::function") in a process of its own, where [`part`] is `part`.
pub(crate) fn play(name: &str, part: &str) -> Output {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(PART, part);
    child.output().unwrap()
}

/// Forks; the child ends with what `child` returns, which is returned. The child may do only what is
/// async-signal-safe, for other threads of the test may have held locks.
pub(crate) fn fork(child: impl FnOnce() -> u8) -> i32 {
    // SAFETY: the child runs nothing but `child` and `_exit`.
    unsafe {
        match libc::fork() {
            0 => {
                let code = child();
                libc::_exit(code.into())
            }
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            pid => {
                let mut status = 0;
                assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
                status
            }
        }
    }
}

//! The system's `fsync`, which a control can have skipped: what the program is then told is durable must be lost by a power cut.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static SKIPPED: AtomicBool = AtomicBool::new(false);

/// From now on `fsync` does nothing, and says that it did.
pub(crate) fn skip() {
    SKIPPED.store(true, Relaxed);
}

/// Stands in front of the C library's, for everything that is linked into this program.
// SAFETY: the name of a function of the C library, with its type and meaning.
#[unsafe(no_mangle)]
extern "C" fn fsync(descriptor: libc::c_int) -> libc::c_int {
    if SKIPPED.load(Relaxed) {
        return 0;
    }
    // SAFETY: a system call that takes a number.
    unsafe { libc::syscall(libc::SYS_fsync, descriptor) as libc::c_int }
}

//! The time, where a few milliseconds do not matter: as of the kernel's last tick.
//!
//! Asking for the time itself waits for all loads before it, so that the next operation cannot begin while the last one's bytes are on their way: a read of a
//! block that is in no cache took half as long again by it.

#![allow(unsafe_code)]

/// Nanoseconds since 1970, some milliseconds ago.
#[inline]
pub(crate) fn coarse() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a call of the system, which stores to `time`.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &mut time) };
    debug_assert_eq!(result, 0, "every Linux has this clock");
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn it_is_the_time_of_the_day() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("later than 1970").as_nanos() as i64;
        let difference = super::coarse() - now;
        assert!(difference.abs() < 60_000_000_000, "{difference} ns");
    }
}

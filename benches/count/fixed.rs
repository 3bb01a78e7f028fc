//! What is random elsewhere is fixed in this program.

/// The random bytes of a process, which seed identities and through them the keys of hash tables and the checksums of records. std looks
/// for this symbol before it asks the system, so that a program can do this. Always the same byte.
///
/// # Safety
///
/// `bytes` is writable for `len` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(bytes: *mut u8, len: usize, _flags: u32) -> isize {
    // SAFETY: the caller's.
    unsafe { bytes.write_bytes(0x5a, len) };
    len as isize
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    #[test]
    fn the_seeds_of_two_threads_are_the_same() {
        let first = || std::thread::spawn(|| RandomState::new().hash_one(1)).join().expect("no panic");
        assert_eq!(first(), first());
    }
}

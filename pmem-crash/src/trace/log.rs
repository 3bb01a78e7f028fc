//! What the handler writes down: entries one after the other in memory that was reserved beforehand.

#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "nobody traces there"))]

use super::memory::Addresses;
use std::io;

/// Most callers that are noted of a store.
pub(crate) const CALLERS: usize = 8;

/// How a store was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Path {
    /// In the handler, by a copy of the instruction that stores to a second view of the page.
    Executed,
    /// In the handler, which did itself what a string instruction (`rep movs`, `rep stos`) does.
    Emulated,
    /// By the instruction itself, its address moved to the second view, in single step.
    Stepped,
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Path::Executed => "executed",
            Path::Emulated => "emulated",
            Path::Stepped => "stepped",
        })
    }
}

/// What is noted of a store besides its bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Entry {
    /// First byte, within the mapping.
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// Number of the instruction, in the order in which they were executed; several entries share one if it stored to
    /// several places.
    pub(crate) instruction: u64,
    /// Address of the instruction.
    pub(crate) address: u64,
    /// Where its function will return to, and so on. Zero: not known.
    pub(crate) callers: [u64; CALLERS],
    /// As `gettid` says.
    pub(crate) thread: i32,
    pub(crate) nontemporal: bool,
    pub(crate) path: Path,
}

/// Bytes of an entry with its data.
fn room(len: usize) -> usize {
    size_of::<Entry>() + len.next_multiple_of(align_of::<Entry>())
}

/// Entries, as they come.
#[derive(Debug)]
pub(crate) struct Log {
    memory: Addresses,
    used: usize,
    /// Entries that found no room.
    pub(super) lost: u64,
}

impl Log {
    pub(super) fn new(capacity: usize) -> io::Result<Log> {
        Ok(Log { memory: Addresses::lazily_filled(capacity)?, used: 0, lost: 0 })
    }

    /// Writes down a store of the `len` bytes at `from`. Async-signal-safe.
    ///
    /// # Safety
    ///
    /// They can be read, and nobody stores to them.
    pub(super) unsafe fn push(&mut self, entry: &Entry, from: *const u8) {
        let len = entry.len as usize;
        if self.lost > 0 || room(len) > self.memory.len - self.used {
            self.lost += 1; // and all later ones: what is there stays a prefix
            return;
        }
        // SAFETY: there is room; `used` is a multiple of the entry's alignment, as the memory's address is.
        unsafe {
            let to = (self.memory.base + self.used) as *mut Entry;
            to.write(*entry);
            std::ptr::copy_nonoverlapping(from, to.add(1).cast::<u8>(), len);
        }
        self.used += room(len);
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Entry, &[u8])> {
        let mut at = 0;
        std::iter::from_fn(move || {
            if at == self.used {
                return None;
            }
            // SAFETY: `at` is where `push` began to write an entry, with its bytes behind it; `&self` keeps them as they are.
            let found = unsafe {
                let entry = &*((self.memory.base + at) as *const Entry);
                let bytes = (entry as *const Entry).add(1).cast::<u8>();
                (entry, std::slice::from_raw_parts(bytes, entry.len as usize))
            };
            at += room(found.1.len());
            Some(found)
        })
    }

    pub(super) fn clear(&mut self) {
        const MANY: usize = 16 << 20;
        if self.used > MANY {
            self.memory.give_back();
        }
        (self.used, self.lost) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_keeps_what_came_first_and_counts_what_is_lost() {
        let entry = |n: u64| Entry {
            offset: n,
            len: n,
            instruction: n,
            address: 0,
            callers: [0; CALLERS],
            thread: 1,
            nontemporal: false,
            path: Path::Executed,
        };
        let bytes: Vec<u8> = (0..64).collect();
        let mut log = Log::new(4096).unwrap();
        let push = |log: &mut Log, n: u64| {
            // SAFETY: 64 bytes that nobody changes.
            unsafe { log.push(&entry(n), bytes.as_ptr()) };
        };
        (1..=64).for_each(|n| push(&mut log, n));
        let kept = log.entries().count() as u64;
        assert!((10..64).contains(&kept), "{kept}");
        assert_eq!(log.lost, 64 - kept);
        for ((entry, bytes), n) in log.entries().zip(1..) {
            assert_eq!((entry.offset, bytes.len() as u64, bytes[bytes.len() - 1]), (n, n, n as u8 - 1));
        }
        push(&mut log, 1); // there would be room, but it would not be the next one
        assert_eq!((log.entries().count() as u64, log.lost), (kept, 65 - kept));
        log.clear();
        push(&mut log, 5);
        assert_eq!((log.entries().count(), log.lost), (1, 0));
    }
}

//! Protection keys: pages that are read-only for each thread but for the moments in which it says that it stores.
//!
//! `mprotect` changes pages, for every thread, by a system call that has the other processors forget what they know of them. A processor
//! with protection keys has a register in each thread instead that says which keys the thread may load and store by; pages get their key
//! once ([`ProtectionKey::new`]), and a window ([`ProtectionKey::stores`]) is two instructions. What follows from a register of the thread's own:
//!
//! - a window is open for the thread that opened it and for no other: their stray stores are a SIGSEGV all the same;
//! - a thread that has had nothing to do with a key may not even load (so begins every thread but the descendants of those that may), nor
//!   flush: it says so first ([`ProtectionKey::loads`]);
//! - a signal handler begins with no rights either, inside a window too, and what it changes ends with it: it opens windows of its own;
//! - a new thread has the rights that its maker has at that moment, so nobody makes one inside a window;
//! - the kernel loads and stores with the rights of the thread that calls it: `read` into such pages fails outside a window.
//!
//! Intel SDM vol. 3, 4.6.2; pkeys(7). There are 15 keys for a process. Linux on x86-64; elsewhere there are none.

#![allow(unsafe_code)]

use crate::{Region, Result};
use std::{fmt, marker::PhantomData, ops::Range, sync::Arc};

/// Loads are refused, by the bits of one key.
const NO_ACCESS: u32 = 0b01;
/// Stores are.
const NO_STORES: u32 = 0b10;

/// Pages that no thread may store to, but inside a window of its own. They are as before when this is dropped.
///
/// ```
/// use pmem_map::{Mapping, ProtectionKey};
/// use std::sync::Arc;
/// # fn main() -> Result<(), pmem_map::Error> {
/// let region = Arc::new(Mapping::anonymous(1 << 16)?.into_region());
/// if let Some(key) = ProtectionKey::new(region.clone(), 0..1 << 16)? {
///     let window = key.stores();
///     // SAFETY: nobody else knows these bytes.
///     unsafe { region.store(0, b"by this thread, now") };
///     drop(window); // from here on a SIGSEGV
/// }
/// # Ok(()) }
/// ```
pub struct ProtectionKey {
    region: Arc<Region>,
    range: Range<u64>,
    key: u32,
}

/// While it lives, its thread may store to the pages of a [`ProtectionKey`]. Windows of one thread may be inside one another.
pub struct Stores<'k> {
    key: &'k ProtectionKey,
    /// The rights to go back to.
    before: u32,
    /// A register of this thread.
    _here: PhantomData<*const ()>,
}

impl ProtectionKey {
    /// Gives a key to all pages that `range` touches. This thread may load from them then, and store in windows.
    ///
    /// `None` if the processor or the kernel has no keys, or none is left: then there is [`Region::protect`].
    ///
    /// # Errors
    ///
    /// [`Error::OutOfBounds`](crate::Error::OutOfBounds); [`Error::Forked`](crate::Error::Forked); [`Error::Io`](crate::Error::Io) if the kernel
    /// refuses to mark the pages.
    pub fn new(region: Arc<Region>, range: Range<u64>) -> Result<Option<ProtectionKey>> {
        region.check_process()?;
        region.check(range.start, range.end.saturating_sub(range.start))?;
        let Some(key) = processor::allocate(NO_STORES) else { return Ok(None) };
        let this = ProtectionKey { region, range, key };
        this.region.mark(this.range.clone(), key)?; // `this` gives the key back
        Ok(Some(this))
    }

    /// From now on this thread may load from the pages, and flush them. Two instructions at most.
    #[inline]
    pub fn loads(&self) {
        if self.rights() & NO_ACCESS != 0 {
            self.set_rights(NO_STORES);
        }
    }

    /// Opens a window for this thread. May be called in a signal handler.
    #[inline]
    pub fn stores(&self) -> Stores<'_> {
        let before = self.rights();
        if before != 0 {
            self.set_rights(0);
        }
        // Whoever was not allowed to load is allowed from now on.
        let before = if before & NO_ACCESS != 0 { NO_STORES } else { before };
        Stores { key: self, before, _here: PhantomData }
    }

    /// This thread's.
    #[inline]
    fn rights(&self) -> u32 {
        // SAFETY: the kernel gave us a key, so the processor has the register.
        unsafe { processor::rights() >> (2 * self.key) & (NO_ACCESS | NO_STORES) }
    }

    #[inline]
    fn set_rights(&self, rights: u32) {
        let others = !((NO_ACCESS | NO_STORES) << (2 * self.key));
        // SAFETY: as above; the rights to pages of other keys, whatever they are, stay.
        unsafe { processor::set_rights(processor::rights() & others | rights << (2 * self.key)) };
    }
}

impl Drop for Stores<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.before != 0 {
            self.key.set_rights(self.before);
        }
    }
}

impl Drop for ProtectionKey {
    fn drop(&mut self) {
        // A forked child has no such pages, but it has the key. If the pages keep it, nobody may have it again.
        if self.region.check_process().is_err() || self.region.mark(self.range.clone(), 0).is_ok() {
            processor::free(self.key);
        }
    }
}

impl fmt::Debug for ProtectionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectionKey").field("key", &self.key).field("range", &self.range).finish()
    }
}

impl fmt::Debug for Stores<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("key", &self.key.key).finish()
    }
}

pub(crate) use processor::mark;

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod processor {
    use std::{arch::asm, io};

    /// A new key, of which this thread has these rights; all others have none.
    pub(super) fn allocate(rights: u32) -> Option<u32> {
        // SAFETY: a system call that takes numbers. Without keys it fails.
        let key = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, rights) };
        u32::try_from(key).ok().filter(|key| *key > 0)
    }

    pub(super) fn free(key: u32) {
        // SAFETY: takes a number; no page has this key any more.
        unsafe { libc::syscall(libc::SYS_pkey_free, key) };
    }

    /// Gives a key to whole pages; 0 is the one that everybody has all rights to.
    ///
    /// # Safety
    ///
    /// `len` bytes at `at`, a multiple of the page, are mapped readable and writable, and belong to the caller.
    pub(crate) unsafe fn mark(at: *mut u8, len: u64, key: u32) -> io::Result<()> {
        let read_write = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: the caller's. A load or store without the right to it is a signal, not undefined behaviour.
        let result = unsafe { libc::syscall(libc::SYS_pkey_mprotect, at, len, read_write, key) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The register.
    ///
    /// # Safety
    ///
    /// The processor has it, and the kernel has turned it on.
    #[inline(always)]
    pub(super) unsafe fn rights() -> u32 {
        let rights;
        // SAFETY: the caller's. (`rdpkru`: ECX has to be 0; EDX becomes 0.)
        unsafe {
            asm!("rdpkru", in("ecx") 0, out("eax") rights, out("edx") _, options(nomem, nostack, preserves_flags))
        };
        rights
    }

    /// Sets it. No load or store is moved across this.
    ///
    /// # Safety
    ///
    /// As for [`rights`].
    #[inline(always)]
    pub(super) unsafe fn set_rights(rights: u32) {
        // SAFETY: the caller's. (`wrpkru`: ECX and EDX have to be 0.)
        unsafe {
            asm!("wrpkru", in("eax") rights, in("ecx") 0, in("edx") 0, options(nostack, preserves_flags))
        };
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod processor {
    use std::io;

    pub(super) fn allocate(_: u32) -> Option<u32> {
        None
    }

    pub(super) fn free(_: u32) {}

    pub(crate) unsafe fn mark(_: *mut u8, _: u64, _: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) unsafe fn rights() -> u32 {
        0
    }

    pub(super) unsafe fn set_rights(_: u32) {}
}

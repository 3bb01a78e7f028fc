//! libpmemobj, of PMDK: transactions and allocation in persistent memory. What is done with it is C (`pmdk/peer.c`).

use crate::{
    Failure, Result,
    serve::syncs,
    store::{Peer, Session, Store},
    workload::Shape,
};
use std::{
    env,
    ffi::{CStr, CString, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    ptr::NonNull,
    slice,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

pub(crate) const PEER: Peer = Peer {
    name: "libpmemobj",
    version: || format!("libpmemobj {}", env!("VERSION_OF_PMDK")),
    settings: "PMEM_IS_PMEM_FORCE=1 where lines are flushed (tmpfs), 0 where pages are synced (a disk). Records: an object of 64-byte lines, pmemobj_tx_add_range of \
               each that changes, 64 striped mutexes. Map: a hash table that has twice as many buckets as records and is not rehashed, values in \
               the entries, one rwlock. Log and queue: a list, the same lock. Always durable",
    workloads: &[
        "record", "transfer", "insert", "get", "delete", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-f",
        "log", "queue",
    ],
    open: |options| {
        if WE_FORCED.load(Relaxed) && syncs(options.folder)? {
            return Err("this folder is on no tmpfs: start this program with PMEM_IS_PMEM_FORCE=1 in its environment if it is on persistent \
                        memory, and with PMEM_IS_PMEM_FORCE=0 if it is on a disk"
                .into());
        }
        let path = CString::new(options.folder.join("pool").as_os_str().as_bytes())?;
        let shape = match options.shape {
            Shape::Records => 0,
            Shape::Map => 1,
            Shape::Sequence => 2,
        };
        let bytes = (512 << 20) + options.entries as usize * 512;
        // SAFETY: a path that ends with a zero, and a file that only this program knows.
        let peer = unsafe { peer_open(path.as_ptr(), bytes, shape, options.entries) };
        let peer = NonNull::new(peer).ok_or_else(failure)?;
        Ok(Box::new(Opened(Arc::new(Handle(peer)))))
    },
};

/// Whether this program, and not who started it, said that files are persistent memory.
static WE_FORCED: AtomicBool = AtomicBool::new(false);

/// Lets libpmem flush lines on tmpfs, where it would call `msync`, unless the environment says what it is to do. To be called
/// before there are threads.
pub(crate) fn prefer_flushes() {
    const FORCE: &str = "PMEM_IS_PMEM_FORCE";
    if env::var_os(FORCE).is_none() {
        WE_FORCED.store(true, Relaxed);
        // SAFETY: there are no other threads yet.
        unsafe { env::set_var(FORCE, "1") };
    }
}

#[repr(C)]
struct Opaque([u8; 0]);

type Look = unsafe extern "C" fn(*mut c_void, *const c_char, usize);
type Change = unsafe extern "C" fn(*mut c_void, usize, *mut c_char, usize);

unsafe extern "C" {
    fn peer_open(path: *const c_char, bytes: usize, shape: c_int, entries: u64) -> *mut Opaque;
    fn peer_close(peer: *mut Opaque);
    fn peer_error() -> *const c_char;
    fn peer_load(
        peer: *mut Opaque,
        count: usize,
        keys: *const u64,
        values: *const c_char,
        len: usize,
    ) -> c_int;
    fn peer_put(peer: *mut Opaque, key: u64, value: *const c_void, len: usize) -> c_int;
    fn peer_get(peer: *mut Opaque, key: u64, look: Look, context: *mut c_void) -> c_int;
    fn peer_delete(peer: *mut Opaque, key: u64) -> c_int;
    fn peer_modify(
        peer: *mut Opaque,
        count: usize,
        keys: *const u64,
        change: Change,
        context: *mut c_void,
    ) -> c_int;
    fn peer_append(peer: *mut Opaque, value: *const c_void, len: usize) -> c_int;
    fn peer_pop(peer: *mut Opaque, look: Look, context: *mut c_void) -> c_int;
    fn peer_all(peer: *mut Opaque, look: Look, context: *mut c_void) -> u64;
}

/// What libpmemobj says of this thread's last error.
fn failure() -> Failure {
    // SAFETY: a text of this thread, which ends with a zero and lives until the next error.
    let text = unsafe { CStr::from_ptr(peer_error()) };
    format!("libpmemobj: {}", text.to_string_lossy()).into()
}

/// An error is negative; otherwise, whether there was something.
fn result(code: c_int) -> Result<bool> {
    if code < 0 { Err(failure()) } else { Ok(code > 0) }
}

type Looks<'l> = &'l mut dyn FnMut(&[u8]);

/// Shows a value to the closure behind `context`.
///
/// # Safety
///
/// `context` is of a `Looks` that nobody else uses; `len` bytes at `value` can be read until this returns.
unsafe extern "C" fn look_at(context: *mut c_void, value: *const c_char, len: usize) {
    // SAFETY: the caller's.
    let (look, value) =
        unsafe { (&mut *context.cast::<Looks<'_>>(), slice::from_raw_parts(value.cast(), len)) };
    look(value);
}

type Changes<'c> = &'c mut dyn FnMut(usize, &mut [u8]);

/// Lets the closure behind `context` change a value.
///
/// # Safety
///
/// As of [`look_at`]; and the bytes can be written, by nobody else.
unsafe extern "C" fn change_it(context: *mut c_void, i: usize, value: *mut c_char, len: usize) {
    // SAFETY: the caller's.
    let (change, value) =
        unsafe { (&mut *context.cast::<Changes<'_>>(), slice::from_raw_parts_mut(value.cast(), len)) };
    change(i, value);
}

/// An open pool.
struct Handle(NonNull<Opaque>);

// SAFETY: the C functions lock what they use, and know no thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Handle {
    fn raw(&self) -> *mut Opaque {
        self.0.as_ptr()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it is open, and this was the last one who knew it.
        unsafe { peer_close(self.raw()) };
    }
}

struct Opened(Arc<Handle>);

impl Store for Opened {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(Opened(self.0.clone())))
    }
}

// In every block below: the pool is open; slices and closures outlive the call, which keeps none of them.
impl Session for Opened {
    fn load(&mut self, entries: &[(u64, &[u8])]) -> Result<()> {
        let Some((_, first)) = entries.first() else { return Ok(()) };
        let keys: Vec<u64> = entries.iter().map(|(key, _)| *key).collect();
        let values: Vec<u8> = entries.iter().flat_map(|(_, value)| value.iter().copied()).collect();
        assert_eq!(values.len(), keys.len() * first.len(), "values of one length");
        // SAFETY: as many keys as is said, and as many values of that length, as was just checked.
        result(unsafe {
            peer_load(self.0.raw(), keys.len(), keys.as_ptr(), values.as_ptr().cast(), first.len())
        })?;
        Ok(())
    }

    fn put(&mut self, key: u64, value: &[u8]) -> Result<()> {
        // SAFETY: see above.
        result(unsafe { peer_put(self.0.raw(), key, value.as_ptr().cast(), value.len()) })?;
        Ok(())
    }

    fn get(&mut self, key: u64, mut look: Looks<'_>) -> Result<bool> {
        // SAFETY: see above; the context is what `look_at` expects.
        result(unsafe { peer_get(self.0.raw(), key, look_at, (&raw mut look).cast()) })
    }

    fn delete(&mut self, key: u64) -> Result<bool> {
        // SAFETY: see above.
        result(unsafe { peer_delete(self.0.raw(), key) })
    }

    fn scan(&mut self, _: u64, _: u64, _: Looks<'_>) -> Result<u64> {
        Err("a hash table has no order".into())
    }

    fn all(&mut self, mut look: Looks<'_>) -> Result<u64> {
        // SAFETY: see above; the context is what `look_at` expects.
        Ok(unsafe { peer_all(self.0.raw(), look_at, (&raw mut look).cast()) })
    }

    fn modify(&mut self, keys: &[u64], mut change: Changes<'_>) -> Result<()> {
        let context = (&raw mut change).cast();
        // SAFETY: see above; the context is what `change_it` expects.
        result(unsafe { peer_modify(self.0.raw(), keys.len(), keys.as_ptr(), change_it, context) })?;
        Ok(())
    }

    fn append(&mut self, value: &[u8]) -> Result<()> {
        // SAFETY: see above.
        result(unsafe { peer_append(self.0.raw(), value.as_ptr().cast(), value.len()) })?;
        Ok(())
    }

    fn pop(&mut self, mut look: Looks<'_>) -> Result<bool> {
        // SAFETY: see above; the context is what `look_at` expects.
        result(unsafe { peer_pop(self.0.raw(), look_at, (&raw mut look).cast()) })
    }
}

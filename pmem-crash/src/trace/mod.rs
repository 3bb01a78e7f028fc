//! Every store of unmodified code: what an exploration at [`Level::EveryStore`](crate::Level::EveryStore) sees.
//!
//! ```
//! use pmem_crash::trace;
//! use pmem_map::MapOptions;
//!
//! let mut mapping = MapOptions::new().len(4096).memfd().unwrap();
//! match trace::record(&mut mapping, |bytes| bytes[64..67].copy_from_slice(b"abc")) {
//!     Ok(((), trace)) => {
//!         let mut image = vec![0; 4096];
//!         trace.replay(&mut image);
//!         assert_eq!(image, mapping.as_slice());
//!         println!("{} stores, the first from {}", trace.stores().len(), trace.stores()[0].code);
//!     }
//!     Err(error) => println!("{error}"), // not an x86-64
//! }
//! ```
//!
//! # How
//!
//! The pages that the code sees are write-protected, so that each store is a signal. Its handler decodes the instruction,
//! executes a copy of it, with the interrupted thread's registers, whose memory operand is in a *second view* of the same
//! pages, writes down the bytes, and lets the thread go on behind it. The pages themselves are never writable: no store of another thread escapes. One lock
//! around all this makes the order of what is written down the order of the stores.
//!
//! | instruction | how | order within it |
//! |---|---|---|
//! | `mov`, read-modify-writes, locked or not, x87, SSE, AVX, AVX-512 with masks, `movnt*` | a copy is executed | its 8-byte words have none |
//! | `movs`, `stos`, with `rep` or without, up or down | done in its place | lines one after the other; the words of a line have none |
//! | scatters, `push`, `call` and `pop` with an operand there, `maskmovdqu`, `movdir64b`, `xsave`, a stored `rsp` | executed in single step, its address moved to the second view | none |
//! | an address relative to `fs` or `gs`; `enter`, `pushf`, `push rsp`; whatever the decoder does not know | refused: a message names it, and the process ends by SIGSEGV | |
//!
//! Bytes that a masked, a stepped or an `fxsave` instruction leaves as they were are not among its stores. The handler runs
//! on a stack of its own: the thread may have an alternate stack, a small one, or none.
//!
//! # What is not seen
//!
//! - **Flushes and drains by instructions of your own.** `clwb`, `clflushopt`, `clflush`, `sfence` and `mfence` do not store, so they
//!   do not fault, and a locked instruction elsewhere does not either. Flush by [`Region::flush`](pmem_map::Region::flush) and drain by
//!   [`Region::drain`](pmem_map::Region::drain): these are events. Nothing is taken for flushed that was not told, so the worst of a
//!   flush unseen is a failure that could not happen.
//! - **The kernel.** `read(2)` into a protected page is `EFAULT`. Read into a buffer and copy, as
//!   [`Mapping::read_from`](pmem_map::Mapping::read_from) does.
//! - **Other views**: another mapping of the same file.
//!
//! Threads that the code started must have ended, or at least not store, when the tracing ends.

mod error;
mod log;
mod memory;
mod program;
mod source;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(not(target_arch = "x86_64"))]
mod no_tracer;
#[cfg(not(target_arch = "x86_64"))]
pub(crate) use no_tracer::Tracer;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::Tracer;

pub use error::TraceError;
pub(crate) use log::Entry;
pub use log::Path;
pub use source::{Code, Frame};

use pmem_map::Mapping;

/// A store, or the part of it in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Store {
    /// First byte, within the mapping.
    pub offset: u64,
    /// What was stored.
    pub bytes: Vec<u8>,
    /// Whether it went past the caches.
    pub nontemporal: bool,
    /// Who stored: the thread's number, as `gettid` says.
    pub thread: i32,
    /// Number of the instruction, in the order in which this process executed them. What one instruction stores may be
    /// several `Store`s.
    pub instruction: u64,
    /// How it was executed.
    pub path: Path,
    /// Which code stored.
    pub code: Code,
}

impl Store {
    fn new(entry: &Entry, bytes: &[u8]) -> Store {
        Store {
            offset: entry.offset,
            bytes: bytes.to_vec(),
            nontemporal: entry.nontemporal,
            thread: entry.thread,
            instruction: entry.instruction,
            path: entry.path,
            code: Code::of(entry),
        }
    }
}

/// Stores in the order in which they were executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    stores: Vec<Store>,
}

impl Trace {
    /// All of them.
    pub fn stores(&self) -> &[Store] {
        &self.stores
    }

    /// Stores them again, in an image of the mapping as it was before: afterwards it is the mapping as it was in the end.
    ///
    /// # Panics
    ///
    /// When the image is shorter than the mapping was.
    pub fn replay(&self, image: &mut [u8]) {
        for store in &self.stores {
            image[store.offset as usize..][..store.bytes.len()].copy_from_slice(&store.bytes);
        }
    }

    /// Instructions that were executed, rather than places that they stored to.
    pub fn instructions(&self) -> usize {
        let same = |pair: &&[Store]| pair[0].instruction == pair[1].instruction;
        self.stores.len() - self.stores.windows(2).filter(same).count()
    }
}

/// Runs `body` on the bytes of a mapping, and returns what it returns, with all its stores to them, by whatever thread.
///
/// The mapping is of a file or a memfd. A store costs some microseconds.
///
/// # Errors
///
/// [`TraceError`]. Where `body` ran, its stores were done all the same.
pub fn record<R>(mapping: &mut Mapping, body: impl FnOnce(&mut [u8]) -> R) -> Result<(R, Trace), TraceError> {
    /// A panic of `body` is to leave the mapping as it was found.
    struct Attached(Option<Tracer>);
    impl Drop for Attached {
        fn drop(&mut self) {
            if let Some(tracer) = self.0.take() {
                tracer.detach();
            }
        }
    }
    let mut attached = Attached(Some(Tracer::attach(mapping)?));
    let result = body(mapping.as_mut_slice());
    let mut trace = Trace::default();
    if let Some(tracer) = &mut attached.0 {
        trace.stores.extend(tracer.take()?.entries().map(|(entry, bytes)| Store::new(entry, bytes)));
    }
    Ok((result, trace))
}

/// Whether every store can be traced here.
///
/// # Errors
///
/// [`TraceError::Unsupported`] on another processor than an x86-64.
pub fn is_supported() -> Result<(), TraceError> {
    if cfg!(target_arch = "x86_64") { Ok(()) } else { Err(TraceError::Unsupported) }
}

/// This thread's number, as the kernel knows it. Async-signal-safe.
pub(crate) fn thread_id() -> i32 {
    // SAFETY: a system call without arguments.
    unsafe { libc::syscall(libc::SYS_gettid) as i32 }
}

//! Maps bytes and says what makes them durable.
//!
//! A [`Mapping`] is bytes, a [`Granularity`] (what to do to make a store durable) and a [`Durability`]
//! (what a durable store survives).
//!
//! ```
//! use pmem_map::Mapping;
//! # fn main() -> Result<(), pmem_map::Error> {
//! let mut mapping = Mapping::anonymous(1 << 16)?;
//! mapping.write(128, b"hello")?; // a store: visible, not durable
//! mapping.persist(128..133)?; // flushed and drained: durable
//! assert_eq!(&mapping.as_slice()[128..133], b"hello");
//! assert_eq!(mapping.counters().drains, 1);
//! # Ok(()) }
//! ```
//!
//! A file is mapped in the same way; what it needs and promises is found out:
//!
//! ```
//! use pmem_map::{MapOptions, Ptr};
//! # fn main() -> Result<(), pmem_map::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("counter");
//! // SAFETY: nobody else writes or truncates this file; the lock keeps other programs like this one out.
//! let mut mapping = unsafe { MapOptions::new().len(4096).create(true).open(&path)? };
//! println!("{}: {:?}, {:?}", mapping.medium(), mapping.granularity(), mapping.durability());
//! let counter = Ptr::<u64>::from_offset(64);
//! let next = mapping.read(counter)? + 1;
//! mapping.write_value(counter, &next)?;
//! mapping.persist(64..72)?;
//! # Ok(()) }
//! ```
//!
//! # In reading order
//!
//! - [`Mapping`], which owns its bytes, and [`MapOptions`], how it is asked for;
//! - [`Region`], what a journal or a filesystem turns it into: loads, stores, flush, drain, growth;
//! - [`Granularity`], [`Durability`], [`Medium`]: what is found out about a file, and from what;
//! - [`Lock`]: who may use a file, across processes and forks;
//! - [`Observer`], how a crash explorer sees every store, flush and drain, and [`Counters`], budgets as tests;
//! - [`lease`], how a file of a mounted volume is mapped past the kernel's pages;
//! - [`Backing`], how a filesystem or a device lends bytes that are mapped here, and serves the faults of its pages;
//! - [`FirstStores`], how a snapshot learns of the first store to each page after its moment;
//! - [`ProtectionKey`], how each thread opens pages to its own stores alone;
//! - [`StoreHook`], how a tracer deals with stores inside the signal handler.
//!
//! # What it does not do
//!
//! A store is not a transaction: only an aligned 8-byte store is all or nothing in a crash. A file that
//! somebody truncates while it is mapped costs the process a SIGBUS at its next access, except inside
//! [`Region::guarded`], where it is an error. Linux only; the
//! instructions are those of x86-64, those of aarch64 are there but untried, and elsewhere nothing but
//! memory and written-back files is durable, which [`Durability`] says.

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!(
    "pmem-map needs Linux: it reserves addresses, allocates blocks and locks files by its system calls"
);

mod bytes;
mod mapping;
mod options;
mod ptr;

mod region;
mod stores;

mod block;
mod cpu;
mod dax;
mod durability;
mod granularity;
mod medium;
mod write_back;

mod address_space;
mod backing;
mod fault;
mod file;
mod first_store;
mod fork;
mod futex;
mod key;
pub mod lease;
mod lock;
mod lost;
mod memory;
mod places;
mod system;

mod counters;
mod error;
mod observer;
mod store_hook;

pub use backing::{Backing, Extent, Pages};
pub use bytes::Bytes;
pub use counters::Counters;
pub use cpu::FlushMethod;
pub use error::{Error, Result};
pub use first_store::{Dirtiness, FirstStore, FirstStoreFailure, FirstStores, Protecting, RangeId, Watched};
pub use granularity::{Durability, Granularity};
pub use key::{ProtectionKey, Stores};
pub use lock::Lock;
pub use mapping::Mapping;
pub use medium::{Filesystem, Medium};
pub use observer::{Decision, Event, Observer};
pub use options::MapOptions;
pub use ptr::Ptr;
pub use region::Region;
pub use store_hook::{StoreHook, StoreHookGuard, hook_stores};

/// Bytes of a cache line, the unit of flushing.
pub const LINE: u64 = 64;
/// Bytes of a page, the unit of mapping.
pub const PAGE: u64 = 4096;

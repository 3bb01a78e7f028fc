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
//! Reading order: [`Mapping`], which owns its bytes; [`Region`], what a journal or a filesystem turns it
//! into; [`Observer`], how a crash explorer sees every store, flush and drain.

mod bytes;
mod counters;
mod cpu;
mod error;
mod granularity;
mod mapping;
mod observer;
mod ptr;
mod region;

pub use bytes::Bytes;
pub use counters::Counters;
pub use error::{Error, Result};
pub use granularity::{Durability, Granularity};
pub use mapping::Mapping;
pub use observer::{Event, Observer};
pub use ptr::Ptr;
pub use region::Region;

/// Bytes of a cache line, the unit of flushing.
pub const LINE: u64 = 64;
/// Bytes of a page, the unit of mapping.
pub const PAGE: u64 = 4096;

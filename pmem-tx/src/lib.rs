//! All-or-nothing updates to any mapping, with no allocator and no pool.
//!
//! ```
//! use pmem_map::Mapping;
//! use pmem_tx::Journal;
//!
//! # fn main() -> Result<(), pmem_tx::Error> {
//! let journal = Journal::create(Mapping::anonymous(1 << 20)?, 0..65536)?;
//! journal.write(|tx| {
//!     let n = *tx.read::<u64>(65536)?;
//!     tx.write(65536, &(n + 1))?;
//!     tx.write(131072, &n) // far away; both, or neither
//! })?;
//! assert_eq!(*journal.begin()?.read::<u64>(65536)?, 1);
//! # Ok(()) }
//! ```
//!
//! A [`Journal`] owns a mapping and a log area in it. A [`Tx`] follows the plainest rule there is: `&self` reads,
//! `&mut self` changes; so the borrow checker proves the whole interface. A committed transaction survives what the
//! mapping's [`Durability`](pmem_map::Durability) names, from the moment `commit` returns; one drain each.
//!
//! The protocol is redo logging: changes go to DRAM, commit writes one record past the caches, drains once, and
//! applies. FORMAT.md has the bytes, the steps, and what a crash leaves after each. [`engine`] has the parts, for
//! authors of pools.
//!
//! Not promised: a media error in the newest record cannot be told from a record that was being written; its transaction
//! counts as not committed, though what was applied of it may have reached the medium. Errors elsewhere in the log are
//! detected, in your own bytes they are not.

#[cfg(target_endian = "big")]
compile_error!("the media format is little-endian, and values are stored as they are in memory");

pub mod engine;
mod error;
mod hooks;
mod journal;
mod line;
mod shared;
mod space;
mod subscriber;
mod transaction;
mod tx;
mod undo;

pub use engine::Ticket;
pub use error::{Error, Result};
pub use journal::{Journal, JournalOptions};
pub use shared::SharedMapping;
pub use space::LogSpace;
pub use subscriber::{Committed, Subscriber};
pub use transaction::Transaction;
pub use tx::{Savepoint, Tx};
pub use undo::UndoTx;

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
//! # Redo and undo
//!
//! [`Tx`] is redo: changes go to DRAM, commit writes one record past the caches, drains once, and applies. [`UndoTx`] is undo: old
//! bytes go to the log, with a drain, then changes to their place; commit takes two drains more. Redo is the faster one
//! for anything small; undo copies less where much is changed in place. Both are a [`Transaction`], so that a structure is
//! written once, and they may take turns in one journal as they like.
//!
//! | | drains | |
//! |---|---|---|
//! | [`Journal::write`] | 1 | 2 if its record is larger than a third of the log ([`LogSpace`]) |
//! | [`Journal::write_undo`] | 2 and one for each [`snapshot`](Transaction::snapshot) | the same if it is rolled back |
//! | [`Tx::commit_eventual`] | 0 | durable with the next [`sync`](Journal::sync): 1 |
//! | [`Journal::atomic_line`] | 1 | for what fits one line: usually nothing is logged |
//! | a transaction that changes nothing | 0 | |
//!
//! A crash leaves a prefix of eventual commits. Under [group commit](JournalOptions::group_commit) strict commits of several threads
//! share drains. On an ordinary file a drain of the log is one device flush, and changed pages are written back when the log is
//! full, and at close.
//!
//! Several journals may share a mapping ([`SharedMapping`]); what is to happen when a transaction has ended is a
//! [hook](Transaction::on_commit); [`Subscriber`] sees every committed record.
//!
//! FORMAT.md has the bytes, the steps, and what a crash leaves after each. [`engine`] has the parts, for authors of pools.
//!
//! # What is guaranteed
//!
//! After a crash at any store, the crash of a recovery included, opening the journal finds every transaction that was
//! acknowledged as durable, whole, and of all others nothing, or (of the ones that were being committed, and of eventual
//! ones) whole ones: a prefix of them in the order of commits.
//!
//! - Memory that was [declared fresh](Transaction::declare_fresh) holds anything after an abort or a crash.
//! - [`Journal::self_validating_line`] may be torn by words; [`Journal::atomic_line`] never is.
//! - A failed drain poisons the journal: nothing more is acknowledged, and what is durable is for the next opening to say.
//!
//! Not promised: a media error in the newest record cannot be told from a record that was being written. Its transaction
//! counts as not committed, though what was applied of it may have reached the medium; if it was an undo snapshot, what was
//! changed after it is not put back. Errors elsewhere in the log are detected, in your own bytes they are not.

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
pub use subscriber::{Committed, Recovered, Refusal, Subscriber};
pub use transaction::Transaction;
pub use tx::{Savepoint, Tx};
pub use undo::UndoTx;

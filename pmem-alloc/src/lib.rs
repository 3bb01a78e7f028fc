//! Pools: one file, a heap in it, objects found by name.
//!
//! ```
//! # use pmem_alloc::*; fn main() -> Result<()> {
//! let pool = Pool::anonymous(1 << 20)?;
//! pool.write(|tx| {
//!     let mut heap = tx.open::<PHeap<u64>>("answers")?;
//!     *heap.root_mut()? = 42;
//!     Ok(())
//! })?;
//! let tx = pool.read()?;
//! assert_eq!(*tx.open::<PHeap<u64>>("answers")?.root()?, 42);
//! # Ok(()) }
//! ```
//!
//! What a pool promises: a transaction is there as a whole, or not at all, whenever the process or (as far as the
//! mapping's [`Durability`](pmem_map::Durability) reaches) the machine dies; after a crash no block is lost and none
//! is used twice; safe code cannot cause undefined behaviour, even on a pool full of garbage.
//!
//! Reading order: [`Pool`], [`ReadPool`] and [`PoolOptions`], [`WriteTx`] and [`ReadTx`], [`Object`] (what a name can
//! stand for) with its guards [`Mut`] and [`Ref`], [`Value`] and [`Key`] (what containers hold), [`Body`]
//! and [`Ptr`] (for authors of containers). Inside: `format` and FORMAT.md, `segments` and `growth`, `heap` with
//! `classes`, `spans`, `runs` and `scan`, `directory`, `gate`, `transaction`, `eventual`, `savepoint`, and `body`, which has
//! the soundness argument.
//!
//! Care of a pool: [`Pool::check`], [`Pool::repair`], [`Pool::backup`], [`PoolOptions::compact`], [`WriteTx::migrate`].
//!
//! # Replication
//!
//! A [`Replicator`] sees what a pool commits, and has a say in it; [`Pool::follow`] applies that to a copy. `pmem-replica` is both
//! ends, with a stream in between.
//!
//! All `unsafe` of this crate is in `body.rs`, `media.rs` and `slab.rs`; and in `path.rs`, `read_pool.rs`, `backup.rs`, `compact.rs` and
//! `repair.rs`, where mapping a file by its path is `unsafe` for the caller.

#![deny(unsafe_code)]

mod backup;
mod body;
mod cache;
mod census;
mod check;
mod classes;
mod compact;
mod companion;
mod describe;
mod directory;
mod error;
mod eventual;
mod format;
mod gate;
mod graph;
mod growth;
mod heap;
mod kind;
mod making;
mod media;
mod migrate;
mod object;
mod occupancy;
mod pages;
mod path;
mod pheap;
mod pool;
mod read_pool;
mod repair;
mod replicate;
mod reservation;
mod runs;
mod savepoint;
mod scan;
mod segments;
mod slab;
mod space;
mod spans;
mod stats;
mod trace;
mod transaction;
mod value;

pub use body::{Body, Mode, Peek, Read, Write};
pub use check::{CheckReport, Leak, ObjectReport, Problem, ProblemKind};
pub use classes::block_size;
pub use compact::Compaction;
pub use describe::{Descriptor, PlainField, Shape, TypeIndex, TypeInfo, Types};
pub use error::{Error, ErrorKind, Result};
#[doc(hidden)]
pub use growth::GrowthShortcut;
pub use migrate::Step;
pub use object::{Guard, Mut, Named, Object, Ref};
pub use occupancy::{Holds, Occupancy, Stretch};
pub use pheap::{HeapGuard, PHeap};
pub use pmem_map::{Mapping, Ptr};
pub use pmem_tx::Ticket;
pub use pool::{Opening, Pool, PoolOptions};
pub use read_pool::ReadPool;
pub use repair::{Registry, Repair};
pub use replicate::{Grown, Position, Replicator};
pub use reservation::Reservation;
pub use savepoint::Savepoint;
pub use slab::{MIN_SLAB, Slab};
pub use stats::{ClassStats, PoolStats};
pub use trace::{Seal, Tracer};
pub use transaction::{ReadTx, WriteTx};
pub use value::{
    EncodeAs, Field, Form, Invalid, Key, ObjectForm, OrdField, OrdKey, Plain, Schema, Serde, Stored, Value,
};

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
//! Reading order: [`Pool`] and [`PoolOptions`], [`WriteTx`] and [`ReadTx`], [`Object`] (what a name can
//! stand for) with its guards [`Mut`] and [`Ref`], [`Value`] and [`Key`] (what containers hold), [`Body`]
//! and [`Ptr`] (for authors of containers). Inside: `format` and FORMAT.md, `heap` with `classes`, `spans`, `runs` and
//! `scan`, `directory`, `gate`, `transaction`, `eventual`, `savepoint`, and `body`, which has the soundness argument.
//!
//! All `unsafe` of this crate is in `body.rs` and `media.rs`, and in `path.rs`, where mapping a file by its path is
//! `unsafe` for the caller.

#![deny(unsafe_code)]

mod body;
mod check;
mod classes;
mod directory;
mod error;
mod eventual;
mod format;
mod gate;
mod heap;
mod media;
mod object;
mod pages;
mod path;
mod pool;
mod reservation;
mod runs;
mod savepoint;
mod scan;
mod space;
mod spans;
mod stats;
mod transaction;
mod value;

pub use body::{Body, Mode, Peek, Read, Write};
pub use check::{CheckReport, Problem};
pub use error::{Error, ErrorKind, Result};
pub use object::{Guard, HeapGuard, Mut, Named, Object, PHeap, Ref};
pub use pmem_map::{Mapping, Ptr};
pub use pmem_tx::Ticket;
pub use pool::{Opening, Pool, PoolOptions};
pub use reservation::Reservation;
pub use savepoint::Savepoint;
pub use stats::{ClassStats, PoolStats};
pub use transaction::{ReadTx, WriteTx};
pub use value::{EncodeAs, Invalid, Key, OrdKey, Plain, Stored, Value};

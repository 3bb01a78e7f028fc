//! Containers that live in a pool. Names follow `std::collections`, with a `P` because programs use both.
//!
//! ```
//! use pmem_collections::*;
//!
//! const SCORES: Named<PBTreeMap<u64, i64>> = Named::new("scores");
//!
//! # fn main() -> Result<()> {
//! # let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 22)?)?;
//! pool.write(|tx| {
//!     let mut scores = tx.open(SCORES)?;
//!     scores.insert(7, 100)?;
//!     *scores.entry(7).or_insert(0)? += 1;
//!     scores.extend([(8, 80), (9, 90)])?;
//!     Ok(())
//! })?; // durable here, with one drain
//!
//! let tx = pool.read()?;
//! let scores = tx.open(SCORES)?;
//! assert_eq!(scores.get(7)?, Some(&101));
//! let best = scores.range(8..)?.collect::<Result<Vec<_>>>()?;
//! assert_eq!(best, [(&8, &80), (&9, &90)]);
//! # Ok(()) }
//! ```
//!
//! `PBTreeMap<K, V>` and its like are *names of types*, given to `open`; what a program holds is the
//! guard, `Mut<PBTreeMap<K, V>>` or `Ref<PBTreeMap<K, V>>`, on whose page ([`map::MapGuard`],
//! [`hash_map::HashMapGuard`], [`CellGuard`], ...) the methods are. A guard's operations are part of its transaction: what they changed is
//! durable when the transaction's commit returns, and none of them drains by itself.
//!
//! There is no `unsafe` in this crate but two functions of `concurrent/snapshot.rs`: all bytes go through
//! [`pmem_alloc::Body`] and [`pmem_alloc::Slab`]. The bytes on media are
//! described in `FORMAT.md`.
//!
//! # Errors
//!
//! Reads check what they read: damage is [`ErrorKind::Corrupt`] with the offset, never a panic and never undefined. When there is
//! no space, the operation says so and has changed nothing. After any *other* error of an operation
//! that changes, roll the transaction back (return the error from `pool.write`): the object may be half changed.
//!
//! A structure of your own, on the same pieces: [`guide`] builds one.
//!
//! # Modules, in reading order
//!
//! [`PCell`] and [`boxed`] ([`PBox`]); [`map`] (the guard of [`PBTreeMap`], its entries, iterators and ranges); [`set`]
//! ([`PBTreeSet`]); [`priority_queue`] ([`PPriorityQueue`]); below them the tree itself; [`hash_map`] and [`hash_set`] ([`PHashMap`],
//! [`PHashSet`]), below them the hash table; [`vec`](mod@vec) ([`PVec`]), on it [`bytes`] and [`string`] ([`PBytes`], [`PString`]);
//! [`deque`] ([`PDeque`]), and with it [`log`] ([`PLog`]); [`list`] ([`PLinkedList`]); [`art`] ([`PArt`]); below all of them
//! `stored`, how a value of any kind sits in a container. Apart from these, [`concurrent`]: containers
//! for many threads, without transactions, each operation durable when it returns.

#![deny(unsafe_code)]

pub mod art;
pub mod boxed;
pub mod bytes;
mod cell;
pub mod concurrent;
mod damage;
pub mod deque;
pub mod guide;
mod hash;
pub mod hash_map;
pub mod hash_set;
pub mod list;
pub mod log;
pub mod map;
pub mod priority_queue;
mod salvage;
pub mod set;
mod stored;
pub mod string;
mod tree;
pub mod vec;

pub use art::{ArtGuard, PArt};
pub use boxed::{BoxGuard, PBox};
pub use bytes::{BytesGuard, PBytes};
pub use cell::{CellGuard, PCell};
pub use concurrent::{ConcurrentHashMap, ConcurrentLog, ConcurrentMap, MpmcQueue};
pub use deque::{DequeGuard, PDeque};
pub use hash_map::PHashMap;
pub use hash_set::PHashSet;
pub use list::{ListGuard, PLinkedList};
pub use log::{LogGuard, PLog};
pub use map::PBTreeMap;
pub use pmem_alloc::fields;
pub use pmem_alloc::{
    EncodeAs, Error, ErrorKind, Field, Guard, Key, Mapping, Mode, Mut, Named, Object, OrdKey, PHeap, Plain,
    PlainField, Pool, PoolOptions, Ptr, Read, ReadTx, Ref, Result, Savepoint, Schema, Serde, Stored, Value,
    Write, WriteTx,
};
pub use priority_queue::{PPriorityQueue, PriorityQueueGuard};
pub use salvage::Salvage;
pub use set::PBTreeSet;
pub use string::{PString, StringGuard};
pub use vec::{PVec, VecGuard};

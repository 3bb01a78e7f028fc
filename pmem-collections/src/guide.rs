//! Write your own persistent structure.
//!
//! The containers of this crate are made of public pieces: [`Body`], the bytes of one object in one transaction;
//! [`Ptr`](crate::Ptr), a reference in a pool; [`Plain`](crate::Plain) data; and the trait [`Object`](crate::Object).
//! This page builds another container of them, an *interval tree*: it keeps intervals `start..end`, and finds
//! those that overlap a given one. It takes half an hour, and no `unsafe`.
//!
//! The code is that of `examples/own_structure`, file by file, which is compiled and tested with the workspace
//! (so the blocks here are not compiled once more):
//!
//! ```sh
//! cargo run --example own_structure
//! cargo test -p examples --test own_structure -- --nocapture
//! ```
//!
//! First ask whether you need it. Several containers changed in one transaction are often enough: a map by key and a set
//! by something else never disagree. For a few linked nodes that nobody else is to use, [`PHeap`](crate::PHeap) gives you `alloc`,
//! `free` and references without a trait to implement (`examples/linked_list.rs`).
//!
//! # 1. The bytes
//!
//! Decide what is on media before anything else, for that is what the next version of your program has to read. A node is plain
//! data: `#[repr(C)]`, integers, arrays and `Ptr`s, no padding (`bytemuck::Pod` refuses it). A `Ptr` is an offset in the pool,
//! so the file may be mapped anywhere; null is zero.
//!
//! Name every field with [`fields!`](crate::fields). The pool records them, and refuses to open the tree as something
//! else; and it knows from them where the references are, which leak checks and compaction need.
//!
//! What can be computed (`reach`, `height`) is stored where reading must be quick, and checked where reading must be safe.
#![doc = concat!("```ignore\n", include_str!("../../examples/own_structure/tree/node.rs"), "```")]
//!
//! # 2. The object
//!
//! A name in the pool stands for an `Object`. The type that implements it is never constructed: `tx.open` gives its *guard*, which has a
//! `Body` and the offset of the header. A guard of a reader and that of a writer are one type with another
//! [`Mode`](crate::Mode).
//!
//! - `create` makes the header. It runs inside the transaction that first opens the name: after a crash there are name and header,
//!   or neither.
//! - `attach` checks the header. Opening costs no more, however large the tree is: there is nothing to recover in it, because
//!   the pool has replayed or dropped whole transactions before you see a byte.
//! - `destroy` frees everything; [`WriteTx::remove`](crate::WriteTx::remove) and containers that hold your object call it.
//! - `trace` tells [`Tracer`] each block, and where references are. [`Pool::check`](crate::Pool::check) then tells leaks
//!   from nodes, and a pool with your trees in it can be compacted. Without it, both give up.
#![doc = concat!("```ignore\n", include_str!("../../examples/own_structure/tree/object.rs"), "```")]
//!
//! # 3. Reading, of a pool that may be damaged
//!
//! [`Body::get`] checks that a reference leads to an allocated block with room for a `T`, and that the bits are a `T`; if not, it
//! returns `Corrupt` with the offset. So nothing here is undefined, whatever the file has in it. What remains to you:
//!
//! - **Loops end.** A damaged pool may have a circle. Find something that shrinks on each step, and check it: here heights do
//!   on the way down, and keys rise on the way through. A counter that is limited by what was read from media limits nothing.
//! - **Recursion is bounded** by a number of yours (`MAX_HEIGHT`), not by one from media.
//! - **Arithmetic cannot overflow**: use `checked_add` on what was read. Never reserve memory by a length from media.
//! - **Damage is an error, with the offset and what was expected**: [`Error::corrupt`](crate::Error::corrupt). No panic.
//!
//! References (`&Node`) live as long as the borrow of the guard. Reads copy nothing, and take no lock: each sees the pool as it was
//! last committed, or, in a write transaction, with its own changes.
#![doc = concat!("```ignore\n", include_str!("../../examples/own_structure/tree/read.rs"), "```")]
//!
//! # 4. Changing
//!
//! [`Body::get_mut`] gives a `&mut` to a copy of the lines in DRAM. At commit, what differs is written to the log, with one
//! drain; so there is no order of stores to think of, no flush, and no state in between that a crash could leave. Before the
//! commit returns, nothing is durable; when it has returned, everything is. This code is the textbook's.
//!
//! - **What can fail for want of space comes first.** `insert` allocates before it changes anything: so after `NoSpace`, the tree is
//!   as it was, and the caller may go on in the same transaction.
//! - **After any other error, roll back.** The tree may be half changed *in the transaction*. Return the error from
//!   [`Pool::write`](crate::Pool::write), and nothing has happened. Or let a part fail alone:
//!   [`WriteTx::nested`](crate::WriteTx::nested).
//! - **A block that is freed** can be had again after the commit: a crash before it finds the block in use, with its content.
//! - **A bad argument** is an error before the first change: [`Error::abort`](crate::Error::abort) carries any error of yours.
//!
//! An insert changes one line of each node whose height or reach changes, the header, and a new node: one drain, as for
//! every transaction.
#![doc = concat!("```ignore\n", include_str!("../../examples/own_structure/tree/change.rs"), "```")]
//!
//! # 5. The check
//!
//! Write down everything that must be true, as code. It is what the tests call after each step, and what you will want when a user
//! sends you a pool.
#![doc = concat!("```ignore\n", include_str!("../../examples/own_structure/tree/check.rs"), "```")]
//!
//! # 6. The test
//!
//! Five questions, of which a usual test asks the first only:
//!
//! 1. *Does it hold what a `Vec` would hold?* Random operations, each compared; pools reopened in between.
//! 2. *Does it leak?* `Pool::check` after every state: no problems, no leaks, no block that nobody traced.
//! 3. *What if the pool is full?* The error, the tree unchanged, and the next operation works.
//! 4. *What if it is damaged?* Fields overwritten at random, references to other nodes among them: a value or an error.
//! 5. *What if the power fails?* `pmem-crash` runs some operations once, builds every image that a failure could have
//!    left, opens each, and asks: is this one of the states that are allowed here, and can it be used? And, because a test that
//!    cannot fail proves nothing: a move in two transactions has to be found.
//!
//! If it fails, it names the operation, the lost stores and their source lines, and a command that opens that one image again.
#![doc = concat!("```ignore\n", include_str!("../../examples/tests/own_structure.rs"), "```")]
//!
//! # 7. Using it
//!
//! A structure of yours is as good as one of this crate's: it opens by name, changes in one transaction with others, and sits in
//! containers as a value (`PBTreeMap<u64, IntervalTree>`), because `Form::object` says that it is an object.
#![doc = concat!("```ignore\n", include_str!("../../examples/own_structure/main.rs"), "```")]
//!
//! What this does not give you: changes by several threads at once. One transaction writes at a time. The concurrent
//! containers ([`concurrent`](crate::concurrent)) have protocols of their own, on [`Slab`](pmem_alloc::Slab)s.
#![allow(unused_imports, reason = "for the links above")]

use pmem_alloc::{Body, Tracer};

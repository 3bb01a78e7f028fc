//! Explores what a power failure could leave in a mapping, and asks whether it is right.
//!
//! A workload runs once on a real [`Mapping`](pmem_map::Mapping), observed. Afterwards every image that a
//! power failure could have left is built, opened by the code under test, and shown to an oracle; and
//! crashes inside that opening are explored too. A failure names the operation, the stores that were lost
//! with their source lines, and a seed that repeats it.
//!
//! ```
//! use pmem_crash::Exploration;
//! use pmem_map::{Error, Mapping};
//!
//! // A list: its length at 0, its elements from 64 on. An element is durable before the length says so.
//! fn push(list: &mut Mapping, value: u64) -> Result<(), Error> {
//!     let len = read(list, 0);
//!     let at = 64 + 8 * len;
//!     list.write(at, &value.to_le_bytes())?;
//!     list.persist(at..at + 8)?; // without this line, the exploration fails
//!     list.write(0, &(len + 1).to_le_bytes())?;
//!     list.persist(0..8)
//! }
//! fn read(list: &Mapping, at: u64) -> u64 {
//!     u64::from_le_bytes(list.as_slice()[at as usize..][..8].try_into().unwrap())
//! }
//!
//! let report = Exploration::new("push")
//!     .run(
//!         |mut list, ops| (1..=3).try_for_each(|n| ops.run(format!("push {n}"), || push(&mut list, n))),
//!         |mapping| Ok::<Mapping, Error>(mapping), // a list needs no recovery
//!         |mut list, point| {
//!             let len = read(&list, 0);
//!             if !point.range().contains(&(len as usize)) {
//!                 return Err(format!("{len} elements, of {:?}", point.range()));
//!             }
//!             if let Some(n) = (0..len).find(|n| read(&list, 64 + 8 * n) != n + 1) {
//!                 return Err(format!("element {n} is {}", read(&list, 64 + 8 * n)));
//!             }
//!             push(&mut list, 9).map_err(|error| error.to_string()) // and it still works
//!         },
//!     );
//! println!("{report}");
//! report.assert_ok();
//! ```
//!
//! # Which images
//!
//! x86 with ADR. A crash keeps of each 64-byte line a prefix of the stores to it, at least those that were
//! flushed by a thread (whoever stored them) before a drain of the same thread. A longer store than one
//! aligned 8-byte word is several, in no order: any subset. Stores past the caches are unordered until
//! their thread drains, within a line too, and need no flush. Bytes that changed otherwise, through `&mut`,
//! are found by comparing at the next store to their line, flush of it, or drain: any subset of the changed
//! words (values that were replaced in between are not seen, nor is the order). A file's length and name are
//! lost unless synced.
//!
//! The power fails before every drain, before every sync of the file or its folder, whenever an operation
//! is acknowledged, and at the end. These moments suffice: what a failure between two drains could leave, a
//! failure right before the second could leave as well, because every store that could be lost then may
//! still be lost. (A test compares this with a model that crashes after every single event.)
//!
//! At most [`Config::bound`] states per crash point are tried completely. Of more: nothing kept but what is
//! certain, everything kept, each line alone lost, each line alone kept, and random ones from a seed.
//!
//! Stores are seen in the order of their events. The threads of a workload must take turns (by a lock, as
//! most structures do), or [`Config::raw_stores`] must be off. In one thread, the explorer takes the order of
//! calls for the order of stores; [`Tear::EightBytes`] drops that assumption within a line.
//!
//! # Images that are not to be recovered
//!
//! A crash inside the creation of something leaves nothing that opens, and rightly so. Let `open` return an
//! `Option` then (`None` for the typed error "this is not one"), and let the oracle accept `None` as long as
//! [`Point::acknowledged`] is 0.
//!
//! # Planted bugs
//!
//! An exploration proves something only if it would find the bug. Put the bug behind a switch in the code
//! under test, and ask for [`Report::expect_failure`].
//!
//! # Reading order
//!
//! [`Exploration`], the face; `recorder`, what is written down of a run; `shadow`, the model of the
//! persistence domain; `line`, the states of one line; `choices` and `explore`, which images are tried;
//! [`Report`].
//!
//! # Sources
//!
//! Enumeration per line in store order is Vinter's (ATC '22); recovery and use as oracle, Chipmunk's
//! (EuroSys '23) and Witcher's (SOSP '21); crashes inside recovery, XFDetector's (ASPLOS '20).

#![deny(unsafe_code)]

mod choices;
mod config;
mod dump;
mod exploration;
mod explore;
mod fault;
mod generated;
mod image;
mod line;
mod lint;
pub mod mutation;
mod reading;
mod recorder;
mod replay;
mod report;
mod shadow;

pub use config::{Config, Tear};
pub use exploration::{Exploration, Point};
pub use fault::{Fault, Step, StepKind};
pub use generated::{Generated, explore_generated};
pub use image::Image;
pub use lint::{Lint, LintKind};
pub use recorder::Ops;
pub use report::{Crash, Difference, Failure, LostStore, Report};

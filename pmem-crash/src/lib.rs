//! Explores what a power failure could leave in a mapping, and asks whether it is right.
//!
//! A workload runs once on a real [`Mapping`](pmem_map::Mapping), observed. Afterwards every image that a
//! power failure could have left is built, opened by the code under test, and shown to an oracle; and
//! crashes inside that opening are explored too. A failure names the operation, the stores that were lost
//! with their source lines, shows the bytes, and gives a command that tries this image again and no other.
//!
//! # Your own structure, in ten lines
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
//! # Your own code, in ten lines
//!
//! 1. Add `pmem-crash` and `pmem-map` as dev-dependencies. Your structure keeps its bytes in a [`Mapping`](pmem_map::Mapping),
//!    of a file or of memory; or in one that you give it for the test.
//! 2. `Exploration::new("name").configure(|config| config.level2())` sees every store, also those that your code, or code
//!    that you call, makes through `&mut [u8]` or a pointer. Leave `level2` out if all stores are calls of the mapping's methods:
//!    that is faster.
//! 3. `.run(workload, open, oracle)` for bytes in a mapping, `.run_files(..)` for files that your code creates itself.
//! 4. `workload` does some operations, each inside [`Ops::run`]: what is durable when it returns.
//! 5. `open` is your recovery: whatever your program does first with bytes that it finds.
//! 6. `oracle` says what is wrong with what was opened, given [`Point::range`], and then *uses* it.
//! 7. Flush by [`Region::flush`](pmem_map::Region::flush), drain by [`Region::drain`](pmem_map::Region::drain) (a `Mapping` is a
//!    `Region`): flush and fence instructions of your own are not seen, and count as missing.
//! 8. Fill mapped bytes from a file by [`Mapping::read_from`](pmem_map::Mapping::read_from): at level 2 the kernel cannot store.
//! 9. [`Report::assert_ok`] prints the operation, the lost stores with the lines that made them, the difference as a hexdump, and
//!    the command that tries this image again.
//! 10. Then take a flush out, and see that it is found.
//!
//! `cargo run --release --example crash_explore` is this for a record of two fields.
//!
//! # Two levels
//!
//! [`Level::Events`], the first, sees the events of the mapping, and finds other stores by comparing. [`Level::EveryStore`], the
//! second, write-protects what the code sees and takes in each store in its order: transient values, stores that nobody
//! announced, stores of several threads at once. [`trace`] says how, which instructions, and what it does not see. A store costs
//! about 2 us, and 0.2 us for each line of a `rep movs`. It needs an x86-64; elsewhere the report says that it was level 1.
//!
//! # When it fails
//!
//! ```text
//! push: a power failure leaves an image that is recovered wrongly
//!   wrong      element 1 is 0
//!   operation  push 2 (2 begun, 1 acknowledged)
//!   crash      power fails at point 4, before the drain at src/list.rs:9:10
//!     lost     bytes 72..80 (line 1) stored at src/list.rs:5:10
//!   difference 00000040  left   01 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
//!                        stored 01 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00
//!   found      as image 9, seed 0x5eed
//!   repeat     PMEM_CRASH_IMAGE='push#1/4+0:0' cargo test -p list --test crash push -- --exact --nocapture
//! ```
//!
//! The command in the last line opens this image and no other, for a debugger. With `PMEM_CRASH_DUMP=FOLDER` the image is
//! written to a file, beside what had been stored and the account above: `nova crash replay FOLDER` recovers and checks it, if it is a
//! volume or a pool.
//!
//! # Which images
//!
//! x86 with ADR (for other media see below). A crash keeps of each 64-byte line a prefix of the stores to it, at least those that were
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
//! With persistent caches (eADR, [`Config::granularity`] `Byte`) ordinary stores are durable in their order over all
//! lines, each one a crash point; stores past the caches still need the drain. With a file's pages (`Page`) a line
//! keeps a prefix as above, for the kernel writes back when it likes and a disk tears; a drain makes whole pages durable, and may
//! fail ([`Fault::Failed`]): then nothing more is durable for certain.
//!
//! A process may be killed, too, while the machine stays up ([`Config::kills`]): the next one sees every store, of which not
//! all are durable, recovers from what it sees, and then the power fails. [`Image::with_durable`] is such an image to begin with,
//! [`Point::killed`] the one of a moment.
//!
//! At most [`Config::bound`] states per crash point are tried completely. Of more: nothing kept but what is
//! certain, everything kept, each line alone lost, each line alone kept, and random ones from a seed.
//!
//! At level 1, stores are seen in the order of their events. The threads of a workload must take turns (by a lock, as
//! most structures do), or [`Config::raw_stores`] must be off. In one thread, the explorer takes the order of
//! calls for the order of stores; [`Tear::EightBytes`] drops that assumption within a line. At level 2, threads may store at
//! once, and the order is that of the stores. (A store to a line between a flush of it by another thread and the end of that
//! flush counts as not flushed.)
//!
//! # Images that are not to be recovered
//!
//! A crash inside the creation of something leaves nothing that opens, and rightly so. Let `open` return an
//! `Option` then (`None` for the typed error "this is not one"), and let the oracle accept `None` as long as
//! [`Point::acknowledged`] is 0.
//!
//! # Lints
//!
//! [`Report::lints`] has what needs no crash to be seen, with source lines: stored and not flushed, or flushed and not drained, when an
//! operation returned as durable; a flush of a clean line; a second one before a drain; a drain of nothing. Lines that a
//! durable record covers may be left to the next drain: whoever leaves them says so to the mapping
//! ([`Region::covered_lines`](pmem_map::Region::covered_lines)). [`Report::assert_no_lints`] makes errors of them.
//!
//! # Generated workloads
//!
//! [`explore_generated`] takes them from a `proptest` strategy, and shrinks one that fails.
//!
//! # Planted bugs
//!
//! An exploration proves something only if it would find the bug. [`Exploration::fault`] leaves out one store, flush or drain of a
//! workload, without a change of the code; [`mutation::Table`] leaves out each in turn, and wants every one found. For other bugs,
//! put one behind a switch in the code under test, and ask for [`Report::expect_failure`].
//!
//! # Reading order
//!
//! [`Exploration`], the face; `recorder`, what is written down of a run; `shadow`, the model of the
//! persistence domain; `line`, the states of one line; [`trace`], every store of code that tells nobody; `choices` and
//! `explore`, which images are tried; [`Report`], and `replay`, how it names an image. Then `lint`, `fault`, [`mutation`].
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
#[expect(unsafe_code)]
pub mod trace;

pub use config::{Config, Level, Tear};
pub use exploration::{Exploration, Point};
pub use fault::{Fault, Step, StepKind};
pub use generated::{Generated, explore_generated};
pub use image::Image;
pub use lint::{Lint, LintKind};
pub use recorder::Ops;
pub use report::{Crash, Difference, Failure, LostStore, Report, Tally};

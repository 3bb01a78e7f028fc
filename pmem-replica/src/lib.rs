//! A pool that outlives its machine: its committed records go to a NATS JetStream stream, and from there to followers.
//!
//! ```no_run
//! use pmem_alloc::{PHeap, PoolOptions};
//! use pmem_replica::{Config, Follower, Mode, Primary};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::new("nats://a:4222,nats://b:4222,nats://c:4222", "bank")
//!     .mode(Mode::Sync { timeout: Duration::from_secs(5) });
//! // SAFETY: no other program touches these files.
//! let primary = unsafe { Primary::create("bank.pool", &PoolOptions::new(), &config) }?;
//! // SAFETY: as above.
//! unsafe { primary.seed("copy.pool", "copy") }?; // and bring that file to another machine
//! primary.pool().write(|tx| {
//!     *tx.open::<PHeap<u64>>("n")?.root_mut()? += 1;
//!     Ok(())
//! })?; // durable here, and on a majority of the servers
//!
//! // SAFETY: as above.
//! let follower = unsafe { Follower::open("copy.pool", &PoolOptions::new(), &config, "copy") }?;
//! follower.wait_for(primary.status().committed, Duration::from_secs(5));
//! assert_eq!(*follower.pool().read()?.open::<PHeap<u64>>("n")?.root()?, 1);
//!
//! drop(primary); // or its machine is lost
//! // SAFETY: as above.
//! let (primary, promotion) = unsafe { follower.promote(&PoolOptions::new()) }?;
//! println!("{} commits are missing", promotion.missing);
//! # Ok(()) }
//! ```
//!
//! What is promised: a follower's readers see what the primary had committed after some record, never anything else; each record is
//! applied exactly once, whoever is killed; two primaries never both get their commits into the stream; in [`Mode::Sync`] a commit that
//! was acknowledged is in the stream, and a promoted follower has it; in [`Mode::Async`] a promoted follower has a prefix, and the
//! [`Promotion`] says how much is missing, as far as anybody but the lost machine knows.
//!
//! What is not: several primaries at once; transactions over several pools; that readers on the primary wait for the stream (they see
//! what is durable there). After a power failure of the primary's machine in [`Mode::Async`] it may have commits that nobody can tell
//! any more; this is noticed, and a new stream has to be made ([`Error::OutboxGap`]). Open a replicated pool through [`Primary`] only.
//!
//! Consensus is the servers', not ours. Names, bytes, and what a crash leaves at each point: PROTOCOL.md.
//!
//! Reading order: `record`, `outbox`, `shared` (what committing threads do), `publisher`, `follower`, `failover`, `reseed`; `link` and `lease` are what the
//! servers are asked for, `overview` what they know. `objects` (a feature) is a world of its own: copies in folders and buckets.

#![deny(unsafe_code)]

mod config;
#[cfg(test)]
mod crash;
mod error;
mod failover;
mod follower;
mod lease;
mod link;
#[cfg(feature = "objects")]
pub mod objects;
mod outbox;
mod overview;
mod primary;
mod publisher;
mod record;
mod reseed;
mod shared;

pub use async_nats;
pub use config::{Beyond, Bound, Config, Mode};
pub use error::{Error, Result};
pub use failover::Promotion;
pub use follower::{Followed, Follower};
pub use lease::Waiting;
pub use overview::{Behind, Held, Overview, Streamed, overview};
pub use primary::Primary;
pub use reseed::{Reseeded, reseed};
pub use shared::Status;

//! Snapshots and pools as objects, in a folder or in an S3 bucket: pushed in chunks, pulled, listed, pruned. OBJECTS.md describes what is stored.
//!
//! ```
//! use pmem_replica::objects::{Kind, Label, Place, Store, Version};
//! use std::io::{Read, Write};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let url = folder.path().join("backups").display().to_string();
//! let store = Store::open(&Place::parse(&url, None)?)?; // or s3://bucket/prefix
//! let label = Label {
//!     kind: Kind::Pool,
//!     source: format!("{:016x}", 0x1234),
//!     name: "bank".into(),
//!     version: Version { number: 1, created: 0 },
//!     parent: None,
//!     size: 11,
//! };
//! let mut push = store.push(label)?;
//! push.write_all(b"all of them")?;
//! push.finish()?; // from now on others see it, as a whole
//!
//! let found = store.list()?.manifests.remove(0);
//! let mut content = Vec::new();
//! store.content(&found).read_to_end(&mut content)?;
//! assert_eq!(content, b"all of them");
//! # Ok(()) }
//! ```
//!
//! What is promised: an object is visible under its final name as a whole, or not at all, wherever a push is killed; a push that is done
//! again sends only chunks that are not there; what is read is what was written, or an error names the chunk; pruning leaves everything
//! that a kept snapshot needs, and what a push under way has sent.
//!
//! What the content is, this module does not know: a snapshot's stream ([`nova_core`'s `send`]), a pool's bytes.
//!
//! [`nova_core`'s `send`]: https://docs.rs/nova-core

mod error;
mod manifest;
mod mark;
mod place;
mod prune;
mod pull;
mod push;
mod store;

pub use error::{Error, Result};
pub use manifest::{Chunk, Kind, Label, Manifest, Version, chain};
pub use place::Place;
pub use prune::{Keep, Pruned};
pub use pull::{Content, Pulled};
pub use push::{Push, Pushed};
pub use store::{Listed, Store};

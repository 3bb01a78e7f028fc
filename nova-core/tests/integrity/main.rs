//! Checksums and parity of content: what becomes of damage, of every size, wherever it is; of mapped files; and by scrubbing.
#![allow(missing_docs)]

mod bad;
mod budget;
mod mapped;
mod matrix;
mod scrub;
mod volume;
mod writes;

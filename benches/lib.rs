//! What atomicity costs, against raw mmap and against `std`. How to run it, and what the rows mean: BENCHMARKS.md.
//!
//! Reading order: [`raw`], the hand-written baselines, at their best, with the processor's `instruction`s, and [`baselines`], the rows made of them;
//! [`stream`], which objects are updated and how the result is verified; [`cpu_time`], what is measured, and [`rounds`], how rows become comparable; [`latency`],
//! single operations; [`maps`], the trees, [`hash_maps`], the hash maps; [`systems`], operations of filesystems; [`place`], where the
//! bytes are. On top of these [`compare`], which is `nova bench`. Beside the benches, `count/`: what is counted instead of timed.

pub mod baselines;
pub mod compare;
pub mod cpu_time;
pub mod hash_maps;
mod instruction;
pub mod latency;
pub mod maps;
pub mod place;
pub mod raw;
pub mod rounds;
pub mod stream;
pub mod systems;
pub mod undo;

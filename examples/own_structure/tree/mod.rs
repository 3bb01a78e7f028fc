//! An interval tree in a pool: which of many intervals overlap a given one? (Cormen et al., *Introduction to Algorithms*:
//! a balanced search tree by start, in which each node knows how far its subtree reaches. The balance is that of
//! Adelson-Velsky and Landis.)
//!
//! `pmem_collections::guide` goes through these files, in this order: `node`, `object`, `read`, `change`, `check`.

mod change;
mod check;
mod node;
mod object;
mod read;

pub use change::EmptyInterval;
pub use object::{IntervalTree, Tree};
pub use read::Overlaps;

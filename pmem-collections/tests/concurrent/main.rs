//! Concurrent containers: against models, with many threads, in full pools.

mod crash;
mod linear;
mod log;
mod maps;
mod queue;

//! Concurrent containers: against models, with many threads, in full pools.

mod closing;
mod crash;
mod damage;
mod linear;
mod log;
mod maps;
mod queue;

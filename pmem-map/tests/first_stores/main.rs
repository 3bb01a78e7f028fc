//! Watched pages: whom first stores ask, when they go on, and what is known afterwards.

#![cfg(not(miri))]

mod cost;
mod dirt;
mod ends;
mod kit;
mod locks;
mod mappings;
mod once;
mod storm;

//! Replicas of metadata: what becomes of damage, of every structure, in either place, of every size; and what they cost.
#![allow(missing_docs)]

mod beside;
mod budget;
mod matrix;
mod tools;
mod volume;

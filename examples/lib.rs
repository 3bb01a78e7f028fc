#![doc = include_str!("../README.md")]

#[path = "own_structure/tree/mod.rs"]
pub mod interval_tree;

//! Explorations of `tests/crash` and of `tests/crash_protected`, on volumes whose metadata has replicas: one theme after the other without
//! protection of content, and what went wrong in NOVA-Fortis with everything on; and repairs that are cut off.
#![allow(dead_code, reason = "parts of the harness that only other binaries use")]

#[path = "../crash/ace.rs"]
mod ace;
#[path = "../crash_protected/fortis.rs"]
mod fortis;
#[path = "../crash/harness.rs"]
mod harness;
#[path = "../crash/ops.rs"]
mod ops;
mod repair;
#[path = "../crash/rollback.rs"]
mod rollback;
#[path = "../crash/snapshots.rs"]
mod snapshots;
#[path = "../crash/themes.rs"]
mod themes;
#[path = "../crash/tree.rs"]
mod tree;

const PROTECTED: bool = false;
const REPLICAS: bool = true;

//! All explorations of `tests/crash`, on volumes whose content has checksums and parity; and what there is only with them.
#![allow(dead_code, reason = "parts of the harness that only other binaries use")]

#[path = "../crash/ace.rs"]
mod ace;
#[path = "../crash/content.rs"]
mod content;
mod fortis;
#[path = "../crash/harness.rs"]
mod harness;
mod life;
#[path = "../crash/lives.rs"]
mod lives;
#[path = "../crash/media.rs"]
mod media;
#[path = "../crash/ops.rs"]
mod ops;
#[path = "../crash/regressions.rs"]
mod regressions;
#[path = "../crash/stores.rs"]
mod stores;
#[path = "../crash/themes.rs"]
mod themes;
#[path = "../crash/tree.rs"]
mod tree;
#[path = "../crash/windows.rs"]
mod windows;

const PROTECTED: bool = true;
const REPLICAS: bool = false;

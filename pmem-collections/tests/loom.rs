//! All interleavings of the concurrent containers' protocols, within a bound of two preemptions:
//!
//! `RUSTFLAGS="--cfg loom --cfg crossbeam_loom" cargo test --release -p pmem-collections --features crossbeam-epoch/loom
//! --test loom --target-dir target/loom -- --nocapture`
#![cfg(loom)]

#[test]
fn no_interleaving_breaks_a_protocol_and_every_weakened_ordering_does() {
    pmem_collections::concurrent::models::run_all(&[
        "--exact",
        "no_interleaving_breaks_a_protocol_and_every_weakened_ordering_does",
        "--nocapture",
    ]);
}

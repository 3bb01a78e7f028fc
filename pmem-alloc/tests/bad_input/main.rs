//! Files that are no pools, damaged pools, wrong uses: a typed error that says what to do, and nothing lost.
#![allow(missing_docs)]

macro_rules! assert_kind {
    ($result:expr, $kind:pat) => {{
        let error = $result.err().expect("an error");
        assert!(matches!(error.kind(), $kind), "{error}");
        error.to_string()
    }};
}

#[path = "../cell/mod.rs"]
mod cell;
#[path = "../../../pmem-map/tests/mapping/children.rs"]
#[allow(dead_code, reason = "nobody forks here")]
mod children;
#[path = "../../../pmem-map/tests/mapping/mounts.rs"]
mod mounts;
mod pools;

mod disks;
mod files;
mod header;
mod heap;
mod names;
mod sizes;
mod tables;

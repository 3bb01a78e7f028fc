//! No space, no quota: an operation that cannot have what it needs leaves everything as it was, and the volume goes on.

#![allow(unreachable_pub, reason = "modules of a test are its own")]

mod full;
#[path = "../image/mod.rs"]
mod image;
mod operations;

use image::*;
use nova_core::*;
use operations::{Place, operations};

/// All that can be seen, how much is free, who uses what.
fn state(nova: &Nova) -> (Everything, StatFs, Vec<(Quota, Usage)>) {
    nova.sync().unwrap();
    let used = nova
        .quotas()
        .into_iter()
        .map(|(who, usage)| (who, Usage { block_limit: 0, inode_limit: 0, ..usage }));
    (everything(nova), nova.statfs(), used.filter(|(_, usage)| *usage != Usage::default()).collect())
}

/// Every operation, with every bound from 0 on that `bound` sets, until one is not met.
fn whole_or_not_at_all(wanted: Code, bound: impl Fn(&Nova, u32), met: impl Fn(&Nova) -> bool) {
    let (mut failed, mut tries) = (0, 0);
    for at_page_end in [false, true] {
        let prepared = operations::prepare(at_page_end);
        for (name, operation) in operations() {
            for n in 0..100 {
                let image = Image::of(&prepared);
                let nova = image.mount();
                let place = Place::open(&nova);
                bound(&nova, n);
                let before = state(&nova);
                let result = operation(&nova, &place);
                let was_met = met(&nova);
                tries += 1;
                match result {
                    Ok(()) if !was_met => break,
                    Ok(()) => {} // another way was found
                    Err(error) => {
                        let when = format!("{name}, {n}, at the end of a page: {at_page_end}");
                        assert_eq!(error.code(), Some(wanted), "{when}: {error:?}");
                        let after = state(&nova);
                        assert_same(&before.0, &after.0, &when);
                        assert_eq!((before.1, &before.2), (after.1, &after.2), "{when}");
                        nova.set_quota(Quota::User(7), 0, 0).unwrap();
                        nova.set_quota(Quota::Group(7), 0, 0).unwrap();
                        operation(&nova, &place).unwrap_or_else(|error| panic!("{when}, then: {error}"));
                        failed += 1;
                    }
                }
                drop(place);
                let now = state(&nova);
                let crashed = state(&after_crash(&image.bytes()));
                assert_same(&now.0, &crashed.0, name);
                assert_eq!((now.1, now.2), (crashed.1, crashed.2), "{name}, {n}");
                assert!(n < 99, "{name} never succeeds");
            }
        }
    }
    println!("{} operations, {tries} tries, {failed} failures", operations().len());
    assert!(failed > operations().len() / 2, "{failed}");
}

#[test]
fn an_operation_that_finds_no_block_changes_nothing() {
    let bound = |nova: &Nova, n: u32| {
        nova.fail_allocation(Some(n));
    };
    whole_or_not_at_all(Code::NoSpace, bound, |nova| nova.fail_allocation(None));
}

#[test]
fn an_operation_that_exceeds_its_users_quota_changes_nothing() {
    let bound = |nova: &Nova, n: u32| {
        let used = nova.quota(Quota::User(7));
        nova.set_quota(Quota::User(7), used.blocks + u64::from(n), used.inodes + u64::from(n)).unwrap();
    };
    whole_or_not_at_all(Code::QuotaExceeded, bound, |_| false);
}

#[test]
fn an_operation_that_exceeds_its_groups_quota_changes_nothing() {
    let bound = |nova: &Nova, n: u32| {
        let used = nova.quota(Quota::Group(7));
        nova.set_quota(Quota::Group(7), used.blocks + u64::from(n), used.inodes + u64::from(n)).unwrap();
    };
    whole_or_not_at_all(Code::QuotaExceeded, bound, |_| false);
}

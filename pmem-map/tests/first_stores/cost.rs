//! What a moment costs. Printed; asserted is only that it happened.

use crate::kit::{P, Scene};
use std::time::Instant;

#[test]
fn protecting_costs_by_what_is_mapped_and_each_first_store_a_little() {
    const PAGES: u64 = 32_768; // 128 MiB
    let scene = Scene::new(PAGES);
    (0..PAGES).for_each(|page| scene.store(page, 1)); // in memory, and in the page tables
    let (mut protecting, mut storing) = (0.0, 0.0);
    const ROUNDS: u64 = 4;
    const STORES: u64 = 1000;
    for round in 0..ROUNDS {
        let begin = Instant::now();
        scene.stores.protect().unwrap().release();
        protecting += begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        (0..STORES).for_each(|store| scene.store(store * 32 + round, 2));
        storing += begin.elapsed().as_secs_f64();
        assert_eq!(scene.handler.pages().len() as u64, STORES);
    }
    let mapped = (ROUNDS * PAGES * P) as f64 / (1u64 << 30) as f64;
    println!(
        "protecting: {:.2} ms for each mapped GiB; a first store: {:.1} us",
        protecting * 1e3 / mapped,
        storing * 1e6 / (ROUNDS * STORES) as f64
    );
}

//! How many kernel mappings it takes. In a process of its own, for they are the process's.

use crate::kit::{P, Scene};
use std::process::Command;

const CHILD: &str = "PMEM_MAP_COUNTS_MAPPINGS";
const NAME: &str = "mappings::scattered_stores_leave_the_number_of_kernel_mappings_bounded";

fn kernel_mappings() -> usize {
    std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()
}

#[test]
fn scattered_stores_leave_the_number_of_kernel_mappings_bounded() {
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").output().unwrap();
        print!("{}", String::from_utf8_lossy(&child.stdout));
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        return;
    }
    // 128 MiB, of which every other page is stored to: 32,768 kernel mappings if each page had its own.
    const PAGES: u64 = 32_768;
    let scene = Scene::new(PAGES);
    // Threads and the allocator have a few of their own, now or later.
    let before = kernel_mappings();
    const FEW: usize = 30;
    for round in 1..=2 {
        scene.stores.protect().unwrap().release();
        assert!(kernel_mappings() <= before + FEW, "protected as a whole");
        let mut most = 0;
        for page in (0..PAGES).step_by(2) {
            scene.store(page, round);
            if page % 1024 == 0 {
                most = most.max(kernel_mappings().saturating_sub(before));
            }
        }
        let asked = scene.handler.pages();
        println!("{most} kernel mappings more for {} stores; {} pages asked for", PAGES / 2, asked.len());
        assert!((4000..4200).contains(&most), "{most}");
        // Page by page at first, then by 2 MiB: each page at most once, those stored to all.
        assert!(asked[..1000].iter().all(|page| page % 2 == 0));
        assert_eq!(asked.iter().filter(|page| **page % 2 == 0).count() as u64, PAGES / 2);
        assert_eq!(scene.dirtied().iter().map(|run| run.end - run.start).sum::<u64>(), asked.len() as u64);
        assert!((0..PAGES).all(|page| scene.load(page) == if page % 2 == 0 { round } else { 0 }));
    }
    // Two ranges share the bound.
    let other = Scene::new(PAGES);
    other.stores.protect().unwrap().release();
    (0..PAGES).step_by(2).for_each(|page| other.store(page, 1));
    let both = kernel_mappings().saturating_sub(before);
    println!("{both} for two ranges");
    assert!(both < 8300, "{both}");
    drop((scene, other));
    assert!(kernel_mappings() <= before + FEW);
}

#[test]
fn a_kernel_that_has_no_room_for_more_mappings_costs_precision_and_no_store() {
    const NAME: &str = "mappings::a_kernel_that_has_no_room_for_more_mappings_costs_precision_and_no_store";
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let child = child.args(["--exact", NAME, "--nocapture"]).env(CHILD, "1").output().unwrap();
        print!("{}", String::from_utf8_lossy(&child.stdout));
        assert!(child.status.success(), "{}", String::from_utf8_lossy(&child.stderr));
        return;
    }
    let limit: usize = std::fs::read_to_string("/proc/sys/vm/max_map_count").unwrap().trim().parse().unwrap();
    if limit > 300_000 {
        println!("skipped: this kernel allows {limit} mappings, too many to use up");
        return;
    }
    let scene = Scene::new(600);
    scene.stores.protect().unwrap().release();
    // Uses up what there is: pages of alternating protection.
    let len = (limit + 10) * P as usize;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, of which only protections change.
    unsafe {
        let at = libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0);
        assert!(at != libc::MAP_FAILED);
        let mut page = 0;
        while page < limit && libc::mprotect(at.byte_add(page * P as usize), P as usize, libc::PROT_READ) == 0
        {
            page += 2;
        }
        assert!(page < limit, "used up");
    }
    for page in [300, 100, 599, 0] {
        scene.store(page, 1);
        assert_eq!(scene.load(page), 1);
    }
    let asked = scene.handler.pages();
    println!("asked for {} pages", asked.len());
    assert!(asked.len() >= 4 && asked.contains(&300));
}

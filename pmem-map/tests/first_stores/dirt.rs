//! Which pages are dirty, by each of the ways to know.

#![expect(clippy::single_range_in_vec_init, reason = "runs of pages are compared with lists of runs")]

use crate::kit::{P, Scene, dirtied};
use pmem_map::{Dirtiness, Mapping};

fn mappings(pages: u64) -> Vec<(&'static str, Mapping)> {
    let folder = std::env::var_os("PMEM_TEST_DIR").unwrap_or_else(|| std::env::temp_dir().into());
    let file = tempfile::tempdir_in(folder).unwrap();
    // SAFETY: a file of this test's own folder; unlinked, it stays mapped.
    let file = unsafe { Mapping::open(file.path().join("file"), pages * P) }.unwrap();
    vec![
        ("file", file),
        ("memfd", Mapping::memfd(pages * P).unwrap()),
        ("anonymous", Mapping::anonymous(pages * P).unwrap()),
    ]
}

#[test]
fn the_page_tables_know_what_was_stored_before_the_first_protect() {
    for (name, mapping) in mappings(300) {
        let mut scene = Scene::of(mapping, Dirtiness::Scan);
        if scene.watched.as_ref().unwrap().dirtiness() != Dirtiness::Scan {
            println!("skipped: {name}: this kernel, or its administrator, has no PAGEMAP_SCAN for it");
            continue;
        }
        assert_eq!(scene.dirtied(), [], "{name}");
        assert_eq!(scene.load(7), 0, "loads are no stores");
        // More runs than one answer of the kernel has room for.
        (0..300).step_by(2).for_each(|page| scene.store(page, 1));
        scene.store(101, 1);
        let expected: Vec<_> = (0..300)
            .step_by(2)
            .filter(|page| *page != 102)
            .map(|page| if page == 100 { 100..103 } else { page..page + 1 })
            .collect();
        assert_eq!(scene.dirtied(), expected, "{name}");
        assert_eq!(scene.dirtied(), expected, "{name}: asking changes nothing");
        let protecting = scene.stores.protect().unwrap();
        let mut at_protect = Vec::new();
        protecting.dirtied(|_, run| at_protect.push(run.start / P..run.end / P));
        protecting.release();
        assert_eq!(at_protect, expected, "{name}");
        assert_eq!(scene.watched.as_ref().unwrap().dirtiness(), Dirtiness::Faults);
        assert_eq!(scene.dirtied(), [], "{name}");
        scene.store(8, 2);
        scene.store(9, 2);
        assert_eq!((scene.dirtied(), scene.handler.pages()), (vec![8..10], vec![8, 9]), "{name}");
        scene.watched = None;
        scene.store(11, 3);
        assert_eq!(scene.handler.pages(), []);
    }
}

#[test]
fn without_the_kernels_help_everything_is_dirty_before_the_first_protect() {
    for (name, mapping) in mappings(30) {
        let scene = Scene::of(mapping, Dirtiness::Unknown);
        assert_eq!(scene.dirtied(), [0..30], "{name}");
        scene.stores.protect().unwrap().release();
        assert_eq!(scene.dirtied(), [], "{name}");
        scene.store(29, 1);
        assert_eq!(scene.dirtied(), [29..30], "{name}");
        scene.stores.protect().unwrap().release();
        assert_eq!(scene.dirtied(), [], "{name}");
    }
}

#[test]
fn what_is_watched_by_faults_is_known_from_the_beginning() {
    for (name, mapping) in mappings(30) {
        let scene = Scene::of(mapping, Dirtiness::Faults);
        assert_eq!(scene.dirtied(), [], "{name}");
        scene.store(3, 1);
        assert_eq!((scene.dirtied(), scene.handler.pages()), (vec![3..4], vec![3]), "{name}");
    }
}

#[test]
fn what_a_mapping_grew_by_is_watched_by_a_range_of_its_own() {
    let mapping = pmem_map::MapOptions::new().len(2 * P).max_len(64 * P).memfd().unwrap();
    let scene = Scene::of(mapping, Dirtiness::Faults);
    scene.region.grow(4 * P).unwrap();
    let (more, pages) = (crate::kit::Counting::new(4), scene.region.pages().unwrap());
    let grown = scene.stores.watch(&pages, 2 * P..4 * P, Dirtiness::Faults, more.clone()).unwrap();
    (0..4).for_each(|page| scene.store(page, 1));
    assert_eq!((scene.handler.pages(), more.pages()), (vec![0, 1], vec![2, 3]));
    assert_eq!((scene.dirtied(), dirtied(&grown)), (vec![0..2], vec![2..4]));
}

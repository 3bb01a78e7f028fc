//! Files that somebody truncates while they are mapped: an error where the library looks, a signal elsewhere.

use crate::{
    children::{part, play},
    folder::folder,
};
use pmem_map::{Error, Lock, MapOptions, Mapping, PAGE, Ptr};
use std::{fs, os::unix::process::ExitStatusExt, path::Path};

const P: u64 = PAGE;

/// A mapping of eight pages of which the file keeps two.
fn truncated(path: &Path) -> Mapping {
    // SAFETY: a file of this test's own folder; what is truncated is touched under a guard, or to die of it.
    let mapping = unsafe { Mapping::open(path, 8 * P) }.unwrap();
    truncate(path);
    mapping
}

fn truncate(path: &Path) {
    fs::File::options().write(true).open(path).unwrap().set_len(2 * P).unwrap();
}

#[track_caller]
fn assert_lost<T: std::fmt::Debug>(result: Result<T, Error>, page: u64) {
    match result {
        Err(Error::PageLost { offset }) => assert_eq!(offset, page * P),
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_of_a_truncated_file_are_errors_that_name_the_page() {
    for (read, page) in [(true, 5), (false, 6)] {
        let folder = folder();
        let mut mapping = truncated(&folder.path().join("file"));
        assert_eq!(mapping.read(Ptr::<u64>::from_offset(P + 8)).unwrap(), &0, "what is left can be read");
        mapping.write(P + 8, b"stays").unwrap();
        if read {
            assert_lost(mapping.read(Ptr::<u64>::from_offset(page * P + 8)).copied(), page);
        } else {
            assert_lost(mapping.write_value(Ptr::from_offset(page * P + 8), &7u64), page);
        }
        // From now on nothing of it is believed.
        assert!(mapping.is_poisoned());
        assert_lost(mapping.read(Ptr::<u64>::from_offset(8)).copied(), page);
        assert_lost(mapping.write(0, b"no"), page);
        assert!(matches!(mapping.persist(0..8), Err(Error::Poisoned)));
        assert!(matches!(mapping.grow(9 * P), Err(Error::Poisoned | Error::CannotGrow { .. })));
        drop(mapping);
        assert_eq!(fs::metadata(folder.path().join("file")).unwrap().len(), 2 * P);
        assert_eq!(&fs::read(folder.path().join("file")).unwrap()[P as usize + 8..][..5], b"stays");
    }
}

#[test]
fn a_value_that_begins_before_the_end_and_goes_on_behind_it_is_lost_too() {
    let folder = folder();
    let mapping = truncated(&folder.path().join("file"));
    assert_lost(mapping.read(Ptr::<[u64; 4]>::from_offset(2 * P - 16)).copied(), 2);
}

#[test]
fn every_load_and_store_of_a_region_can_be_guarded() {
    // SAFETY: (each) nobody else uses the region.
    let accesses: [fn(&pmem_map::Region); 8] = [
        |region| unsafe { region.load(4 * P, std::hint::black_box(&mut [0; 100])) },
        |region| unsafe { _ = std::hint::black_box(region.load_word(4 * P)) },
        |region| unsafe { region.store(4 * P - 4, &[1; 8]) },
        |region| unsafe { region.store_word(4 * P, 1) },
        |region| unsafe { region.store_words(4 * P / 64, 3, &[1, 2]) },
        |region| unsafe { region.store_nontemporal(4 * P, &[1; 256]) },
        |region| unsafe { region.fill_nontemporal(4 * P, 1, 256) },
        |region| region.flush(4 * P..4 * P + 1).unwrap(),
    ];
    for (number, access) in accesses.iter().enumerate() {
        let folder = folder();
        let region = truncated(&folder.path().join("file")).into_region();
        let result = region.guarded(|| access(&region));
        match result {
            Err(Error::PageLost { offset }) => {
                assert!(offset == 4 * P || offset == 3 * P, "{number}: {offset}")
            }
            // A line that is nowhere needs no flushing; some processors fault.
            Ok(()) if number == 7 => {}
            other => panic!("{number}: {other:?}"),
        }
    }
}

#[test]
fn guards_inside_guards_and_of_two_regions_each_learn_of_their_own_pages() {
    let folder = folder();
    let whole = MapOptions::new().len(8 * P).memfd().unwrap().into_region();
    let region = truncated(&folder.path().join("file")).into_region();
    // SAFETY: nobody else uses the regions.
    let load = |page| unsafe { std::hint::black_box(region.load_word(page * P)) };
    let result = whole.guarded(|| {
        let outer = region.guarded(|| {
            assert_lost(region.guarded(|| load(6)), 6);
            7
        });
        assert_lost(outer, 6);
        8
    });
    assert_eq!(result.unwrap(), 8, "the other region lost nothing");
}

#[test]
fn a_panic_under_a_guard_takes_the_guard_away() {
    const NAME: &str = "lost_pages::a_panic_under_a_guard_takes_the_guard_away";
    let Some(path) = part() else {
        let folder = folder();
        let child = play(NAME, folder.path().join("file").to_str().unwrap());
        assert_eq!(child.status.signal(), Some(libc::SIGBUS), "{child:?}");
        return;
    };
    let mapping = truncated(Path::new(&path));
    let region = &*mapping;
    let panicked =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| region.guarded(|| panic!("on purpose"))));
    assert!(panicked.is_err());
    std::hint::black_box(mapping.as_slice()[5 * P as usize]);
}

#[test]
fn what_is_not_guarded_ends_the_process_as_it_always_did() {
    const NAME: &str = "lost_pages::what_is_not_guarded_ends_the_process_as_it_always_did";
    let Some(path) = part() else {
        let folder = folder();
        let child = play(NAME, folder.path().join("file").to_str().unwrap());
        assert_eq!(child.status.signal(), Some(libc::SIGBUS), "{child:?}");
        return;
    };
    let mapping = truncated(Path::new(&path));
    let other = Mapping::anonymous(P).unwrap();
    mapping.guarded(|| ()).unwrap();
    _ = other.guarded(|| std::hint::black_box(mapping.as_slice()[5 * P as usize])); // a guard of other bytes
    unreachable!("nobody guards them");
}

#[test]
fn pages_of_a_private_view_can_be_lost_too() {
    let folder = folder();
    let path = folder.path().join("file");
    // SAFETY: as in `truncated`.
    drop(unsafe { Mapping::open(&path, 8 * P) }.unwrap());
    // SAFETY: as above.
    let view = unsafe { MapOptions::new().lock(Lock::Shared).open(&path) }.unwrap();
    truncate(&path);
    assert_lost(view.read(Ptr::<u64>::from_offset(3 * P)).copied(), 3);
}

//! Snapshots while files are mapped: what a program stores without a call.

use crate::{Memory, format, pattern, volume};
use nova_core::{BLOCK, Changed, Code, Error, FormatOptions, MountOptions, Nova, Rule, ScrubOptions};
use pmem_collections::{Named, PBTreeMap, Pool, PoolOptions};
use pmem_map::{Decision, Event, Granularity, Mapping, Observer, Region};
use std::sync::{
    Arc, Mutex, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

const MAP: Named<PBTreeMap<u64, u64>> = Named::new("map");

fn clean(nova: &Nova) {
    let report = nova.fsck().unwrap();
    assert!(report.is_clean(), "{report}");
}

/// Says that threads are to end, also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn mapped(nova: &Nova, name: &str, len: u64) -> Mapping {
    let file = nova.create_file(name).unwrap();
    file.set_len(len).unwrap();
    file.map().unwrap()
}

fn seen(nova: &Nova, snapshot: &str, path: &str) -> Vec<u8> {
    nova.mount_snapshot(snapshot).unwrap().read_file(path).unwrap()
}

#[test]
fn a_snapshot_has_what_was_stored_before_it_and_nothing_after() {
    for granularity in [Granularity::CacheLine, Granularity::Page] {
        let (memory, mapping) = Memory::new(16 << 20, granularity);
        let nova = format(mapping);
        let mut file = mapped(&nova, "/f", 64 * BLOCK);
        let old = pattern(64 * BLOCK as usize);
        file.write(0, &old).unwrap();
        nova.create_snapshot("a").unwrap();
        file.write(5 * BLOCK + 100, &[1; 300]).unwrap();
        file.write(60 * BLOCK, &[2; 4096]).unwrap();
        assert!(
            seen(&nova, "a", "/f") == old,
            "what was stored before, of pages that were stored to later, and of others"
        );
        nova.create_snapshot("b").unwrap();
        let between = nova.read_file("/f").unwrap();
        file.write(5 * BLOCK, &[3; 10_000]).unwrap();
        assert!(seen(&nova, "a", "/f") == old && seen(&nova, "b", "/f") == between);
        clean(&nova);
        // After a crash, and after an unmount, too.
        let killed = memory.mount_killed();
        assert!(seen(&killed, "a", "/f") == old && seen(&killed, "b", "/f") == between);
        clean(&killed);
        let now = file.as_slice().to_vec();
        drop(file);
        nova.delete_snapshot("a").unwrap();
        assert!(seen(&nova, "b", "/f") == between && nova.read_file("/f").unwrap() == now);
        clean(&nova);
        let again = Nova::mount(nova.unmount().unwrap()).unwrap();
        assert!(seen(&again, "b", "/f") == between && again.read_file("/f").unwrap() == now);
        again.delete_snapshot("b").unwrap();
        again.remove_file("/f").unwrap();
        again.sync().unwrap();
        let report = again.fsck().unwrap();
        assert!(report.is_clean() && report.data_blocks == 0, "{report}");
        assert_eq!(report.free_blocks + report.metadata_blocks, again.statfs().blocks);
    }
}

#[test]
fn a_live_page_stays_where_it_is() {
    let (_, nova) = volume(16 << 20);
    let mut file = mapped(&nova, "/f", 32 * BLOCK);
    let places = |file: &Mapping| {
        crate::extents(file).iter().map(|extent| (extent.offset, extent.len)).collect::<Vec<_>>()
    };
    let before = places(&file);
    for round in 0..5u8 {
        nova.create_snapshot(&format!("{round}")).unwrap();
        file.write(u64::from(round) * BLOCK, &[round; 5000]).unwrap();
    }
    assert_eq!(places(&file), before);
    assert_eq!(nova.open("/f").unwrap().stat().unwrap().blocks, 32 * 8);
    clean(&nova);
}

#[test]
fn no_space_for_copies_is_an_error_of_the_snapshot_and_stores_go_on() {
    let (_, nova) = volume(4 << 20);
    let mut file = mapped(&nova, "/f", 600 * BLOCK);
    file.write(0, &[1; 4096]).unwrap();
    assert_eq!(nova.create_snapshot("a").unwrap_err().code(), Some(Code::NoSpace));
    assert!(nova.snapshots().is_empty());
    file.write(0, &[2; 4096]).unwrap();
    clean(&nova);
    drop(file);
    nova.create_snapshot("a").unwrap();
    assert_eq!(seen(&nova, "a", "/f")[..4096], [2; 4096]);
    clean(&nova);
}

#[test]
fn a_mapping_that_grows_and_one_that_comes_later_are_in_the_next_snapshot() {
    let (_, nova) = volume(16 << 20);
    let mut file = mapped(&nova, "/f", BLOCK);
    nova.create_snapshot("a").unwrap();
    file.grow(64 * BLOCK).unwrap();
    file.write(50 * BLOCK, &[1; 100]).unwrap();
    let mut other = mapped(&nova, "/g", 3 * BLOCK);
    other.write(10, &[2; 10]).unwrap();
    nova.create_snapshot("b").unwrap();
    file.write(50 * BLOCK, &[3; 100]).unwrap();
    other.write(10, &[4; 10]).unwrap();
    assert_eq!(seen(&nova, "a", "/f").len() as u64, BLOCK);
    assert_eq!(seen(&nova, "b", "/f")[50 * BLOCK as usize..][..100], [1; 100]);
    assert_eq!(seen(&nova, "b", "/g")[10..20], [2; 10]);
    assert_eq!(nova.read_file("/g").unwrap()[10..20], [4; 10]);
    clean(&nova);
    // A file that a snapshot has is mapped with blocks of its own.
    drop(other);
    let mut other = nova.open("/g").unwrap().map().unwrap();
    other.write(10, &[5; 10]).unwrap();
    assert_eq!(seen(&nova, "b", "/g")[10..20], [2; 10]);
    clean(&nova);
}

#[test]
fn writes_beside_mappings_are_kept_from_snapshots_too() {
    let (_, nova) = volume(16 << 20);
    let file = nova.create_file("/f").unwrap();
    file.write_at(0, &[1; 9000]).unwrap();
    // SAFETY: nobody makes references to its bytes.
    let (one, other) = unsafe { (file.map_shared().unwrap(), file.map_shared().unwrap()) };
    nova.create_snapshot("a").unwrap();
    file.write_at(4000, &[2; 1000]).unwrap();
    nova.create_snapshot("b").unwrap();
    file.write_at(4500, &[3; 1000]).unwrap();
    assert_eq!(seen(&nova, "a", "/f"), [1; 9000]);
    let mut expected = [1; 9000];
    expected[4000..5000].fill(2);
    assert_eq!(seen(&nova, "b", "/f"), expected);
    clean(&nova);
    drop((one, other));
    clean(&nova);
}

#[test]
fn deleting_the_snapshot_that_pages_are_copied_for_leaves_older_ones_right() {
    let (_, nova) = volume(16 << 20);
    let mut file = mapped(&nova, "/f", 16 * BLOCK);
    file.write(0, &[1; 4096]).unwrap();
    nova.create_snapshot("a").unwrap();
    nova.create_snapshot("b").unwrap();
    nova.delete_snapshot("b").unwrap();
    file.write(0, &[2; 4096]).unwrap();
    assert_eq!(seen(&nova, "a", "/f")[..4096], [1; 4096]);
    clean(&nova);
    nova.create_snapshot("c").unwrap();
    file.write(0, &[3; 4096]).unwrap();
    nova.delete_snapshot("a").unwrap();
    assert_eq!(seen(&nova, "c", "/f")[..4096], [2; 4096]);
    nova.delete_snapshot("c").unwrap();
    file.write(0, &[4; 4096]).unwrap();
    clean(&nova);
    drop(file);
    clean(&nova);
    assert_eq!(Nova::mount(nova.unmount().unwrap()).unwrap().snapshots().len(), 0);
}

/// Fails a drain of one thread's, and lets a program store before that.
struct FailingDrain {
    thread: std::thread::ThreadId,
    /// Drains until then; 0: never.
    left: AtomicU64,
    program: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Observer for FailingDrain {
    fn event(&self, _: &Region, _: Event<'_>) {}

    fn decide(&self, _: &Region, event: &Event<'_>) -> Decision {
        let is_counted = matches!(event, Event::Drain { .. }) && std::thread::current().id() == self.thread;
        if !is_counted || self.left.load(SeqCst) == 0 || self.left.fetch_sub(1, SeqCst) > 1 {
            return Decision::Perform;
        }
        let program = self.program.lock().unwrap().take();
        program.into_iter().for_each(|store| store());
        Decision::Fail
    }
}

/// A page that was first stored to between a snapshot's moment and its failure was copied for it; the one before it has that copy now.
#[test]
fn a_snapshot_that_fails_after_its_moment_loses_nothing_of_the_one_before_it() {
    let (memory, mapping) = Memory::new(16 << 20, Granularity::CacheLine);
    let failing = Arc::new(FailingDrain {
        thread: std::thread::current().id(),
        left: AtomicU64::new(0),
        program: Mutex::new(None),
    });
    assert!(mapping.observe(failing.clone()).is_ok());
    let nova = format(mapping);
    let mut file = mapped(&nova, "/f", 8 * BLOCK);
    let old = pattern(8 * BLOCK as usize);
    file.write(0, &old).unwrap();
    nova.create_snapshot("a").unwrap();
    file.write(BLOCK, &[1; 100]).unwrap();
    let region = Arc::new(file.into_region());
    let program = region.clone();
    *failing.program.lock().unwrap() = Some(Box::new(move || {
        for page in [1, 2, 5] {
            // SAFETY: nobody has references to these bytes.
            unsafe { program.store_word(page * BLOCK, 7) };
        }
    }));
    failing.left.store(2, SeqCst); // after what is prepared, and the moment
    nova.create_snapshot("b").unwrap_err();
    assert!(failing.program.lock().unwrap().is_none(), "the program has stored");
    assert!(seen(&nova, "a", "/f") == old, "pages stored to since the moment, and before it");
    assert!(seen(&memory.mount_killed(), "a", "/f") == old);
    // From here on nothing can be made durable, and no store refused: that is reported.
    // SAFETY: as above.
    unsafe { region.store_word(6 * BLOCK, 7) };
    let past = nova.mount_snapshot("a").unwrap();
    let read = |page: u64| past.open("/f").unwrap().read_at(page * BLOCK, &mut [0; 4096]);
    assert!(matches!(read(6), Err(Error::Damaged { .. })));
    read(5).unwrap();
    read(7).unwrap();
}

/// A pool in a mapped file: a writer commits, and every snapshot opens and checks clean, live and as a kill leaves it.
#[test]
fn a_pool_opens_from_every_snapshot() {
    let (memory, nova) = volume(64 << 20);
    let file = nova.create_file("/pool").unwrap();
    file.set_len(4 << 20).unwrap();
    let pool = PoolOptions::new().create_on(file.map().unwrap()).unwrap();
    pool.write(|tx| tx.open(MAP)?.insert(0, 0).map(drop)).unwrap();
    // A kill is between two stores, not during the time it takes to copy all bytes.
    let (stop, pause) = (AtomicBool::new(false), RwLock::new(()));
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        scope.spawn(|| {
            let mut key = 0;
            while !stop.load(SeqCst) {
                let _going = pause.read().unwrap();
                pool.write(|tx| tx.open(MAP)?.insert(key % 5000, key).map(drop)).unwrap();
                key += 1;
            }
        });
        let check = |nova: &Nova, name: &str| {
            let bytes = seen(nova, name, "/pool");
            let mut copy = Mapping::memfd(bytes.len() as u64).unwrap();
            copy.as_mut_slice().copy_from_slice(&bytes);
            let pool = Pool::on(copy).unwrap();
            pool.register::<PBTreeMap<u64, u64>>();
            let report = pool.check().unwrap();
            assert!(report.is_ok() && report.untraced_blocks == 0, "{name}: {report}");
            pool.read().unwrap().open(MAP).unwrap().check().unwrap();
        };
        for round in 0..12 {
            let name = format!("s{round}");
            nova.create_snapshot(&name).unwrap();
            check(&nova, &name);
            if round % 4 == 3 {
                let killed = {
                    let _paused = pause.write().unwrap();
                    memory.mount_killed()
                };
                check(&killed, &name);
            }
            nova.delete_snapshot(&name).unwrap();
        }
    });
    drop(pool);
    clean(&nova);
}

/// Threads store D, and then V, in pages far apart, of several files: no snapshot has V without D.
#[test]
fn no_snapshot_has_a_later_store_without_an_earlier_one() {
    let (memory, nova) = volume(64 << 20);
    let files: Vec<Mapping> = (0..4).map(|n| mapped(&nova, &format!("/{n}"), 256 * BLOCK)).collect();
    let regions: Vec<Region> = files.into_iter().map(Mapping::into_region).collect();
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    // A kill is between two stores, not during the time it takes to copy all bytes.
    let pause = RwLock::new(());
    let place = |thread: u64, turn: u64| (thread * 37 + turn * 113) % 256 * BLOCK + thread * 64;
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        for thread in 0..4u64 {
            let (regions, stop, rounds, pause) = (&regions, &stop, &rounds, &pause);
            scope.spawn(move || {
                let mut value = 0;
                while !stop.load(SeqCst) {
                    value += 1;
                    for turn in 0..4 {
                        let (d, v) = (
                            &regions[(thread + turn) as usize % 4],
                            &regions[(thread + turn + 1) as usize % 4],
                        );
                        for (region, at) in [(d, place(thread, turn)), (v, place(thread, turn) + 32)] {
                            let _going = pause.read().unwrap();
                            // SAFETY: each word is one thread's, and nobody has references to these bytes.
                            unsafe { region.store_word(at, value) };
                        }
                        // Nobody else stores there: what was stored is there.
                        // SAFETY: as above.
                        assert_eq!(unsafe { d.load_word(place(thread, turn)) }, value);
                    }
                    rounds.fetch_add(1, SeqCst);
                }
            });
        }
        let check = |nova: &Nova, name: &str| {
            let past = nova.mount_snapshot(name).unwrap();
            let bytes: Vec<Vec<u8>> = (0..4).map(|n| past.read_file(format!("/{n}")).unwrap()).collect();
            let word = |file: u64, at: u64| {
                u64::from_le_bytes(bytes[file as usize % 4][at as usize..][..8].try_into().unwrap())
            };
            for thread in 0..4 {
                for turn in 0..4 {
                    let (d, v) = (
                        word(thread + turn, place(thread, turn)),
                        word(thread + turn + 1, place(thread, turn) + 32),
                    );
                    assert!(d == v || d == v + 1, "{name}, thread {thread}, turn {turn}: D is {d}, V is {v}");
                }
            }
        };
        for round in 0..60 {
            let name = format!("s{round}");
            nova.create_snapshot(&name).unwrap();
            check(&nova, &name);
            if round % 10 == 9 {
                let killed = {
                    let _paused = pause.write().unwrap();
                    memory.mount_killed()
                };
                nova.snapshots().iter().for_each(|one| check(&killed, &one.name));
            }
            check(&nova, &name);
            if round >= 3 {
                nova.delete_snapshot(&format!("s{}", round - 3)).unwrap();
            }
        }
    });
    assert!(rounds.load(SeqCst) > 100);
    drop(regions);
    clean(&nova);
}

/// Flushed lines, when a snapshot is made after stores to `pages` pages: of a mapping that lives, or of one that is gone.
fn lines_of_a_snapshot(rule: Option<Rule>, pages: u64, is_gone: bool) -> u64 {
    let options = rule.map_or(MountOptions::new(), |rule| MountOptions::new().without(rule));
    let nova = FormatOptions::new().format(Memory::new(16 << 20, Granularity::CacheLine).1, options).unwrap();
    let mut file = mapped(&nova, "/f", 64 * BLOCK);
    nova.create_snapshot("first").unwrap();
    (0..pages).for_each(|page| file.write(page * 2 * BLOCK, &[1; 8]).unwrap());
    let file = if is_gone {
        drop(file);
        None
    } else {
        Some(file)
    };
    let before = nova.counters();
    nova.create_snapshot("second").unwrap();
    let lines = (nova.counters() - before).lines();
    drop(file);
    clean(&nova);
    lines
}

/// A snapshot that a power failure follows has what it showed before: also what a program stored and did not flush.
#[test]
fn what_was_stored_and_not_flushed_is_flushed_by_the_snapshot() {
    let without = Some(Rule::StoresBeforeRecord);
    let live = |rule, pages| lines_of_a_snapshot(rule, pages, false);
    assert!(live(None, 20) >= live(without, 20) + 20 * 64, "of a file that is mapped");
    assert!(live(None, 20) <= live(None, 1) + 19 * 64 + 8, "the pages that were stored to, and no others");
    let gone = |rule| lines_of_a_snapshot(rule, 20, true);
    assert!(gone(None) >= gone(without) + 64 * 64, "of one that was mapped");
}

/// What was copied away tells which pages changed, and is what a roll back brings back; where content is protected, too.
#[test]
fn changes_of_mapped_files_are_told_and_rolled_back() {
    for protected in [false, true] {
        let (_, mapping) = Memory::new(16 << 20, Granularity::CacheLine);
        let options = FormatOptions::new().checksums(protected).parity(protected);
        let nova = options.format(mapping, MountOptions::new()).unwrap();
        let mut file = mapped(&nova, "/f", 32 * BLOCK);
        file.write(0, &pattern(32 * BLOCK as usize)).unwrap();
        nova.create_snapshot("a").unwrap();
        file.write(7 * BLOCK + 5, &[1; 10]).unwrap();
        file.write(20 * BLOCK, &[2; 8192]).unwrap();
        let changed = |nova: &Nova, from: &str, to: Option<&str>| -> Vec<u64> {
            let changes = nova.diff(from, to).unwrap();
            let ranges = changes.iter().filter_map(|change| match &change.what {
                Changed::Content { ranges, .. } => Some(ranges),
                _ => None,
            });
            let blocks =
                ranges.flatten().flat_map(|range| range.bytes.start / BLOCK..range.bytes.end.div_ceil(BLOCK));
            blocks.collect()
        };
        assert_eq!(changed(&nova, "a", None), [7, 20, 21], "while it is mapped");
        nova.create_snapshot("b").unwrap();
        file.write(0, &[3; 10]).unwrap();
        drop(file);
        let live = nova.read_file("/f").unwrap();
        assert_eq!(changed(&nova, "a", Some("b")), [7, 20, 21]);
        assert_eq!(changed(&nova, "b", None), [0]);
        let (a, b) = (seen(&nova, "a", "/f"), seen(&nova, "b", "/f"));
        assert!(a == pattern(32 * BLOCK as usize));
        let nova = nova.rollback("a").unwrap();
        assert!(nova.read_file("/f").unwrap() == a, "protected: {protected}");
        assert!(seen(&nova, "a", "/f") == a && seen(&nova, "b", "/f") == b);
        clean(&nova);
        let nova = nova.rollback("b").unwrap();
        assert!(nova.read_file("/f").unwrap() == b && b[10..] == live[10..]);
        clean(&nova);
        let nova = Nova::mount(nova.unmount().unwrap()).unwrap();
        assert!(nova.read_file("/f").unwrap() == b);
        if protected {
            let report = nova.scrub(&ScrubOptions::new()).unwrap();
            assert!(report.damage.is_empty() && report.unprotected == 0, "{report:?}");
        }
        nova.delete_snapshot("a").unwrap();
        assert!(seen(&nova, "b", "/f") == b);
        nova.delete_snapshot("b").unwrap();
        clean(&nova);
    }
}

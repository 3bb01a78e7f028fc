//! A pool is at home in a file of a volume as in a file of the system's: every scenario here runs on both, and on volumes that are fragmented,
//! and that are written back by pages.

use crate::{Memory, extents, format};
use nova_core::{File, MountOptions, Nova};
use pmem_collections::*;
use pmem_map::{Granularity, MapOptions};
use std::collections::BTreeMap;
use tempfile::TempDir;

const MAP: Named<PBTreeMap<u64, [u64; 3]>> = Named::new("map");
const WORDS: Named<PHashMap<String, u64>> = Named::new("words");
const LIST: Named<PVec<u64>> = Named::new("list");

/// Somewhere to have a pool.
trait Place {
    /// New bytes, which can grow to 16 MiB.
    fn create(&mut self, len: u64) -> Mapping;
    /// The same bytes, later. Nobody has them mapped.
    fn reopen(&mut self) -> Mapping;
    /// The same bytes, as a kill would leave them now. Then the pool can go.
    fn kill(&mut self, pool: Pool) -> Mapping;
}

struct Plain {
    folder: TempDir,
    kills: u32,
}

impl Plain {
    fn place() -> Box<dyn Place> {
        Box::new(Plain { folder: TempDir::new().unwrap(), kills: 0 })
    }

    fn map(&self, len: u64) -> Mapping {
        let options = MapOptions::new().len(len).max_len(16 << 20).create(len > 0).emulate_pmem(true);
        // SAFETY: a file of this test's own.
        unsafe { options.open(self.folder.path().join(self.kills.to_string())) }.unwrap()
    }
}

impl Place for Plain {
    fn create(&mut self, len: u64) -> Mapping {
        self.map(len)
    }

    fn reopen(&mut self) -> Mapping {
        self.map(0)
    }

    fn kill(&mut self, pool: Pool) -> Mapping {
        let path = |n: u32| self.folder.path().join(n.to_string());
        std::fs::copy(path(self.kills), path(self.kills + 1)).unwrap();
        drop(pool);
        self.kills += 1;
        self.map(0)
    }
}

struct Inside {
    memory: Memory,
    nova: Option<Nova>,
    fragmented: bool,
}

impl Inside {
    fn on(granularity: Granularity, fragmented: bool) -> Box<dyn Place> {
        let (memory, mapping) = Memory::new(40 << 20, granularity);
        Box::new(Inside { memory, nova: Some(format(mapping)), fragmented })
    }

    fn place() -> Box<dyn Place> {
        Inside::on(Granularity::CacheLine, false)
    }

    fn fragmented() -> Box<dyn Place> {
        Inside::on(Granularity::CacheLine, true)
    }

    fn on_pages() -> Box<dyn Place> {
        Inside::on(Granularity::Page, false)
    }

    fn nova(&self) -> &Nova {
        self.nova.as_ref().unwrap()
    }

    fn file(&self) -> File {
        self.nova().open("/pool").unwrap()
    }
}

impl Place for Inside {
    fn create(&mut self, len: u64) -> Mapping {
        let file = self.nova().create_file("/pool").unwrap();
        if self.fragmented {
            // Each second block first: neighbours in the file are none in the volume.
            let blocks = len / 4096;
            for block in (0..blocks).step_by(2).chain((1..blocks).step_by(2)) {
                file.write_at(block * 4096, &[1; 4096]).unwrap();
            }
            let mapping = file.map().unwrap();
            assert!(extents(&mapping).len() as u64 > len / 4096 / 2);
            return mapping;
        }
        file.set_len(len).unwrap();
        file.map().unwrap()
    }

    fn reopen(&mut self) -> Mapping {
        let mapping = self.nova.take().unwrap().unmount().unwrap();
        self.nova = Some(MountOptions::new().mount(mapping).unwrap());
        assert!(self.nova().mount_report().clean);
        self.file().map().unwrap()
    }

    fn kill(&mut self, pool: Pool) -> Mapping {
        let (memory, mapping) = self.memory.killed();
        drop(pool);
        self.memory = memory;
        self.nova = Some(Nova::mount(mapping).unwrap());
        assert!(!self.nova().mount_report().clean);
        self.file().map().unwrap()
    }
}

fn assert_holds(pool: &Pool, model: &BTreeMap<u64, [u64; 3]>) {
    pool.register::<PBTreeMap<u64, [u64; 3]>>();
    let report = pool.check().unwrap();
    assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
    let tx = pool.read().unwrap();
    let map = tx.open(MAP).unwrap();
    map.check().unwrap();
    assert!(map.iter().map(Result::unwrap).eq(model));
}

fn a_map_does_what_the_standard_one_does(place: &mut dyn Place) {
    let mut pool = PoolOptions::new().create_on(place.create(2 << 20)).unwrap();
    pool.write(|tx| tx.open(MAP).map(drop)).unwrap();
    let mut model = BTreeMap::new();
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..60 {
        let mut changed = model.clone();
        let tx = pool.begin().unwrap();
        let mut map = tx.open(MAP).unwrap();
        for _ in 0..random.u32(1..60) {
            let key = random.u64(..2000);
            if random.u8(..3) > 0 {
                let value = [random.u64(..); 3];
                assert_eq!(
                    map.insert(key, value).unwrap().map(|old| *old.get().unwrap()),
                    changed.insert(key, value)
                );
            } else {
                assert_eq!(map.remove(key).unwrap().map(|old| *old.get().unwrap()), changed.remove(&key));
            }
        }
        drop(map);
        if random.u8(..4) > 0 {
            tx.commit().unwrap();
            model = changed;
        } else {
            drop(tx);
        }
        if round % 7 == 6 {
            pool.close().unwrap();
            pool = Pool::on(place.reopen()).unwrap();
        } else if round % 5 == 4 {
            let mapping = place.kill(pool);
            pool = Pool::on(mapping).unwrap();
        }
        assert_holds(&pool, &model);
    }
}

fn a_pool_grows_and_is_found_as_large(place: &mut dyn Place) {
    let options = PoolOptions::new().max_size(12 << 20).auto_grow(true);
    let mut pool = options.create_on(place.create(256 << 10)).unwrap();
    let mut model = BTreeMap::new();
    for part in 0..200u64 {
        let entries = (part * 200..(part + 1) * 200).map(|key| (key * 7919 % 100_003, [key; 3]));
        pool.write(|tx| tx.open(MAP)?.extend(entries.clone())).unwrap();
        model.extend(entries);
        if part % 80 == 79 {
            let mapping = place.kill(pool);
            pool = options.open_on(mapping).unwrap();
        }
    }
    assert!(pool.region().len() > 1 << 20, "{} bytes", pool.region().len());
    assert_holds(&pool, &model);
    let len = pool.region().len();
    pool.close().unwrap();
    let pool = options.open_on(place.reopen()).unwrap();
    assert_eq!(pool.region().len(), len);
    assert_holds(&pool, &model);
}

fn a_full_pool_keeps_what_it_has(place: &mut dyn Place) {
    let pool = PoolOptions::new().create_on(place.create(256 << 10)).unwrap();
    let mut model = BTreeMap::new();
    let error = loop {
        let key = model.len() as u64;
        match pool.write(|tx| tx.open(MAP)?.insert(key, [key; 3]).map(drop)) {
            Ok(()) => drop(model.insert(key, [key; 3])),
            Err(error) => break error,
        }
    };
    assert!(matches!(error.kind(), ErrorKind::NoSpace { .. }), "{error}");
    assert!(model.len() > 1000, "{} entries", model.len());
    assert_holds(&pool, &model);
    pool.close().unwrap();
    assert_holds(&Pool::on(place.reopen()).unwrap(), &model);
}

fn containers_of_every_kind_survive_a_kill(place: &mut dyn Place) {
    let mut pool = PoolOptions::new().create_on(place.create(4 << 20)).unwrap();
    let text = |n: u64| "word ".repeat(n as usize % 40) + &n.to_string();
    for round in 0..4u64 {
        for n in round * 200..(round + 1) * 200 {
            pool.write(|tx| {
                tx.open(WORDS)?.insert(text(n), n)?;
                tx.open(LIST)?.push(n)
            })
            .unwrap();
        }
        let mapping = place.kill(pool);
        pool = Pool::on(mapping).unwrap();
        let tx = pool.read().unwrap();
        let (words, list) = (tx.open(WORDS).unwrap(), tx.open(LIST).unwrap());
        let count = (round + 1) * 200;
        assert_eq!((words.len() as u64, list.len() as u64), (count, count));
        for n in 0..count {
            assert_eq!(words.get(text(n)).unwrap(), Some(&n));
            assert_eq!(list.get(n as usize).unwrap(), Some(&n));
        }
    }
    assert!(pool.check().unwrap().is_ok());
}

fn threads_commit_beside_readers(place: &mut dyn Place) {
    let pool = PoolOptions::new().group_commit(true).create_on(place.create(2 << 20)).unwrap();
    pool.write(|tx| tx.open(MAP).map(drop)).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..200 {
                    let key = n * 3 + thread;
                    pool.write(|tx| tx.open(MAP)?.insert(key, [key; 3]).map(drop)).unwrap();
                    let tx = pool.read().unwrap();
                    assert_eq!(tx.open(MAP).unwrap().get(key).unwrap(), Some(&[key; 3]));
                }
            });
        }
    });
    let model = (0..600).map(|key| (key, [key; 3])).collect();
    let mapping = place.kill(pool);
    assert_holds(&Pool::on(mapping).unwrap(), &model);
}

/// Each scenario on each place.
macro_rules! on {
    ($($module:ident: $place:expr;)*) => {$(
        mod $module {
            use super::*;
            #[test]
            fn a_map_does_what_the_standard_one_does() {
                super::a_map_does_what_the_standard_one_does(&mut *$place);
            }
            #[test]
            fn a_pool_grows_and_is_found_as_large() {
                super::a_pool_grows_and_is_found_as_large(&mut *$place);
            }
            #[test]
            fn a_full_pool_keeps_what_it_has() {
                super::a_full_pool_keeps_what_it_has(&mut *$place);
            }
            #[test]
            fn containers_of_every_kind_survive_a_kill() {
                super::containers_of_every_kind_survive_a_kill(&mut *$place);
            }
            #[test]
            fn threads_commit_beside_readers() {
                super::threads_commit_beside_readers(&mut *$place);
            }
        }
    )*};
}

on! {
    a_plain_file: Plain::place();
    a_file_of_a_volume: Inside::place();
    a_file_in_many_parts: Inside::fragmented();
    a_file_of_a_volume_on_pages: Inside::on_pages();
}

//! Random programs against a model in DRAM: no two blocks overlap, all are aligned as asked for, contents stay, aborts
//! and nested parts that fail leave nothing, reopening loses nothing, and when all is freed all is free.
#![allow(missing_docs)]
use pmem_alloc::*;
use std::collections::BTreeMap;

/// Length and alignment asked for, and the byte it is filled with.
#[derive(Clone, Copy, Debug)]
struct Object {
    len: u64,
    align: u64,
    fill: u8,
}

type Objects = PHeap<u64>;

fn copy_of(pool: &Pool) -> Mapping {
    let mut bytes = vec![0; pool.region().len() as usize];
    // SAFETY: this thread is the only one, and no transaction is open: nobody stores.
    unsafe { pool.region().load(0, &mut bytes) };
    let mut mapping = Mapping::anonymous(bytes.len() as u64).unwrap();
    mapping.write(0, &bytes).unwrap();
    mapping
}

fn random_object(rng: &mut fastrand::Rng, pool_size: u64) -> Object {
    let len = match rng.u32(0..100) {
        0..60 => rng.u64(1..256),
        60..85 => rng.u64(1..8 << 10),
        85..97 => rng.u64(1..64 << 10),
        97..99 => rng.u64(1..pool_size / 8),
        _ => rng.u64(1..pool_size * 2),
    };
    let align = match rng.u32(0..20) {
        0..14 => 8,
        14..19 => 1 << rng.u32(0..=12),
        _ => 1 << rng.u32(12..=21),
    };
    Object { len, align, fill: rng.u8(1..) }
}

fn verify(pool: &Pool, model: &BTreeMap<u64, Object>) {
    let report = pool.check().unwrap();
    assert!(report.problems.is_empty(), "{report}");
    // Nothing in the pool refers to the blocks: the check must find exactly them.
    let unreferenced: Vec<_> = report.leaks.iter().map(|leak| leak.offset).collect();
    assert!(unreferenced.iter().eq(model.keys()), "{report}");
    let tx = pool.read().unwrap();
    let heap = tx.open::<Objects>("objects").unwrap();
    let mut end = 0;
    for (&at, object) in model {
        assert!(at >= end, "{object:?} at {at} begins before {end}");
        assert_eq!(at % object.align, 0, "{object:?} at {at}");
        end = at + object.len;
        let bytes = heap.bytes(Ptr::from_offset(at), object.len).unwrap();
        assert!(bytes.iter().all(|&byte| byte == object.fill), "{object:?} at {at}");
    }
    drop(tx);
    let stats = pool.stats().unwrap();
    assert_eq!(stats.blocks, model.len() as u64 + 2, "root and directory entry besides");
    assert_eq!(stats.reserved_blocks, 0);
    assert!(stats.used + stats.free <= stats.capacity);
}

/// What a transaction does, and what should be there if it commits.
struct Program<'a> {
    rng: &'a mut fastrand::Rng,
    pool_size: u64,
    committed: &'a BTreeMap<u64, Object>,
    next: BTreeMap<u64, Object>,
    /// Whether it allocates more than it frees.
    grows: bool,
}

impl Program<'_> {
    /// Allocates, frees and changes; and does so in parts, some of which fail.
    fn part(&mut self, tx: &mut WriteTx<'_>, depth: u32) -> Result<()> {
        for _ in 0..self.rng.u32(1..4) {
            self.change(&mut tx.open::<Objects>("objects")?);
            match self.rng.u32(0..6) {
                0 if depth < 3 => {
                    let before = self.next.clone();
                    let fails = self.rng.bool();
                    let result = tx.nested(|tx| {
                        self.part(tx, depth + 1)?;
                        if !fails {
                            return Ok(());
                        }
                        tx.open::<PHeap<u64>>("an object that comes to nothing")?;
                        Err(Error::abort("on purpose"))
                    });
                    match result {
                        Ok(()) => assert!(!fails),
                        // There may be no room for the object.
                        Err(e) => {
                            let expected =
                                matches!(e.kind(), ErrorKind::Aborted(_) | ErrorKind::NoSpace { .. });
                            assert!(fails && expected, "{e}");
                            self.next = before;
                        }
                    }
                    self.verify(tx)?;
                }
                1 => {
                    let (savepoint, before) = (tx.savepoint(), self.next.clone());
                    for _ in 0..self.rng.u32(1..3) {
                        self.change(&mut tx.open::<Objects>("objects")?);
                        tx.rollback_to(&savepoint)?;
                        self.next.clone_from(&before);
                        self.verify(tx)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn change(&mut self, heap: &mut Mut<'_, Objects>) {
        for _ in 0..self.rng.u32(1..8) {
            if self.next.is_empty() || (self.rng.u32(0..100) < 70) == self.grows {
                let object = random_object(self.rng, self.pool_size);
                match heap.alloc_aligned(object.len, object.align) {
                    Ok(at) => {
                        let bytes = heap.bytes_mut(at, object.len).unwrap();
                        assert!(bytes.iter().all(|&byte| byte == 0), "new bytes are zeros");
                        bytes.fill(object.fill);
                        let free = !self.committed.contains_key(&at.offset());
                        assert!(free, "{at:?} is allocated, or was freed by this very transaction");
                        self.next.insert(at.offset(), object);
                    }
                    Err(e) => assert!(matches!(e.kind(), ErrorKind::NoSpace { .. }), "{e}"),
                }
            } else {
                let (&at, &object) = self.next.iter().nth(self.rng.usize(0..self.next.len())).unwrap();
                if self.rng.bool() {
                    heap.free(Ptr::<u8>::from_offset(at)).unwrap();
                    self.next.remove(&at);
                } else {
                    let fill = self.rng.u8(1..);
                    heap.bytes_mut(Ptr::from_offset(at), object.len).unwrap().fill(fill);
                    self.next.insert(at, Object { fill, ..object });
                }
            }
        }
    }

    /// The transaction sees what the model has: some of it, for it is asked often. `verify` sees all at last.
    fn verify(&mut self, tx: &WriteTx<'_>) -> Result<()> {
        let heap = tx.open::<Objects>("objects")?;
        let skipped = self.rng.usize(0..=self.next.len());
        for (&at, object) in self.next.iter().skip(skipped).take(20) {
            let bytes = heap.bytes(Ptr::from_offset(at), object.len)?;
            assert!(bytes.iter().all(|&byte| byte == object.fill), "{object:?} at {at}");
        }
        for at in self.committed.keys().filter(|at| !self.next.contains_key(at)) {
            assert!(heap.bytes(Ptr::from_offset(*at), 1).is_err(), "freed, and still there");
        }
        Ok(())
    }
}

fn run(seed: u64, pool_size: u64, transactions: u32) {
    println!("seed {seed}, pool of {pool_size} bytes");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut pool = Pool::anonymous(pool_size).unwrap();
    pool.write(|tx| tx.open::<Objects>("objects").map(drop)).unwrap();
    let empty = pool.stats().unwrap();
    let mut model: BTreeMap<u64, Object> = BTreeMap::new();
    for _ in 0..transactions {
        let (grows, commits) = (rng.u32(0..100) < if model.len() > 500 { 40 } else { 60 }, rng.u32(0..4) > 0);
        let (mut tx, mut fits) = (pool.begin().unwrap(), true);
        let mut program = Program { rng: &mut rng, pool_size, committed: &model, next: model.clone(), grows };
        program.part(&mut tx, 0).unwrap();
        let next = program.next;
        if commits {
            match tx.commit() {
                Ok(()) => model = next,
                Err(e) => {
                    assert!(matches!(e.kind(), ErrorKind::Tx(pmem_tx::Error::LogFull { .. })), "{e}");
                    fits = false; // and nothing was changed
                }
            }
        } else {
            tx.abort();
        }
        match rng.u32(0..20) {
            0 => verify(&pool, &model),
            1 => drop(pool.reserve(rng.u64(1..100_000), 8)),
            2 => pool.checkpoint().unwrap(),
            3 => {
                pool = Pool::on(copy_of(&pool)).unwrap();
                verify(&pool, &model);
            }
            _ if !fits => verify(&pool, &model),
            _ => {}
        }
    }
    let all: Vec<u64> = model.keys().copied().collect();
    for some in all.chunks(100) {
        pool.write(|tx| {
            let mut heap = tx.open::<Objects>("objects")?;
            some.iter().try_for_each(|&at| heap.free(Ptr::<u8>::from_offset(at)))
        })
        .unwrap();
    }
    verify(&pool, &BTreeMap::new());
    let stats = pool.stats().unwrap();
    assert_eq!((stats.free, stats.used), (empty.free, empty.used));
    // And the pages are whole again: one block can take them all.
    drop(pool.reserve(empty.longest_free, 4096).unwrap());
    let reopened = Pool::on(copy_of(&pool)).unwrap();
    assert_eq!(reopened.stats().unwrap().free, empty.free);
}

#[test]
fn random_programs_on_a_small_pool_match_the_model() {
    (0..30).for_each(|seed| run(seed, 512 << 10, 300));
}

#[test]
fn random_programs_on_a_middle_sized_pool_match_the_model() {
    (100..106).for_each(|seed| run(seed, 8 << 20, 600));
}

#[test]
fn random_programs_on_a_large_pool_match_the_model() {
    (200..202).for_each(|seed| run(seed, 64 << 20, 600));
}

#[test]
fn blocks_are_aligned_up_to_2_mib() {
    let pool = Pool::anonymous(64 << 20).unwrap();
    pool.write(|tx| {
        let mut heap = tx.open::<Objects>("objects")?;
        for bits in 0..=21 {
            for len in [1, 100, 5000, 100_000] {
                let at = heap.alloc_aligned(len, 1 << bits)?;
                assert_eq!(at.offset() % (1 << bits), 0);
            }
        }
        for align in [0, 3, 4 << 20, u64::MAX] {
            let error = heap.alloc_aligned(8, align).unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::BadAlignment { .. }));
        }
        Ok(())
    })
    .unwrap();
    assert!(pool.check().unwrap().problems.is_empty());
}

#[test]
fn a_run_of_one_class_that_is_empty_makes_room_for_any_other() {
    let pool = Pool::anonymous(512 << 10).unwrap();
    let fill = |len: u64| {
        let mut all = Vec::new();
        loop {
            let one = pool.write(|tx| tx.open::<Objects>("objects")?.alloc_aligned(len, 8));
            match one {
                Ok(at) => all.push(at),
                Err(e) if matches!(e.kind(), ErrorKind::NoSpace { .. }) => return all,
                Err(e) => panic!("{e}"),
            }
        }
    };
    let free = |all: &[Ptr<u8>]| {
        all.iter().for_each(|&at| pool.write(|tx| tx.open::<Objects>("objects")?.free(at)).unwrap());
    };
    for len in [64, 300, 4096, 20_000, 100_000, 24] {
        let all = fill(len);
        assert!(all.len() as u64 * len * 10 > pool.stats().unwrap().capacity * 7, "{} of {len}", all.len());
        free(&all);
        assert!(pool.check().unwrap().is_ok());
    }
}

#[test]
fn a_reservation_keeps_its_block_until_it_is_published_or_dropped() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    let other = Pool::anonymous(1 << 20).unwrap();
    pool.write(|tx| tx.open::<Objects>("objects").map(drop)).unwrap();
    let before = pool.stats().unwrap();
    for len in [8, 1000, 100_000] {
        let mut one = pool.reserve(len, 8).unwrap();
        let two = pool.reserve(len, 8).unwrap();
        one.fill(7);
        let at = one.offset();
        assert_ne!(at, two.offset());
        assert_eq!(pool.stats().unwrap().reserved_blocks, 2);
        let forged = pool.write(|tx| tx.open::<Objects>("objects")?.get(Ptr::<u8>::from_offset(at)).copied());
        assert!(forged.is_err());
        let foreign = other.reserve(len, 8).unwrap();
        let error = pool.write(|tx| tx.open::<Objects>("objects")?.publish(foreign)).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::ForeignReservation));
        let aborted: Result<()> = pool.write(|tx| {
            tx.open::<Objects>("objects")?.publish(two)?;
            Err(Error::abort("on purpose"))
        });
        assert!(aborted.is_err());
        let published = pool.write(|tx| tx.open::<Objects>("objects")?.publish(one)).unwrap();
        assert_eq!(published.offset(), at);
        let reopened = Pool::on(copy_of(&pool)).unwrap();
        reopened
            .write(|tx| {
                let heap = tx.open::<Objects>("objects")?;
                assert!(heap.bytes(published, len)?.iter().all(|&byte| byte == 7));
                Ok(())
            })
            .unwrap();
        pool.write(|tx| tx.open::<Objects>("objects")?.free(published)).unwrap();
        drop(pool.reserve(len, 8).unwrap());
    }
    assert_eq!(pool.stats().unwrap().free, before.free);
    assert_eq!(pool.stats().unwrap().reserved_blocks, 0);
}

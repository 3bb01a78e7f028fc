//! Readers beside a writer, and writers behind each other.
#![allow(missing_docs)]
use pmem_alloc::*;
use pmem_map::{Event, Observer, Region};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    thread,
};

mod cell;
use cell::Cell;

/// An observer that panics at the n-th store from now; 0: at none.
struct PanicsAtStore(AtomicI64);

impl Observer for PanicsAtStore {
    fn event(&self, _: &Region, event: Event<'_>) {
        if let Event::Store { .. } = event
            && self.0.fetch_sub(1, Relaxed) == 1
        {
            panic!("an observer's mistake");
        }
    }
}

fn pool_with_panics() -> (Pool, Arc<PanicsAtStore>) {
    let panics = Arc::new(PanicsAtStore(AtomicI64::new(0)));
    let mapping = Mapping::anonymous(1 << 20).unwrap();
    mapping.observe(panics.clone()).map_err(drop).unwrap();
    (Pool::create_on(mapping).unwrap(), panics)
}

fn panics<R>(work: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(|| drop(work()))).is_err()
}

fn poisoned<T>(result: Result<T>) -> bool {
    matches!(result.err().unwrap().kind(), ErrorKind::Tx(pmem_tx::Error::Poisoned))
}

fn pair(pool: &Pool) -> Result<(u64, u64)> {
    let tx = pool.read()?;
    let (a, b) = (tx.open::<Cell<u64>>("a")?, tx.open::<Cell<u64>>("b")?);
    let first = *a.get()?;
    thread::yield_now();
    Ok((first, *b.get()?))
}

fn set_pair(pool: &Pool, n: u64) -> Result<()> {
    pool.write(|tx| {
        tx.open::<Cell<u64>>("a")?.set(n)?;
        tx.open::<Cell<u64>>("b")?.set(n)
    })
}

#[test]
fn readers_see_whole_commits_only() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    set_pair(&pool, 0)?;
    thread::scope(|s| {
        s.spawn(|| (1..2000).try_for_each(|n| set_pair(&pool, n)).unwrap());
        for _ in 0..3 {
            s.spawn(|| {
                let mut last = 0;
                for _ in 0..1000 {
                    let (a, b) = pair(&pool).unwrap();
                    assert!(a == b && a >= last, "{a} and {b} after {last}");
                    last = a;
                }
            });
        }
    });
    assert_eq!(pair(&pool)?, (1999, 1999));
    Ok(())
}

#[test]
fn a_read_transaction_sees_no_later_commit_and_is_shared_by_threads() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    set_pair(&pool, 1)?;
    let committed = AtomicBool::new(false);
    thread::scope(|s| {
        let tx = pool.read().unwrap();
        let a = tx.open::<Cell<u64>>("a").unwrap();
        let writer = s.spawn(|| {
            set_pair(&pool, 2).unwrap();
            committed.store(true, Relaxed);
        });
        thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| (0..1000).for_each(|_| assert_eq!(*a.get().unwrap(), 1)));
            }
        });
        assert!(!committed.load(Relaxed), "the commit waits for the reader");
        drop(tx);
        writer.join().unwrap();
    });
    assert_eq!(pair(&pool)?, (2, 2));
    Ok(())
}

#[test]
fn writers_take_turns_and_lose_nothing() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    let rolled_back = AtomicU64::new(0);
    thread::scope(|s| {
        for _ in 0..4 {
            s.spawn(|| {
                for i in 0..500 {
                    let result = pool.write(|tx| {
                        let mut cell = tx.open::<Cell<u64>>("sum")?;
                        *cell.get_mut()? += 1;
                        if i % 10 == 0 { Err(Error::abort("on purpose")) } else { Ok(()) }
                    });
                    rolled_back.fetch_add(result.is_err() as u64, Relaxed);
                }
            });
        }
    });
    assert_eq!(rolled_back.load(Relaxed), 200);
    assert_eq!(*pool.read()?.open::<Cell<u64>>("sum")?.get()?, 1800);
    Ok(())
}

#[test]
fn an_object_created_by_one_thread_is_seen_by_readers_of_others() -> Result<()> {
    let pool = Pool::anonymous(8 << 20)?;
    thread::scope(|s| {
        let maker = s.spawn(|| {
            (0..300).for_each(|i| {
                pool.write(|tx| tx.open::<Cell<u64>>(&format!("cell {i}"))?.set(i)).unwrap();
            });
        });
        s.spawn(|| {
            let mut seen = 0;
            while seen < 300 {
                let tx = pool.read().unwrap();
                match tx.open::<Cell<u64>>(&format!("cell {seen}")) {
                    Ok(cell) => {
                        assert_eq!(*cell.get().unwrap(), seen);
                        seen += 1;
                    }
                    Err(e) => {
                        assert!(matches!(e.kind(), ErrorKind::NotFound { .. }), "{e}");
                        drop(tx);
                        thread::yield_now();
                    }
                }
            }
        });
        maker.join().unwrap();
    });
    Ok(())
}

#[test]
fn the_file_is_free_when_the_last_handle_is_gone() -> Result<()> {
    let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, Into::into);
    let folder = tempfile::tempdir_in(parent).unwrap();
    let path = folder.path().join("pool");
    // SAFETY: a file of this test alone.
    let pool = unsafe { Pool::create(&path, 1 << 20) }?;
    let other = pool.clone();
    let reservation = pool.reserve(100, 8)?;
    set_pair(&other, 3)?;
    pool.close()?;
    drop(reservation);
    // SAFETY: as above.
    assert!(unsafe { Pool::open(&path) }.is_err(), "`other` has it still");
    thread::spawn(move || drop(other)).join().unwrap();
    // SAFETY: as above.
    let pool = unsafe { Pool::open(&path) }?;
    assert_eq!((pair(&pool)?, pool.opening()), ((3, 3), pmem_alloc::Opening::default()));
    Ok(())
}

#[test]
fn a_subscriber_sees_every_commit_and_its_panic_undoes_none() -> Result<()> {
    struct Panics(AtomicU64);
    impl pmem_tx::Subscriber for Panics {
        fn committed(&self, record: &pmem_tx::Committed<'_>) {
            let before = self.0.fetch_add(1, Relaxed);
            assert_eq!(record.seq(), 2 + before);
            assert_ne!(before, 1, "on purpose");
        }
    }
    let pool = Pool::anonymous(1 << 20)?;
    set_pair(&pool, 0)?;
    let subscriber = Arc::new(Panics(AtomicU64::new(0)));
    pool.subscribe(subscriber.clone())?;
    set_pair(&pool, 1)?;
    let allocate = || pool.write(|tx| tx.open::<PHeap<u64>>("heap")?.alloc([1u64; 100]));
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(allocate));
    assert!(panicked.is_err());
    assert_eq!(subscriber.0.load(Relaxed), 2);
    assert!(pool.read()?.open::<PHeap<u64>>("heap").is_ok(), "it was committed all the same");
    assert_eq!(pool.stats()?.blocks, 2 * 3 + 1);
    assert!(pool.check()?.is_ok());
    set_pair(&pool, 2)?;
    assert_eq!(pair(&pool)?, (2, 2));
    Ok(())
}

#[test]
fn readers_never_see_half_a_commit_whatever_panics() {
    let set = |pool: &Pool, n: u64| {
        pool.write(|tx| {
            *tx.open::<PHeap<u64>>("a")?.root_mut()? = n;
            *tx.open::<PHeap<[u64; 32]>>("b")?.root_mut()? = [n; 32];
            Ok(())
        })
    };
    let mut half = 0;
    for store in 1..20 {
        let (pool, observer) = pool_with_panics();
        set(&pool, 1).unwrap();
        observer.0.store(store, Relaxed);
        let panicked = panics(|| set(&pool, 2).unwrap());
        observer.0.store(0, Relaxed);
        if !panicked {
            continue;
        }
        half += 1;
        assert!(poisoned(pool.read()), "store {store}");
        assert!(poisoned(pool.begin()), "store {store}");
        // The commit was durable before: whoever opens the pool again has all of it.
        let mut copy = Mapping::anonymous(1 << 20).unwrap();
        // SAFETY: no transaction is open, so nobody stores.
        unsafe { pool.region().load(0, copy.as_mut_slice()) };
        let pool = Pool::on(copy).unwrap();
        let tx = pool.read().unwrap();
        assert_eq!(*tx.open::<PHeap<u64>>("a").unwrap().root().unwrap(), 2);
        assert_eq!(*tx.open::<PHeap<[u64; 32]>>("b").unwrap().root().unwrap(), [2; 32]);
    }
    assert!(half >= 2, "{half} panics while a commit was applied");
}

#[test]
fn a_panic_in_a_checkpoint_leaves_a_pool_that_says_it_is_poisoned() {
    let (pool, observer) = pool_with_panics();
    set_pair(&pool, 1).unwrap();
    observer.0.store(1, Relaxed);
    assert!(panics(|| pool.checkpoint()));
    assert!(poisoned(pool.begin()));
    assert!(poisoned(pool.checkpoint()));
    assert_eq!(pair(&pool).unwrap(), (1, 1), "readers go on: what they see is whole");
}

#[test]
fn a_subscriber_that_panics_when_it_is_replaced_does_not_take_the_writer_along() {
    struct Old;
    impl pmem_tx::Subscriber for Old {
        fn committed(&self, _: &pmem_tx::Committed<'_>) {}
    }
    impl Drop for Old {
        fn drop(&mut self) {
            panic!("a subscriber's mistake");
        }
    }
    struct New(AtomicU64);
    impl pmem_tx::Subscriber for New {
        fn committed(&self, _: &pmem_tx::Committed<'_>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let pool = Pool::anonymous(1 << 20).unwrap();
    pool.subscribe(Arc::new(Old)).unwrap();
    let new = Arc::new(New(AtomicU64::new(0)));
    assert!(panics(|| pool.subscribe(new.clone())));
    set_pair(&pool, 1).unwrap();
    assert_eq!(new.0.load(Relaxed), 1);
}

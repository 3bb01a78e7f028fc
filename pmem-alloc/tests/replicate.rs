//! A pool and one that follows it, with nothing but memory in between.

mod list;

use list::{List, check, pop, push, values};
use parking_lot::Mutex;
use pmem_alloc::*;
use pmem_map::MapOptions;
use pmem_tx::{Committed, Refusal, Subscriber};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

const SIZE: u64 = 2 << 20;
const MOST: u64 = 16 << 20;

#[derive(Clone, Debug)]
enum Said {
    Record(Vec<(u64, Vec<u8>)>),
    Grown(Vec<Grown>, u64),
}

/// Notes everything, and refuses when told to.
#[derive(Default)]
struct Stream {
    said: Mutex<Vec<Said>>,
    closed: AtomicBool,
    silent: AtomicBool,
}

impl Subscriber for Stream {
    fn committed(&self, record: &Committed<'_>) {
        let mut changes = Vec::new();
        record.for_each(|at, bytes| changes.push((at, bytes.to_vec())));
        self.said.lock().push(Said::Record(changes));
    }
}

impl Replicator for Stream {
    fn admit(&self) -> Result<(), Refusal> {
        if self.closed.load(Relaxed) { Err("closed: open it".into()) } else { Ok(()) }
    }

    fn acknowledge(&self) -> Result<(), Refusal> {
        if self.silent.load(Relaxed) { Err("nobody heard".into()) } else { Ok(()) }
    }

    fn grown(&self, segments: &[Grown], size: u64) {
        self.said.lock().push(Said::Grown(segments.to_vec(), size));
    }

    fn position(&self) -> Position {
        at(self.said.lock().len())
    }
}

fn at(count: usize) -> Position {
    Position { stream: 7, record: count as u64, message: 0, term: 1 }
}

fn memory() -> Mapping {
    MapOptions::new().len(SIZE).max_len(MOST).anonymous().unwrap()
}

fn primary(stream: &Arc<Stream>) -> Pool {
    PoolOptions::new().max_size(MOST).auto_grow(true).replicator(stream.clone()).create_on(memory()).unwrap()
}

/// Applies what the follower does not have yet.
fn catch_up(follower: &Pool, stream: &Stream) {
    let said = stream.said.lock().clone();
    let from = follower.following().unwrap().record as usize;
    for (i, said) in said.iter().enumerate().skip(from) {
        match said {
            Said::Record(changes) => {
                let changes: Vec<(u64, &[u8])> = changes.iter().map(|(at, b)| (*at, b.as_slice())).collect();
                follower.follow(&changes, at(i + 1)).unwrap();
            }
            Said::Grown(segments, size) => {
                follower.follow_growth(segments, *size).unwrap();
                follower.follow(&[], at(i + 1)).unwrap();
            }
        }
    }
    follower.sync().unwrap();
}

fn copy_of(pool: &Pool) -> Pool {
    let mapping = MapOptions::new().len(pool.segments().1).max_len(MOST).anonymous().unwrap();
    pool.backup_on(mapping).unwrap()
}

fn some_work(pool: &Pool, rng: &mut fastrand::Rng) {
    let name = format!("list {}", rng.u8(0..6));
    match rng.u8(0..12) {
        0..=5 => {
            pool.write(|tx| (0..rng.u64(1..40)).try_for_each(|i| push(&mut tx.open::<List>(&*name)?, i)))
        }
        6..=8 => pool.write(|tx| {
            let mut list = tx.open::<List>(&*name)?;
            (0..rng.u64(1..60)).try_for_each(|_| pop(&mut list).map(drop))
        }),
        // Large blocks, which are written in place, and freed again.
        9 | 10 => pool.write(|tx| {
            let mut list = tx.open::<List>("large")?;
            let old = *list.root()?;
            if !old.is_null() {
                list.free(old)?;
            }
            let new = list.alloc_aligned(rng.u64(5_000..80_000), 8)?;
            list.bytes_mut(new, 5_000)?.fill(rng.u8(..));
            *list.root_mut()? = new.cast();
            Ok(())
        }),
        // More than a third of the log.
        _ => pool.write(|tx| {
            let mut list = tx.open::<List>("wide")?;
            let mut at = *list.root()?;
            if at.is_null() {
                at = list.alloc_aligned(200_000, 8)?.cast();
                *list.root_mut()? = at;
            }
            rng.fill(list.bytes_mut(at.cast(), 200_000)?);
            Ok(())
        }),
    }
    .unwrap();
}

#[test]
fn a_follower_has_after_each_record_what_the_pool_had() {
    for seed in 0..6 {
        println!("seed {seed}");
        let mut rng = fastrand::Rng::with_seed(seed);
        let stream = Arc::new(Stream::default());
        let pool = primary(&stream);
        (0..10).for_each(|_| some_work(&pool, &mut rng));
        let follower = copy_of(&pool);
        assert_eq!(follower.following(), Some(at(stream.said.lock().len())));
        for _ in 0..60 {
            some_work(&pool, &mut rng);
            catch_up(&follower, &stream);
            assert_eq!(follower.digest().unwrap(), pool.digest().unwrap());
        }
        for name in (0..6).map(|n| format!("list {n}")) {
            assert_eq!(values(&follower, &name).ok(), values(&pool, &name).ok());
        }
        // (What is written over the large blocks are no references, and the check says so; the same of both.)
        assert_eq!(follower.check().unwrap().to_string(), pool.check().unwrap().to_string());
        assert!(follower.segments() == pool.segments());
        // A copy of a copy goes on where that one is.
        let second = copy_of(&follower);
        assert_eq!(second.following(), follower.following());
        some_work(&pool, &mut rng);
        catch_up(&second, &stream);
        assert_eq!(second.digest().unwrap(), pool.digest().unwrap());
    }
}

#[test]
fn many_records_become_durable_with_one_sync_and_readers_see_a_prefix() {
    let stream = Arc::new(Stream::default());
    let pool = primary(&stream);
    pool.write(|tx| push(&mut tx.open::<List>("list")?, 0)).unwrap();
    let follower = copy_of(&pool);
    for n in 1..200 {
        pool.write(|tx| push(&mut tx.open::<List>("list")?, n)).unwrap();
    }
    let drains = follower.region().counters().drains;
    std::thread::scope(|s| {
        let applies = s.spawn(|| catch_up(&follower, &stream));
        while !applies.is_finished() {
            let seen = values(&follower, "list").unwrap();
            assert!(seen.is_sorted_by(|a, b| a == &(b + 1)) && seen.last() == Some(&0), "{seen:?}");
        }
    });
    assert_eq!(values(&follower, "list").unwrap(), values(&pool, "list").unwrap());
    assert!(follower.region().counters().drains - drains <= 4, "some were drained by themselves");
    check(&follower);
}

#[test]
fn a_follower_that_is_killed_has_position_and_bytes_of_one_record() {
    let stream = Arc::new(Stream::default());
    let pool = primary(&stream);
    let mut rng = fastrand::Rng::with_seed(3);
    let follower = copy_of(&pool);
    let mut digests = vec![pool.digest().unwrap()];
    for _ in 0..40 {
        some_work(&pool, &mut rng);
        // Growth is said apart from the record that needs it, and changes nothing that counts.
        digests.resize(stream.said.lock().len(), *digests.last().unwrap());
        digests.push(pool.digest().unwrap());
    }
    let said = stream.said.lock().clone();
    for (i, said) in said.iter().enumerate() {
        match said {
            Said::Record(changes) => {
                let changes: Vec<(u64, &[u8])> = changes.iter().map(|(at, b)| (*at, b.as_slice())).collect();
                follower.follow(&changes, at(i + 1)).unwrap();
            }
            Said::Grown(segments, size) => follower.follow_growth(segments, *size).unwrap(),
        }
        // What a kill leaves: what was stored, and nothing of what was known.
        let len = follower.region().len();
        let mut image = MapOptions::new().len(len).max_len(MOST).anonymous().unwrap();
        let mut bytes = vec![0; len as usize];
        // SAFETY: nobody stores meanwhile.
        unsafe { follower.region().load(0, &mut bytes) };
        image.write(0, &bytes).unwrap();
        let next = Pool::on(image).unwrap();
        let record = next.following().unwrap().record as usize;
        assert!(record <= i + 1);
        assert_eq!(next.digest().unwrap(), digests[record], "after {record} of {}", i + 1);
        catch_up(&next, &stream);
        assert_eq!(next.digest().unwrap(), *digests.last().unwrap());
    }
}

#[test]
fn a_follower_is_for_reading_until_it_stops_following() {
    let stream = Arc::new(Stream::default());
    let pool = primary(&stream);
    pool.write(|tx| push(&mut tx.open::<List>("list")?, 1)).unwrap();
    let follower = copy_of(&pool);
    let refused = follower.write(|tx| push(&mut tx.open::<List>("list")?, 2)).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::Follower));
    assert!(matches!(follower.grow(1 << 20).unwrap_err().kind(), ErrorKind::Follower));
    assert!(matches!(follower.reserve(64, 8).unwrap_err().kind(), ErrorKind::Follower));
    let wild = |at: u64| follower.follow(&[(at, &[1u8; 8])], at_one()).unwrap_err();
    assert!(matches!(wild(0).kind(), ErrorKind::Corrupt { .. }), "the header");
    assert!(matches!(wild(SIZE).kind(), ErrorKind::Corrupt { .. }), "beyond the end");
    assert!(matches!(wild(4096 * 8 + 1).kind(), ErrorKind::Corrupt { .. }), "not a word");
    follower.stop_following().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    // SAFETY: a file of this test alone.
    unsafe { follower.backup(&path) }.unwrap();
    // SAFETY: as above.
    let promoted = unsafe { Pool::open(&path) }.unwrap();
    assert_eq!(promoted.following(), None);
    promoted.write(|tx| push(&mut tx.open::<List>("list")?, 2)).unwrap();
    assert_eq!(values(&promoted, "list").unwrap(), [2, 1]);
    check(&promoted);
}

fn at_one() -> Position {
    at(1)
}

#[test]
fn what_a_replicator_refuses_does_not_begin_or_is_not_acknowledged() {
    let stream = Arc::new(Stream::default());
    let pool = primary(&stream);
    stream.closed.store(true, Relaxed);
    let refused = pool.write(|tx| push(&mut tx.open::<List>("list")?, 1)).unwrap_err();
    assert_eq!(refused.to_string(), "closed: open it");
    assert!(values(&pool, "list").is_err() && stream.said.lock().is_empty());
    stream.closed.store(false, Relaxed);
    stream.silent.store(true, Relaxed);
    for group in [false, true] {
        let stream = Arc::new(Stream { silent: AtomicBool::new(true), ..Stream::default() });
        let pool = PoolOptions::new()
            .group_commit(group)
            .replicator(stream.clone())
            .create_on(Mapping::anonymous(SIZE).unwrap())
            .unwrap();
        let refused = pool.write(|tx| push(&mut tx.open::<List>("list")?, 1)).unwrap_err();
        assert!(matches!(refused.kind(), ErrorKind::Refused(_)), "{refused}");
        assert_eq!(values(&pool, "list").unwrap(), [1], "it is committed all the same");
        assert_eq!(stream.said.lock().len(), 1);
    }
}

#[test]
fn a_replicated_pool_has_no_concurrent_containers() {
    let pool = primary(&Arc::default());
    struct Slabs;
    impl Stored for Slabs {
        fn type_name() -> String {
            "Slabs".into()
        }
        const FORM: Form = Form::object::<Self>();
        fn describe(types: &mut Types) -> Shape {
            types.object("Slabs", |_| vec![])
        }
    }
    impl Object for Slabs {
        type Guard<'t, M: Mode> = Body<'t, M>;
        fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
            body.alloc_slab(1 << 16)?;
            Ok(body.alloc(0u64)?.cast())
        }
        fn attach<M: Mode>(body: Body<'_, M>, _: Ptr<u8>) -> Result<Body<'_, M>> {
            Ok(body)
        }
        fn destroy(_: &mut Body<'_, Write>, _: Ptr<u8>) -> Result<()> {
            unreachable!("nothing is removed here")
        }
    }
    let refused = pool.write(|tx| tx.open::<Slabs>("slabs").map(drop)).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::NotReplicable), "{refused}");
}

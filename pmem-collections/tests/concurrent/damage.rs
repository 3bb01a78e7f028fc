//! Damage of what says which cells count: an error, before anything is stored over what it is about.

use crate::maps::media;
use pmem_collections::*;

const LEN: u64 = 1 << 20;

fn pool_of(bytes: &[u8]) -> Pool {
    let mut mapping = Mapping::anonymous(bytes.len() as u64).unwrap();
    mapping.write(0, bytes).unwrap();
    Pool::on(mapping).unwrap()
}

fn word(bytes: &[u8], at: u64) -> u64 {
    u64::from_le_bytes(bytes[at as usize..][..8].try_into().unwrap())
}

fn set(bytes: &mut [u8], at: u64, to: u64) {
    bytes[at as usize..][..8].copy_from_slice(&to.to_le_bytes());
}

/// The offset of the header of the only container in these bytes: see format/concurrent.md.
fn header(bytes: &[u8]) -> u64 {
    // The log of the pool may have one too: the container's own is the last.
    bytes.windows(8).rposition(|window| window == b"PMEMCELL").expect("there is a container") as u64
}

#[track_caller]
fn assert_corrupt<T>(opened: Result<T>) {
    let error = opened.err().expect("damaged");
    assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
}

/// (All elements were stored over, and later ones were acknowledged and lost.)
#[test]
fn a_head_or_a_life_that_cannot_be_is_an_error_and_the_elements_stay() {
    let pool = Pool::create_on(Mapping::anonymous(LEN).unwrap()).unwrap();
    let queue = MpmcQueue::<u64>::open(&pool, "queue").unwrap();
    (0..10).for_each(|n| queue.push(n).unwrap());
    assert_eq!(queue.pop().unwrap(), Some(0));
    pool.checkpoint().unwrap();
    let bytes = media(&pool);
    let (life, control) = (header(&bytes) + 24, word(&bytes, header(&bytes) + 48));
    for (at, damage) in [(control, word(&bytes, control) | 1 << 60), (life, 0)] {
        let right = word(&bytes, at);
        let mut damaged = bytes.clone();
        set(&mut damaged, at, damage);
        let pool = pool_of(&damaged);
        assert_corrupt(MpmcQueue::<u64>::open(&pool, "queue"));
        pool.checkpoint().unwrap();
        let mut mended = media(&pool);
        set(&mut mended, at, right);
        let queue = MpmcQueue::<u64>::open(&pool_of(&mended), "queue").unwrap();
        assert_eq!(
            std::iter::from_fn(|| queue.pop().unwrap()).collect::<Vec<_>>(),
            (1..10).collect::<Vec<_>>()
        );
    }
}

/// (Each cell was its own double, and was stored over.)
#[test]
fn a_slab_that_is_twice_in_the_list_is_an_error_and_the_entries_stay() {
    let pool = Pool::create_on(Mapping::anonymous(LEN).unwrap()).unwrap();
    let map = ConcurrentHashMap::<u64, u64>::open(&pool, "map").unwrap();
    for n in 0..10 {
        map.insert(n, n).unwrap();
    }
    pool.checkpoint().unwrap();
    let bytes = media(&pool);
    let (slabs, list) = (header(&bytes) + 32, word(&bytes, header(&bytes) + 40));
    assert_eq!((word(&bytes, slabs), word(&bytes, list + 8)), (1, 1));
    let mut damaged = bytes.clone();
    set(&mut damaged, list + 24, word(&bytes, list + 16));
    set(&mut damaged, list + 8, 2);
    set(&mut damaged, slabs, 2);
    let pool = pool_of(&damaged);
    assert_corrupt(ConcurrentHashMap::<u64, u64>::open(&pool, "map"));
    let mut mended = media(&pool);
    set(&mut mended, list + 8, 1);
    set(&mut mended, slabs, 1);
    let map = ConcurrentHashMap::<u64, u64>::open(&pool_of(&mended), "map").unwrap();
    assert_eq!(map.iter().collect::<Result<Vec<_>>>().unwrap().len(), 10);
}

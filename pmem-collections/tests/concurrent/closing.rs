//! A pool is closed with the last handle on it and on its containers, not when some thread's epoch turns.

use pmem_collections::*;

/// Makes the containers large enough for several slabs, and leaves the pool.
fn use_all(pool: &Pool) -> Result<()> {
    let map = ConcurrentHashMap::<u64, u64>::open(pool, "hash map")?;
    let ordered = ConcurrentMap::<u64, u64>::open(pool, "map")?;
    let queue = MpmcQueue::<u64>::open(pool, "queue")?;
    let log = ConcurrentLog::open(pool, "log")?;
    for n in 0..2_000 {
        map.insert(n, n)?;
        ordered.insert(n, n)?;
        queue.push(n)?;
        log.append(&[n as u8; 1000])?;
        if n % 3 == 0 {
            map.remove(n)?;
            queue.pop()?;
        }
    }
    log.truncate_before(log.watermark())
}

/// (What waited for readers had a copy of a slab, and with it the pool: its lock was held, and it was not closed.)
#[test]
fn a_pool_is_closed_with_its_last_handle() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    // SAFETY: nobody else knows this file.
    let pool = unsafe { Pool::create(&path, 16 << 20) }.unwrap();
    use_all(&pool).unwrap();
    drop(pool);
    for _ in 0..3 {
        // SAFETY: nobody else knows this file.
        let pool = unsafe { Pool::open(&path) }.unwrap();
        assert_eq!(pool.opening().replayed, 0, "a checkpoint is the last thing a pool does");
        use_all(&pool).unwrap();
    }
}

//! What a name stands for is recorded in the pool: opening it as something else is an error that names both types.

use pmem_collections::*;
use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("typed.pool");

    // SAFETY: nobody else writes or truncates this file; other pools are kept out by a lock.
    let pool = unsafe { PoolOptions::new().create(&path) }?;
    pool.write(|tx| tx.open::<PBTreeMap<u64, u64>>("map")?.insert(1, 1).map(drop))?;
    pool.close()?;

    // SAFETY: as above.
    let pool = unsafe { PoolOptions::new().open(&path) }?;
    let tx = pool.read()?;
    let error = tx.open::<PBTreeMap<u64, i64>>("map").err().ok_or("it was opened as another type")?;
    println!("{error}");
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }));
    let error = tx.open::<PCell<u64>>("cell").err().ok_or("it was opened and is not there")?;
    println!("{error}");
    assert!(matches!(error.kind(), ErrorKind::NotFound { .. }));
    Ok(())
}

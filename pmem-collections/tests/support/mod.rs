//! What tests of several containers share.
#![allow(dead_code, reason = "each test uses a part")]

use pmem_collections::*;

/// A pool's bytes, as a power failure leaves them if every store has arrived.
pub(crate) fn bytes_of(pool: &Pool) -> Vec<u8> {
    let mut bytes = vec![0; pool.region().len() as usize];
    // SAFETY: this thread has the only pool on the region, and no transaction is open.
    unsafe { pool.region().load(0, &mut bytes) };
    bytes
}

/// The pool, opened again from its bytes.
pub(crate) fn reopened(pool: &Pool) -> Pool {
    let bytes = bytes_of(pool);
    let mut mapping = Mapping::anonymous(bytes.len() as u64).unwrap();
    mapping.as_mut_slice().copy_from_slice(&bytes);
    Pool::on(mapping).unwrap()
}

/// Another object of the pool, "vandal", whose owner forges references into others. Returns what was at `at` before.
pub(crate) fn forge(pool: &Pool, at: u64, bytes: &[u8]) -> Result<Vec<u8>> {
    pool.write(|tx| {
        let mut vandal = tx.open::<PHeap<u64>>("vandal")?;
        (at..)
            .zip(bytes)
            .map(|(at, byte)| Ok(std::mem::replace(vandal.get_mut(Ptr::from_offset(at))?, *byte)))
            .collect()
    })
}

/// What is at `at`.
pub(crate) fn bytes<const N: usize>(pool: &Pool, at: u64) -> Result<[u8; N]> {
    pool.read()?.open::<PHeap<u64>>("vandal")?.get(Ptr::from_offset(at)).copied()
}

/// Offsets of the blocks that begin with `magic`.
pub(crate) fn blocks(pool: &Pool, magic: &[u8]) -> Result<Vec<u64>> {
    let tx = pool.read()?;
    let vandal = tx.open::<PHeap<u64>>("vandal")?;
    let begins = |at: &u64| {
        (*at..)
            .zip(magic)
            .all(|(at, byte)| vandal.get::<u8>(Ptr::from_offset(at)).is_ok_and(|found| found == byte))
    };
    Ok((0..pool.region().len()).step_by(64).filter(begins).collect())
}

/// Counts what was `Corrupt`; any other error is a failure.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) corrupt: usize,
}
impl Tally {
    pub(crate) fn see<T>(&mut self, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::Corrupt { .. }), "{error}");
                self.corrupt += 1;
                None
            }
        }
    }
}

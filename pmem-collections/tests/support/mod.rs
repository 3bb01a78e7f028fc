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

//! Blocks set aside outside a transaction, to be filled at leisure.

use crate::{
    ErrorKind, Result,
    heap::Block,
    pool::{Inner, Pool},
};
use std::sync::Arc;

/// A block that is set aside, and its content, still in DRAM.
///
/// Fill it, then hand it to [`HeapGuard::publish`](crate::HeapGuard::publish) in the transaction that makes something
/// refer to it: allocation, content and reference commit with that transaction's one drain (two if the block is
/// large). Dropping it gives the block back. Nothing of it is on media before it is published: a crash leaks nothing.
#[must_use = "dropping a reservation gives the block back"]
pub struct Reservation {
    inner: Arc<Inner>,
    block: Block,
    content: Vec<u8>,
    published: bool,
}

impl Reservation {
    pub(crate) fn new(pool: &Pool, block: Block, len: u64) -> Reservation {
        let content = vec![0; len as usize];
        Reservation { inner: pool.inner.clone(), block, content, published: false }
    }

    /// Offset that the block will have.
    pub fn offset(&self) -> u64 {
        self.block.start
    }

    /// Gives the block back, as dropping does.
    pub fn cancel(self) {}

    fn cancel_now(&self) {
        if let Some(block) = self.inner.caches.keep(self.block) {
            self.inner.cancel([block]);
        }
    }

    /// For the transaction that publishes it.
    pub(crate) fn accept(mut self, inner: &Arc<Inner>) -> Result<(Block, Vec<u8>)> {
        if !Arc::ptr_eq(&self.inner, inner) {
            return Err(ErrorKind::ForeignReservation.into());
        }
        self.published = true;
        Ok((self.block, std::mem::take(&mut self.content)))
    }
}

impl std::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Reservation { block, content, .. } = self;
        f.debug_struct("Reservation").field("offset", &block.start).field("len", &content.len()).finish()
    }
}

impl std::ops::Deref for Reservation {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.content
    }
}

impl std::ops::DerefMut for Reservation {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.content
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.published {
            self.cancel_now();
        }
    }
}

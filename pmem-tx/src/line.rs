//! Updates that fit one line, and need no log.

use crate::{Journal, Result, Tx, transaction::invalid};
use pmem_map::LINE;

impl Journal {
    /// Replaces bytes inside one 64-byte line, all or nothing: after a crash all of them are old, or all new. Durable on return.
    /// One drain; none if the bytes are there already. Waits while a transaction is open.
    ///
    /// If they differ in one aligned word, as a counter, a pointer or a flag does, it is stored in place, with nothing
    /// in the log: 1 line flushed. If they differ in several, which a crash could tear, or if a replay of recent records would
    /// undo the store, it becomes a transaction of one record: about 3 lines. [`Subscriber`](crate::Subscriber)s are
    /// told of a record only.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error) if the bytes are not inside one line, or not the program's. Errors of a drain poison the
    /// journal.
    pub fn atomic_line(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.store_in_line(at, bytes, true)
    }

    /// Replaces bytes inside one 64-byte line. Durable on return. One drain, 1 line flushed. Waits while a transaction is open.
    ///
    /// For lines that validate themselves (a checksum, a sequence number in every word): a crash before the return leaves each
    /// aligned word of it old or new, in any combination, and whoever reads it can tell. Words that are not touched stay.
    /// (If a replay of recent records would undo the store, it becomes a transaction, and is all or nothing.)
    ///
    /// # Errors
    ///
    /// As [`atomic_line`](Journal::atomic_line).
    pub fn self_validating_line(&self, at: u64, bytes: &[u8]) -> Result<()> {
        self.store_in_line(at, bytes, false)
    }

    fn store_in_line(&self, at: u64, bytes: &[u8], atomic: bool) -> Result<()> {
        let len = bytes.len() as u64;
        self.check(at, len, "bytes of one line")?;
        if len == 0 {
            return Ok(());
        }
        let (line, end) = (at / LINE, at + len);
        if (end - 1) / LINE != line {
            return invalid(at, "bytes of one line", "they are in several");
        }
        let mut tx = Tx::new(self, self.take_settled()?);
        let mut old = [0u64; 8];
        // SAFETY: a line of the mapping, whose transaction this thread has: nobody stores.
        unsafe { self.region().load(line * LINE, bytemuck::bytes_of_mut(&mut old)) };
        let mut new = old;
        bytemuck::bytes_of_mut(&mut new)[(at % LINE) as usize..][..bytes.len()].copy_from_slice(bytes);
        let mut changed = (0..8u64).filter(|&word| old[word as usize] != new[word as usize]);
        let (Some(first), others) = (changed.next(), changed.next().is_some()) else { return Ok(()) };
        let log = tx.log_mut();
        if log.covers(line) || atomic && others {
            tx.write_bytes(at, bytes)?;
            return tx.commit();
        }
        match others {
            false => log.store_unlogged(line * LINE + first * 8, bytemuck::bytes_of(&new[first as usize])),
            true => log.store_unlogged(at, bytes),
        }
    }
}

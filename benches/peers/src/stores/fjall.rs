//! fjall: a log-structured merge tree.

use crate::{
    Result,
    store::{Peer, Session, Store, missing},
};
use fjall::{
    KeyspaceCreateOptions, PersistMode, Readable, SingleWriterTxDatabase, SingleWriterTxKeyspace,
    SingleWriterWriteTx,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

pub(crate) const PEER: Peer = Peer {
    name: "fjall",
    version: || format!("fjall {}", env!("VERSION_OF_FJALL")),
    settings: "SingleWriterTxDatabase, with a cache of 1 GiB, otherwise defaults; a transaction for each change, with PersistMode::SyncData; \
               big-endian keys; the ends of the log and the queue are known in DRAM, so that nobody searches past what was taken off. \
               Not durable: PersistMode::Buffer, its default",
    workloads: super::EVERY,
    open: |options| {
        let database =
            SingleWriterTxDatabase::builder(options.folder.join("fjall")).cache_size(1 << 30).open()?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        let mode = if options.durable { PersistMode::SyncData } else { PersistMode::Buffer };
        let (first, next) = match (records.first_key_value(), records.last_key_value()) {
            (Some(first), Some(last)) => (number(&first.key()?), number(&last.key()?).wrapping_add(1)),
            _ => (0, 0),
        };
        let ends = Arc::new(Ends { first: AtomicU64::new(first), next: AtomicU64::new(next) });
        Ok(Box::new(Fjall { database, records, mode, ends }))
    },
};

#[derive(Clone)]
struct Fjall {
    database: SingleWriterTxDatabase,
    records: SingleWriterTxKeyspace,
    mode: PersistMode,
    ends: Arc<Ends>,
}

/// Where a log or a queue begins and ends. In DRAM, as programs with queues in such a tree have it: the first element is behind all that
/// were taken off, and a search from the beginning would look at each of them. Changed by who writes, which is one at a time.
struct Ends {
    /// No element is before it.
    first: AtomicU64,
    /// The number of the next one.
    next: AtomicU64,
}

impl Fjall {
    fn write<R>(&self, body: impl FnOnce(&mut SingleWriterWriteTx<'_>) -> Result<R>) -> Result<R> {
        let mut transaction = self.database.write_tx().durability(Some(self.mode));
        let result = body(&mut transaction)?;
        transaction.commit()?;
        Ok(result)
    }
}

impl Store for Fjall {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.clone()))
    }
}

impl Session for Fjall {
    fn load(&mut self, entries: &[(u64, &[u8])]) -> Result<()> {
        self.write(|tx| {
            entries.iter().for_each(|(key, value)| tx.insert(&self.records, key.to_be_bytes(), *value));
            Ok(())
        })
    }

    fn put(&mut self, key: u64, value: &[u8]) -> Result<()> {
        self.write(|tx| {
            tx.insert(&self.records, key.to_be_bytes(), value);
            Ok(())
        })
    }

    fn get(&mut self, key: u64, look: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.records.get(key.to_be_bytes())?.map(|value| look(&value)).is_some())
    }

    fn delete(&mut self, key: u64) -> Result<bool> {
        self.write(|tx| Ok(tx.take(&self.records, key.to_be_bytes())?.is_some()))
    }

    fn scan(&mut self, key: u64, count: u64, look: &mut dyn FnMut(&[u8])) -> Result<u64> {
        let (mut range, mut found) = (self.database.read_tx().range(&self.records, key.to_be_bytes()..), 0);
        while found < count {
            let Some(entry) = range.next() else { break };
            look(&entry.value()?);
            found += 1;
        }
        Ok(found)
    }

    fn modify(&mut self, keys: &[u64], change: &mut dyn FnMut(usize, &mut [u8])) -> Result<()> {
        self.write(|tx| {
            for (i, key) in keys.iter().enumerate() {
                let mut value =
                    tx.get(&self.records, key.to_be_bytes())?.ok_or_else(|| missing(*key))?.to_vec();
                change(i, &mut value);
                tx.insert(&self.records, key.to_be_bytes(), value);
            }
            Ok(())
        })
    }

    fn append(&mut self, value: &[u8]) -> Result<()> {
        self.write(|tx| {
            let next = self.ends.next.fetch_add(1, Relaxed);
            tx.insert(&self.records, next.to_be_bytes(), value);
            Ok(())
        })
    }

    fn pop(&mut self, look: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.write(|tx| {
            let from = self.ends.first.load(Relaxed).to_be_bytes();
            let Some(first) = tx.range(&self.records, from..).next() else { return Ok(false) };
            let (key, value) = first.into_inner()?;
            look(&value);
            self.ends.first.store(number(&key) + 1, Relaxed);
            tx.remove(&self.records, key);
            Ok(true)
        })
    }
}

fn number(key: &[u8]) -> u64 {
    key.try_into().map_or(0, u64::from_be_bytes)
}

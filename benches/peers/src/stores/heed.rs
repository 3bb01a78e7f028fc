//! LMDB, by heed: a copy-on-write B-tree in a memory map.

use crate::{
    Result,
    store::{Peer, Session, Store, missing},
};
use heed::{
    Database, Env, EnvFlags, EnvOpenOptions, IntegerComparator, PutFlags, RwTxn,
    byteorder::NativeEndian,
    types::{Bytes, U64},
};

pub(crate) const PEER: Peer = Peer {
    name: "heed",
    version: || {
        let lmdb = heed::lmdb_version();
        format!("heed {}, LMDB {}.{}.{}", env!("VERSION_OF_HEED"), lmdb.major, lmdb.minor, lmdb.patch)
    },
    settings: "defaults: every commit is synced; a map of 16 GiB; native integer keys; a transaction for each operation, also where \
               it reads; MDB_APPEND for the log and the queue. Not durable: MDB_NOSYNC",
    workloads: super::EVERY,
    open: |options| {
        let mut open = EnvOpenOptions::new();
        open.map_size(16 << 30);
        if !options.durable {
            // SAFETY: a power failure may damage the file, which is what was asked for, and nobody opens it afterwards.
            unsafe { open.flags(EnvFlags::NO_SYNC) };
        }
        // SAFETY: a folder of this program's own: nobody else maps or changes its files.
        let env = unsafe { open.open(options.folder) }?;
        let mut transaction = env.write_txn()?;
        let records = env
            .database_options()
            .types::<U64<NativeEndian>, Bytes>()
            .key_comparator::<IntegerComparator>()
            .create(&mut transaction)?;
        transaction.commit()?;
        Ok(Box::new(Lmdb { env, records }))
    },
};

#[derive(Clone)]
struct Lmdb {
    env: Env,
    records: Database<U64<NativeEndian>, Bytes, IntegerComparator>,
}

impl Lmdb {
    fn write<R>(&self, body: impl FnOnce(&mut RwTxn<'_>) -> Result<R>) -> Result<R> {
        let mut transaction = self.env.write_txn()?;
        let result = body(&mut transaction)?;
        transaction.commit()?;
        Ok(result)
    }
}

impl Store for Lmdb {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.clone()))
    }
}

impl Session for Lmdb {
    fn load(&mut self, entries: &[(u64, &[u8])]) -> Result<()> {
        self.write(|tx| Ok(entries.iter().try_for_each(|(key, value)| self.records.put(tx, key, value))?))
    }

    fn put(&mut self, key: u64, value: &[u8]) -> Result<()> {
        self.write(|tx| Ok(self.records.put(tx, &key, value)?))
    }

    fn get(&mut self, key: u64, look: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let tx = self.env.read_txn()?;
        Ok(self.records.get(&tx, &key)?.map(look).is_some())
    }

    fn delete(&mut self, key: u64) -> Result<bool> {
        self.write(|tx| Ok(self.records.delete(tx, &key)?))
    }

    fn scan(&mut self, key: u64, count: u64, look: &mut dyn FnMut(&[u8])) -> Result<u64> {
        let tx = self.env.read_txn()?;
        let (mut range, mut found) = (self.records.range(&tx, &(key..))?, 0);
        while found < count {
            let Some(entry) = range.next() else { break };
            look(entry?.1);
            found += 1;
        }
        Ok(found)
    }

    fn modify(&mut self, keys: &[u64], change: &mut dyn FnMut(usize, &mut [u8])) -> Result<()> {
        self.write(|tx| {
            for (i, key) in keys.iter().enumerate() {
                let mut value = self.records.get(tx, key)?.ok_or_else(|| missing(*key))?.to_vec();
                change(i, &mut value);
                self.records.put(tx, key, &value)?;
            }
            Ok(())
        })
    }

    fn append(&mut self, value: &[u8]) -> Result<()> {
        self.write(|tx| {
            let next = self.records.last(tx)?.map_or(0, |(key, _)| key + 1);
            Ok(self.records.put_with_flags(tx, PutFlags::APPEND, &next, value)?)
        })
    }

    fn pop(&mut self, look: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.write(|tx| {
            let Some((first, value)) = self.records.first(tx)? else { return Ok(false) };
            look(value);
            Ok(self.records.delete(tx, &first)?)
        })
    }
}

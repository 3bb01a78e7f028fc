//! redb: a copy-on-write B-tree.

use crate::{
    Result,
    store::{Peer, Session, Store, missing},
};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use std::sync::Arc;

pub(crate) const PEER: Peer = Peer {
    name: "redb",
    version: || format!("redb {}", env!("VERSION_OF_REDB")),
    settings: "defaults: Durability::Immediate, a cache of 1 GiB; a transaction for each operation, also where it reads; native u64 keys. \
               Not durable: Durability::None",
    workloads: super::EVERY,
    open: |options| {
        let database = Arc::new(Database::create(options.folder.join("redb"))?);
        let redb = Redb { database, durable: options.durable };
        redb.write(|_| Ok(()))?;
        Ok(Box::new(redb))
    },
};

const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
type Table<'t> = redb::Table<'t, u64, &'static [u8]>;

#[derive(Clone)]
struct Redb {
    database: Arc<Database>,
    durable: bool,
}

impl Redb {
    fn write<R>(&self, body: impl FnOnce(&mut Table<'_>) -> Result<R>) -> Result<R> {
        let mut transaction: WriteTransaction = self.database.begin_write()?;
        transaction.set_durability(if self.durable { Durability::Immediate } else { Durability::None })?;
        let result = body(&mut transaction.open_table(TABLE)?)?;
        transaction.commit()?;
        Ok(result)
    }
}

impl Store for Redb {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.clone()))
    }
}

impl Session for Redb {
    fn load(&mut self, entries: &[(u64, &[u8])]) -> Result<()> {
        self.write(|table| {
            for (key, value) in entries {
                table.insert(key, value)?;
            }
            Ok(())
        })
    }

    fn put(&mut self, key: u64, value: &[u8]) -> Result<()> {
        self.write(|table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    fn get(&mut self, key: u64, look: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.database.begin_read()?.open_table(TABLE)?.get(key)?;
        Ok(found.map(|value| look(value.value())).is_some())
    }

    fn delete(&mut self, key: u64) -> Result<bool> {
        self.write(|table| Ok(table.remove(key)?.is_some()))
    }

    fn scan(&mut self, key: u64, count: u64, look: &mut dyn FnMut(&[u8])) -> Result<u64> {
        let table = self.database.begin_read()?.open_table(TABLE)?;
        let (mut range, mut found) = (table.range(key..)?, 0);
        while found < count {
            let Some(entry) = range.next() else { break };
            look(entry?.1.value());
            found += 1;
        }
        Ok(found)
    }

    fn modify(&mut self, keys: &[u64], change: &mut dyn FnMut(usize, &mut [u8])) -> Result<()> {
        self.write(|table| {
            for (i, key) in keys.iter().enumerate() {
                let mut value = table.get(key)?.ok_or_else(|| missing(*key))?.value().to_vec();
                change(i, &mut value);
                table.insert(key, value.as_slice())?;
            }
            Ok(())
        })
    }

    fn append(&mut self, value: &[u8]) -> Result<()> {
        self.write(|table| {
            let next = table.last()?.map_or(0, |(key, _)| key.value() + 1);
            table.insert(next, value)?;
            Ok(())
        })
    }

    fn pop(&mut self, look: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.write(|table| Ok(table.pop_first()?.map(|(_, value)| look(value.value())).is_some()))
    }
}

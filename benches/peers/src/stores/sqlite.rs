//! SQLite, by rusqlite: a B-tree with a write-ahead log, and a language.

use crate::{
    Result,
    store::{Peer, Session, Store, missing},
};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};
use std::{path::PathBuf, time::Duration};

pub(crate) const PEER: Peer = Peer {
    name: "sqlite",
    version: || format!("rusqlite {}, SQLite {}", env!("VERSION_OF_RUSQLITE"), rusqlite::version()),
    settings: "WAL, synchronous=FULL, mmap_size of 1 GiB, the default cache of 2 MB; a connection for each thread, prepared statements; INTEGER PRIMARY KEY; \
               BEGIN IMMEDIATE where records are read and changed. Not durable: synchronous=OFF",
    workloads: super::EVERY,
    open: |options| {
        let sqlite = Sqlite { file: options.folder.join("sqlite"), durable: options.durable };
        let connection = sqlite.connect()?;
        connection.execute(
            "CREATE TABLE IF NOT EXISTS records (key INTEGER PRIMARY KEY, value BLOB NOT NULL)",
            [],
        )?;
        Ok(Box::new(sqlite))
    },
};

struct Sqlite {
    file: PathBuf,
    durable: bool,
}

impl Sqlite {
    fn connect(&self) -> Result<Connection> {
        let connection = Connection::open(&self.file)?;
        connection.busy_timeout(Duration::from_secs(30))?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        connection.pragma_update(None, "synchronous", if self.durable { "full" } else { "off" })?;
        // Not a large cache: where a page is split, a commit looks at each of its slots.
        connection.pragma_update(None, "mmap_size", 1 << 30)?;
        Ok(connection)
    }
}

impl Store for Sqlite {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(Connected(self.connect()?)))
    }
}

struct Connected(Connection);

/// SQLite's integers have a sign: the order stays.
fn signed(key: u64) -> i64 {
    (key ^ 1 << 63).cast_signed()
}

const PUT: &str =
    "INSERT INTO records VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

impl Session for Connected {
    fn load(&mut self, entries: &[(u64, &[u8])]) -> Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (key, value) in entries {
            transaction.prepare_cached(PUT)?.execute((signed(*key), value))?;
        }
        Ok(transaction.commit()?)
    }

    fn put(&mut self, key: u64, value: &[u8]) -> Result<()> {
        self.0.prepare_cached(PUT)?.execute((signed(key), value))?;
        Ok(())
    }

    fn get(&mut self, key: u64, look: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let mut statement = self.0.prepare_cached("SELECT value FROM records WHERE key = ?1")?;
        let read = |row: &rusqlite::Row<'_>| {
            look(row.get_ref(0)?.as_blob()?);
            Ok(())
        };
        Ok(statement.query_row([signed(key)], read).optional()?.is_some())
    }

    fn delete(&mut self, key: u64) -> Result<bool> {
        Ok(self.0.prepare_cached("DELETE FROM records WHERE key = ?1")?.execute([signed(key)])? == 1)
    }

    fn scan(&mut self, key: u64, count: u64, look: &mut dyn FnMut(&[u8])) -> Result<u64> {
        const SCAN: &str = "SELECT value FROM records WHERE key >= ?1 ORDER BY key LIMIT ?2";
        let mut statement = self.0.prepare_cached(SCAN)?;
        let (limit, mut found) = (i64::try_from(count).unwrap_or(-1), 0);
        let mut rows = statement.query((signed(key), limit))?;
        while let Some(row) = rows.next()? {
            look(row.get_ref(0)?.as_blob()?);
            found += 1;
        }
        Ok(found)
    }

    fn modify(&mut self, keys: &[u64], change: &mut dyn FnMut(usize, &mut [u8])) -> Result<()> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut read = transaction.prepare_cached("SELECT value FROM records WHERE key = ?1")?;
            let mut write = transaction.prepare_cached("UPDATE records SET value = ?2 WHERE key = ?1")?;
            for (i, key) in keys.iter().enumerate() {
                let value = read.query_row([signed(*key)], |row| row.get::<_, Vec<u8>>(0)).optional()?;
                let mut value = value.ok_or_else(|| missing(*key))?;
                change(i, &mut value);
                write.execute((signed(*key), value))?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn append(&mut self, value: &[u8]) -> Result<()> {
        self.0.prepare_cached("INSERT INTO records (value) VALUES (?1)")?.execute([value])?;
        Ok(())
    }

    fn pop(&mut self, look: &mut dyn FnMut(&[u8])) -> Result<bool> {
        const POP: &str = "DELETE FROM records WHERE key = (SELECT min(key) FROM records) RETURNING value";
        let mut statement = self.0.prepare_cached(POP)?;
        let mut rows = statement.query([])?;
        let Some(row) = rows.next()? else { return Ok(false) };
        look(row.get_ref(0)?.as_blob()?);
        // The change ends with its last row.
        while rows.next()?.is_some() {}
        Ok(true)
    }
}

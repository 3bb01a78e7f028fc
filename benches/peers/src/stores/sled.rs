//! sled: a Bw-tree over a log.

use crate::{
    Result,
    store::{Peer, Session, Store, missing},
};
use sled::{
    Config, Db, Mode,
    transaction::{ConflictableTransactionError, TransactionError},
};
use std::{
    io, thread,
    time::{Duration, Instant},
};

pub(crate) const PEER: Peer = Peer {
    name: "sled",
    version: || format!("sled {}", env!("VERSION_OF_SLED")),
    settings: "Mode::HighThroughput, otherwise defaults: a cache of 1 GiB, a background thread that flushes every 500 ms and collects \
               garbage; a flush after each change; transactions where records are read and changed; big-endian keys. Not durable: without \
               the flush after each change",
    workloads: super::EVERY,
    open: |options| {
        let config = Config::default().path(options.folder.join("sled")).mode(Mode::HighThroughput);
        Ok(Box::new(Sled { database: open(&config)?, durable: options.durable }))
    },
};

/// Opens the store. One that was just closed is locked until its background thread has ended, for which nobody can wait.
fn open(config: &Config) -> Result<Db> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if is_locked(&error) && Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            other => return Ok(other?),
        }
    }
}

/// sled says what went wrong in words, and has the kind `Other`.
fn is_locked(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.to_string().contains("could not acquire lock")
}

#[derive(Clone)]
struct Sled {
    database: Db,
    durable: bool,
}

impl Sled {
    /// Returns when what was changed is durable, if that was asked for.
    fn settle(&self) -> Result<()> {
        if self.durable {
            self.database.flush()?;
        }
        Ok(())
    }
}

impl Store for Sled {
    fn session(&self) -> Result<Box<dyn Session>> {
        Ok(Box::new(self.clone()))
    }
}

impl Session for Sled {
    fn load(&mut self, entries: &[(u64, &[u8])]) -> Result<()> {
        // One by one: a batch of so many leaves giant nodes behind, which the reads and writes that come after it have to split.
        for (key, value) in entries {
            self.database.insert(key.to_be_bytes(), *value)?;
        }
        self.settle()
    }

    fn put(&mut self, key: u64, value: &[u8]) -> Result<()> {
        self.database.insert(key.to_be_bytes(), value)?;
        self.settle()
    }

    fn get(&mut self, key: u64, look: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Ok(self.database.get(key.to_be_bytes())?.map(|value| look(&value)).is_some())
    }

    fn delete(&mut self, key: u64) -> Result<bool> {
        let old = self.database.remove(key.to_be_bytes())?;
        self.settle()?;
        Ok(old.is_some())
    }

    fn scan(&mut self, key: u64, count: u64, look: &mut dyn FnMut(&[u8])) -> Result<u64> {
        let (mut range, mut found) = (self.database.range(key.to_be_bytes()..), 0);
        while found < count {
            let Some(entry) = range.next() else { break };
            look(&entry?.1);
            found += 1;
        }
        Ok(found)
    }

    fn modify(&mut self, keys: &[u64], change: &mut dyn FnMut(usize, &mut [u8])) -> Result<()> {
        let change = std::cell::RefCell::new(change);
        let result = self.database.transaction(|tx| {
            for (i, key) in keys.iter().enumerate() {
                let old = tx.get(key.to_be_bytes())?;
                let mut value = old.ok_or(ConflictableTransactionError::Abort(*key))?.to_vec();
                (change.borrow_mut())(i, &mut value);
                tx.insert(&key.to_be_bytes(), value)?;
            }
            Ok(())
        });
        match result {
            Ok(()) => self.settle(),
            Err(TransactionError::Abort(key)) => Err(missing(key)),
            Err(TransactionError::Storage(error)) => Err(error.into()),
        }
    }

    fn append(&mut self, value: &[u8]) -> Result<()> {
        // Numbers that grow, and that nobody else gets: the documentation's way.
        self.database.insert(self.database.generate_id()?.to_be_bytes(), value)?;
        self.settle()
    }

    fn pop(&mut self, look: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let first = self.database.pop_min()?;
        self.settle()?;
        Ok(first.map(|(_, value)| look(&value)).is_some())
    }
}

//! The operations of one thread, one after the other, and what they leave in the store.
//!
//! Of `threads` threads, the `thread`-th has the records `thread`, `thread + threads`, ...: so what a record holds at last does not depend on
//! who was faster, and can be checked.

use crate::{
    Result,
    choice::Choice,
    protocol::Open,
    value::key,
    workload::{Shape, Workload},
};
use fastrand::Rng;

/// One operation, with all that it needs: nothing is chosen while it is timed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Put {
        key: u64,
        number: u64,
    },
    Get {
        key: u64,
    },
    Scan {
        from: u64,
        count: u64,
    },
    Delete {
        key: u64,
    },
    /// Reads a record and writes it, with that number.
    Modify {
        key: u64,
        number: u64,
    },
    /// Takes the amount from the first four records, and adds it to the last four.
    Transfer {
        keys: [u64; 8],
        amount: u64,
    },
    Append {
        key: u64,
        number: u64,
    },
    /// Of one thread, the number that is popped is known.
    PushAndPop {
        key: u64,
        number: u64,
        first: Option<u64>,
    },
}

/// A record is not in the store.
const GONE: u64 = u64::MAX;
/// Records that a scan reads.
const SCAN: u64 = 100;

/// The operations of one thread.
pub(crate) struct Stream {
    workload: Workload,
    seed: u64,
    thread: u64,
    threads: u64,
    rng: Rng,
    choice: Choice,
    /// Operations so far.
    number: u64,
    /// What each of this thread's records holds: the number of its last write, or its balance.
    records: Vec<u64>,
    /// Records that were removed, of the first ones in this thread's order.
    removed: u64,
}

impl Stream {
    pub(crate) fn new(workload: Workload, open: &Open, thread: u64) -> Stream {
        let own = (open.entries + open.threads - 1 - thread) / open.threads;
        Stream {
            workload,
            seed: open.seed,
            thread,
            threads: open.threads,
            rng: Rng::with_seed(open.seed ^ thread << 32),
            choice: Choice::new(open.distribution, own),
            number: 0,
            records: vec![0; own as usize],
            removed: 0,
        }
    }

    /// The key of this thread's `own`-th record. Only those of a map are random.
    fn key(&self, own: u64) -> u64 {
        let index = own * self.threads + self.thread;
        if self.workload.shape() == Shape::Map { key(self.seed, index) } else { index }
    }

    /// All of this thread's records that the store has to have, with their numbers.
    pub(crate) fn expected(&self) -> impl Iterator<Item = (u64, u64)> {
        let present = (0..).zip(&self.records).filter(|(_, number)| **number != GONE);
        present.map(|(own, number)| (self.key(own), *number))
    }

    /// Records that have to be put back before so many operations.
    ///
    /// # Errors
    ///
    /// There are not so many at all.
    pub(crate) fn refill(&mut self, operations: u64) -> Result<Vec<u64>> {
        let all = self.records.len() as u64;
        if self.workload != Workload::Delete || self.removed + operations <= all {
            return Ok(Vec::new());
        }
        if operations > all {
            return Err(format!("a thread cannot delete {operations} of {all} records: open it with more entries, or ask for fewer operations").into());
        }
        let gone = (0..all).filter(|own| self.records[*own as usize] == GONE).collect::<Vec<_>>();
        self.records.fill(0);
        self.removed = 0;
        Ok(gone.into_iter().map(|own| self.key(own)).collect())
    }

    /// The next operation.
    pub(crate) fn next(&mut self) -> Operation {
        self.number += 1;
        match self.workload {
            Workload::Record => self.update(),
            Workload::Transfer => self.transfer(),
            Workload::Insert => self.insert(),
            Workload::Get => self.get(),
            Workload::Scan => self.scan(SCAN),
            Workload::Delete => self.delete(),
            Workload::Ycsb(mix) => {
                let kind = self.rng.u32(..100);
                let until = |parts: &[u32]| kind < parts.iter().sum();
                if until(&[mix.updates]) {
                    self.update()
                } else if until(&[mix.updates, mix.inserts]) {
                    self.insert()
                } else if until(&[mix.updates, mix.inserts, mix.scans]) {
                    let count = self.rng.u64(1..=SCAN);
                    self.scan(count)
                } else if until(&[mix.updates, mix.inserts, mix.scans, mix.read_modify_writes]) {
                    let own = self.any();
                    self.records[own as usize] = self.number;
                    Operation::Modify { key: self.key(own), number: self.number }
                } else if mix.latest {
                    let own = self.choice.latest(&mut self.rng, self.records.len() as u64);
                    Operation::Get { key: self.key(own) }
                } else {
                    self.get()
                }
            }
            Workload::Log => {
                let (key, number) = self.add();
                Operation::Append { key, number }
            }
            Workload::Queue => {
                let first = (self.threads == 1).then_some(self.removed);
                self.removed += 1;
                let (key, number) = self.add();
                Operation::PushAndPop { key, number, first }
            }
        }
    }

    fn any(&mut self) -> u64 {
        self.choice.any(&mut self.rng, self.records.len() as u64)
    }

    fn update(&mut self) -> Operation {
        let own = self.any();
        self.records[own as usize] = self.number;
        Operation::Put { key: self.key(own), number: self.number }
    }

    fn add(&mut self) -> (u64, u64) {
        self.records.push(self.number);
        (self.key(self.records.len() as u64 - 1), self.number)
    }

    fn insert(&mut self) -> Operation {
        let (key, number) = self.add();
        Operation::Put { key, number }
    }

    fn get(&mut self) -> Operation {
        let own = self.any();
        Operation::Get { key: self.key(own) }
    }

    fn scan(&mut self, count: u64) -> Operation {
        let own = self.any();
        Operation::Scan { from: self.key(own), count }
    }

    /// Visits the records in an order of its own, in which no two are neighbours; a key is random anyway.
    fn delete(&mut self) -> Operation {
        let own = self.removed;
        self.removed += 1;
        self.records[own as usize] = GONE;
        Operation::Delete { key: self.key(own) }
    }

    /// One record from each of eight equal parts.
    fn transfer(&mut self) -> Operation {
        let (part, amount) = (self.records.len() as u64 / 8, self.number);
        let mut keys = [0; 8];
        for (i, key) in (0..).zip(&mut keys) {
            let own = i * part + self.rng.u64(..part);
            let balance = &mut self.records[own as usize];
            *balance = moved(i as usize, *balance, amount);
            *key = self.key(own);
        }
        Operation::Transfer { keys, amount }
    }
}

/// The balance of the `i`-th of eight records after a transfer.
pub(crate) fn moved(i: usize, balance: u64, amount: u64) -> u64 {
    if i < 4 { balance.wrapping_sub(amount) } else { balance.wrapping_add(amount) }
}

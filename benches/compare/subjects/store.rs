//! Workloads of maps: keys of 8 bytes, values of 100, one operation at a time.

use super::keys::{Choice, Distribution, Zipf};
use crate::{
    compare::{
        Outcome,
        subject::{Shared, Threads},
    },
    maps::key,
};
use fastrand::Rng;
use pmem_map::Counters;
use std::ops::Range;

/// A value.
pub type Value = [u8; 100];

/// A map that threads share. Changes are durable on return, where they can be.
pub trait Store: Send + Sync {
    /// Sets the value of a key.
    fn insert(&self, key: u64, value: &Value) -> Outcome<()>;
    /// The value of a key.
    fn get(&self, key: u64) -> Outcome<Option<Value>>;
    /// Reads so many entries from a key on, in order; how many there were. An error where there is no order.
    fn scan(&self, from: u64, count: usize) -> Outcome<usize>;
    /// Removes a key; whether it was there.
    fn remove(&self, key: u64) -> Outcome<bool>;
    /// Inserts many, not necessarily one by one.
    fn load(&self, entries: &mut dyn Iterator<Item = (u64, Value)>) -> Outcome<()> {
        for (key, value) in entries {
            self.insert(key, &value)?;
        }
        Ok(())
    }
    /// Removes many, all of them there, not necessarily one by one.
    fn unload(&self, keys: &mut dyn Iterator<Item = u64>) -> Outcome<()> {
        for key in keys {
            if !self.remove(key)? {
                return Err("a key is missing".into());
            }
        }
        Ok(())
    }
    /// How many entries there are.
    fn len(&self) -> Outcome<u64>;
    /// Whether there are none.
    fn is_empty(&self) -> Outcome<bool> {
        Ok(self.len()? == 0)
    }
    /// Its own consistency check.
    fn check(&self) -> Outcome<()> {
        Ok(())
    }
    /// Lines and drains so far, where somebody counts.
    fn counters(&self) -> Option<Counters> {
        None
    }
}

/// What is done with a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// New keys.
    Insert,
    /// Keys that are there.
    Get,
    /// A hundred entries in order, from a key on.
    Scan,
    /// Keys that are there.
    Delete,
    /// YCSB's workload of that letter, `a` to `f`.
    Ycsb(char),
}

impl Workload {
    /// As tables, the JSON and peers call it.
    pub fn name(self) -> String {
        match self {
            Workload::Insert => "insert".into(),
            Workload::Get => "get".into(),
            Workload::Scan => "scan".into(),
            Workload::Delete => "delete".into(),
            Workload::Ycsb(letter) => format!("ycsb-{letter}"),
        }
    }

    /// What one operation is.
    pub fn operation(self) -> &'static str {
        match self {
            Workload::Insert => "one new key of 8 bytes with a value of 100",
            Workload::Get => "one key that is there, looked up",
            Workload::Scan => "100 entries read in order, from a random key on",
            Workload::Delete => "one key that is there, removed",
            Workload::Ycsb('a') => "half reads, half updates",
            Workload::Ycsb('b') => "95 % reads, 5 % updates",
            Workload::Ycsb('c') => "reads alone",
            Workload::Ycsb('d') => "95 % reads of what was inserted last, 5 % inserts",
            Workload::Ycsb('e') => "95 % scans of 1 to 100 entries, 5 % inserts",
            Workload::Ycsb(_) => "half reads, half read, change and write",
        }
    }

    /// Whether it needs an order of keys.
    pub fn is_ordered(self) -> bool {
        matches!(self, Workload::Scan | Workload::Ycsb('e'))
    }
}

/// A workload over a map.
pub struct Work<S> {
    store: S,
    workload: Workload,
    entries: u64,
    choice: Choice,
    latest: Zipf,
}

/// A thread's place in the workload.
pub struct Local {
    rng: Rng,
    /// Numbers of entries that it inserted beside those that all threads began with.
    fresh: Range<u64>,
    version: u64,
}

/// Numbers of entries that no other thread inserts.
const APART: u64 = 1 << 40;

/// By so many threads, over `entries` that are loaded before.
pub fn work<S: Store + 'static>(
    store: S,
    workload: Workload,
    distribution: Distribution,
    (entries, threads, seed): (u64, u64, u64),
) -> Outcome<Threads<Work<S>>> {
    store.load(&mut (0..entries).map(|i| (key(i), value(i, 0))))?;
    let locals = (0..threads).map(|thread| {
        let first = APART * (thread + 1);
        Local { rng: Rng::with_seed(seed + thread), fresh: first..first, version: 0 }
    });
    let (choice, latest) = (Choice::new(distribution, entries), Zipf::new(entries));
    Ok(Threads::new(Work { store, workload, entries, choice, latest }, locals.collect()))
}

/// The value of an entry: its number, then how often it changed, then filling.
fn value(i: u64, version: u64) -> Value {
    let mut value = [i as u8; 100];
    value[..8].copy_from_slice(&i.to_le_bytes());
    value[8..16].copy_from_slice(&version.to_le_bytes());
    value
}

impl<S: Store> Work<S> {
    fn read(&self, i: u64) -> Outcome<Value> {
        let found = self.store.get(key(i))?.ok_or("a key is missing")?;
        if found[..8] != i.to_le_bytes() {
            return Err("a key has another one's value".into());
        }
        Ok(found)
    }

    fn insert_fresh(&self, local: &mut Local) -> Outcome<()> {
        let i = local.fresh.end;
        self.store.insert(key(i), &value(i, 0))?;
        local.fresh.end += 1;
        Ok(())
    }

    fn remove_fresh(&self, local: &mut Local) -> Outcome<()> {
        let i = local.fresh.start;
        if i == local.fresh.end || !self.store.remove(key(i))? {
            return Err("a key is missing".into());
        }
        local.fresh.start += 1;
        Ok(())
    }

    /// The entry that was inserted as the `rank`-th before the last one.
    fn newest(&self, local: &Local, rank: u64) -> u64 {
        let fresh = local.fresh.end - local.fresh.start;
        if rank < fresh {
            local.fresh.end - 1 - rank
        } else {
            self.entries - 1 - (rank - fresh).min(self.entries - 1)
        }
    }

    fn scan(&self, local: &mut Local, count: usize) -> Outcome<()> {
        let found = self.store.scan(key(self.choice.next(&mut local.rng)), count)?;
        if found == 0 { Err("a scan found nothing".into()) } else { Ok(()) }
    }

    fn update(&self, local: &mut Local, i: u64) -> Outcome<()> {
        local.version += 1;
        self.store.insert(key(i), &value(i, local.version))
    }

    fn ycsb(&self, letter: char, local: &mut Local) -> Outcome<()> {
        let percent = local.rng.u8(..100);
        match (letter, percent) {
            ('a', 50..) | ('b', 95..) => {
                let i = self.choice.next(&mut local.rng);
                self.update(local, i)
            }
            ('d' | 'e', 95..) => self.insert_fresh(local),
            ('d', _) => {
                let rank = self.latest.rank(&mut local.rng);
                self.read(self.newest(local, rank)).map(drop)
            }
            ('e', _) => {
                let count = local.rng.usize(1..=100);
                self.scan(local, count)
            }
            ('f', 50..) => {
                let i = self.choice.next(&mut local.rng);
                let mut value = self.read(i)?;
                local.version += 1;
                value[8..16].copy_from_slice(&local.version.to_le_bytes());
                self.store.insert(key(i), &value)
            }
            _ => self.read(self.choice.next(&mut local.rng)).map(drop),
        }
    }
}

impl<S: Store> Shared for Work<S> {
    type Local = Local;

    /// What was inserted before is removed, so that each round finds as many entries as the others.
    fn prepare(&self, local: &mut Local, operations: u64) -> Outcome<()> {
        if self.workload != Workload::Delete {
            self.store.unload(&mut local.fresh.clone().map(key))?;
            local.fresh.start = local.fresh.end;
            return Ok(());
        }
        let missing = local.fresh.end..local.fresh.start + operations;
        self.store.load(&mut missing.clone().map(|i| (key(i), value(i, 0))))?;
        local.fresh.end = local.fresh.end.max(missing.end);
        Ok(())
    }

    fn run(&self, local: &mut Local, operations: u64) -> Outcome<()> {
        (0..operations).try_for_each(|_| match self.workload {
            Workload::Insert => self.insert_fresh(local),
            Workload::Get => self.read(self.choice.next(&mut local.rng)).map(drop),
            Workload::Scan => self.scan(local, 100),
            Workload::Delete => self.remove_fresh(local),
            Workload::Ycsb(letter) => self.ycsb(letter, local),
        })
    }

    fn counters(&self) -> Option<Counters> {
        self.store.counters()
    }

    fn verify(self, locals: Vec<Local>) -> Outcome<()> {
        let fresh = locals.iter().map(|local| local.fresh.end - local.fresh.start).sum::<u64>();
        let (expected, found) = (self.entries + fresh, self.store.len()?);
        if found != expected {
            return Err(format!("{found} entries where {expected} have to be").into());
        }
        for i in (0..self.entries).chain(locals.into_iter().flat_map(|local| local.fresh)) {
            self.read(i)?;
        }
        self.store.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{subject::Subject, subjects::stores::StdTree};

    const ALL: [Workload; 10] = [
        Workload::Insert,
        Workload::Get,
        Workload::Scan,
        Workload::Delete,
        Workload::Ycsb('a'),
        Workload::Ycsb('b'),
        Workload::Ycsb('c'),
        Workload::Ycsb('d'),
        Workload::Ycsb('e'),
        Workload::Ycsb('f'),
    ];

    #[test]
    fn every_workload_leaves_as_many_entries_as_it_says() {
        for workload in ALL {
            for threads in [1, 2] {
                let size = (1000, threads, 5);
                let mut subject = work(StdTree::default(), workload, Distribution::Zipfian, size).unwrap();
                for operations in [100, 7, 300] {
                    subject.prepare(operations).unwrap();
                    subject.batch(operations).unwrap();
                }
                Box::new(subject).finish().unwrap();
            }
        }
    }

    #[test]
    fn a_store_that_loses_an_entry_is_found_out() {
        struct Lossy(StdTree);
        impl Store for Lossy {
            fn insert(&self, key: u64, value: &Value) -> Outcome<()> {
                if key % 97 == 0 { Ok(()) } else { self.0.insert(key, value) }
            }
            fn get(&self, key: u64) -> Outcome<Option<Value>> {
                self.0.get(key)
            }
            fn scan(&self, from: u64, count: usize) -> Outcome<usize> {
                self.0.scan(from, count)
            }
            fn remove(&self, key: u64) -> Outcome<bool> {
                self.0.remove(key)
            }
            fn len(&self) -> Outcome<u64> {
                self.0.len()
            }
        }
        let size = (1000, 1, 5);
        let subject = work(Lossy(StdTree::default()), Workload::Insert, Distribution::Uniform, size).unwrap();
        assert!(Box::new(subject).finish().is_err());
    }
}

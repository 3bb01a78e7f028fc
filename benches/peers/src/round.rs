//! A store under a workload: filling it, timing rounds of operations, checking what they left.

use crate::{
    Result,
    protocol::{Open, Timed},
    store::{Options, Peer, Session, Store, missing},
    stream::{Operation, Stream, moved},
    value::{Value, key_of, number_of},
    workload::{Shape, Workload},
};
use rustix::time::{ClockId, clock_gettime};
use std::{
    collections::HashMap,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// Records that are loaded in one transaction.
const BATCH: usize = 10_000;
/// Latencies of a round.
const SAMPLES: u64 = 1000;

/// A store that is open for a workload.
pub(crate) struct Running {
    peer: &'static Peer,
    workload: Workload,
    open: Open,
    streams: Vec<Stream>,
    /// Elements that came off a queue: how many, and the sum of their keys.
    popped: (u64, u64),
    // In the order in which they go.
    sessions: Vec<Box<dyn Session>>,
    store: Box<dyn Store>,
    folder: TempDir,
}

impl Running {
    /// A new store, filled.
    pub(crate) fn new(peer: &'static Peer, open: Open) -> Result<Running> {
        let workload = Workload::named(&open.workload)?;
        if !peer.workloads.contains(&open.workload.as_str()) {
            return Err(format!(
                "{} does not do {}: see its workloads in the list",
                peer.name, open.workload
            )
            .into());
        }
        let least = if workload == Workload::Transfer { 8 * open.threads } else { open.threads };
        if open.threads == 0 || open.entries < least {
            return Err(
                format!("{} takes at least one thread, and {least} entries for them", open.workload).into()
            );
        }
        let folder = tempfile::Builder::new()
            .prefix(&format!("peers-{}-", peer.name))
            .tempdir_in(&open.folder)
            .map_err(|error| {
                format!("{}: {error}; name a folder to which files can be written", open.folder.display())
            })?;
        let store = (peer.open)(&options(&folder, workload.shape(), &open))?;
        let streams = (0..open.threads).map(|thread| Stream::new(workload, &open, thread)).collect();
        let sessions = (0..open.threads).map(|_| store.session()).collect::<Result<_>>()?;
        let mut running = Running { peer, workload, open, streams, popped: (0, 0), sessions, store, folder };
        running.fill()?;
        Ok(running)
    }

    fn fill(&mut self) -> Result<()> {
        let mut keys: Vec<u64> =
            self.streams.iter().flat_map(|stream| stream.expected().map(|(key, _)| key)).collect();
        if self.workload.shape() != Shape::Sequence {
            return self.load(&keys);
        }
        keys.sort_unstable();
        let len = self.workload.value_len();
        keys.into_iter().try_for_each(|key| self.sessions[0].append(Value::new(key, 0, len).bytes()))
    }

    fn load(&mut self, keys: &[u64]) -> Result<()> {
        for part in keys.chunks(BATCH) {
            let values: Vec<Value> =
                part.iter().map(|key| Value::new(*key, 0, self.workload.value_len())).collect();
            let entries: Vec<(u64, &[u8])> =
                part.iter().zip(&values).map(|(key, value)| (*key, value.bytes())).collect();
            self.sessions[0].load(&entries)?;
        }
        Ok(())
    }

    /// Puts back what so many operations will delete, where it is gone.
    pub(crate) fn prepare(&mut self, operations: u64) -> Result<()> {
        for thread in 0..self.open.threads {
            let share = self.share(operations, thread);
            let back = self.streams[thread as usize].refill(share)?;
            self.load(&back)?;
        }
        Ok(())
    }

    fn share(&self, operations: u64, thread: u64) -> u64 {
        (operations + self.open.threads - 1 - thread) / self.open.threads
    }

    /// So many operations, shared among the threads.
    pub(crate) fn round(&mut self, operations: u64) -> Result<Timed> {
        let threads = self.open.threads;
        let len = self.workload.value_len();
        let work: Vec<Vec<Operation>> = (0..threads)
            .map(|thread| {
                (0..self.share(operations, thread)).map(|_| self.streams[thread as usize].next()).collect()
            })
            .collect();
        let every = operations.div_ceil(SAMPLES).max(1);
        let cpu = cpu_time();
        let done = if threads == 1 {
            vec![run(&mut *self.sessions[0], &work[0], every, len)?]
        } else {
            let start = Barrier::new(threads as usize);
            thread::scope(|scope| {
                let handles: Vec<_> = self
                    .sessions
                    .iter_mut()
                    .zip(&work)
                    .map(|(session, work)| {
                        let start = &start;
                        scope.spawn(move || {
                            start.wait();
                            run(&mut **session, work, every, len)
                        })
                    })
                    .collect();
                handles.into_iter().map(|handle| handle.join().expect("no panic")).collect::<Result<Vec<_>>>()
            })?
        };
        let cpu_ns = (cpu_time() - cpu).as_nanos() as u64;
        let began = done.iter().map(|done| done.began).min().expect("at least one thread");
        let ended = done.iter().map(|done| done.ended).max().expect("at least one thread");
        for done in &done {
            self.popped.0 += done.popped.0;
            self.popped.1 = self.popped.1.wrapping_add(done.popped.1);
        }
        Ok(Timed {
            operations,
            ns: (ended - began).as_nanos() as u64,
            cpu_ns,
            latencies_ns: done.into_iter().flat_map(|done| done.latencies).collect(),
        })
    }

    /// Checks what the store holds, closes it, opens it again, and checks once more. Removes its files, whatever it finds.
    pub(crate) fn close(mut self) -> Result<()> {
        self.check()?;
        self.sessions.clear();
        drop(self.store);
        let options = options(&self.folder, self.workload.shape(), &self.open);
        self.store = (self.peer.open)(&options)?;
        self.sessions.push(self.store.session()?);
        self.check().map_err(|failure| format!("after it was opened again: {failure}"))?;
        self.sessions.clear();
        drop(self.store);
        Ok(self.folder.close()?)
    }

    /// For tests that break what is in the store.
    #[cfg(test)]
    pub(crate) fn session(&mut self) -> &mut dyn Session {
        &mut *self.sessions[0]
    }

    /// An error unless the store holds what the streams left there, and nothing else.
    fn check(&mut self) -> Result<()> {
        let mut expected: HashMap<u64, u64> = self.streams.iter().flat_map(Stream::expected).collect();
        let (len, workload) = (self.workload.value_len(), self.workload);
        let unordered = workload.shape() == Shape::Sequence || !self.peer.workloads.contains(&"scan");
        let (mut wrong, mut last, mut left) = (None, None, (0u64, 0u64));
        let mut look = |value: &[u8]| {
            let (key, number) = (key_of(value), number_of(value));
            left = (left.0 + 1, left.1.wrapping_add(key));
            let ordered = unordered || last.replace(key).is_none_or(|last| last < key);
            let known = expected.remove(&key);
            let content = if workload == Workload::Transfer {
                Value::new(key, 0, len)
            } else {
                Value::new(key, number, len)
            };
            let whole = value.len() == len && value[8..] == content.bytes()[8..];
            if !ordered || !whole || known != Some(number) {
                wrong.get_or_insert((key, number, known));
            }
        };
        let session = &mut self.sessions[0];
        let found = session.all(&mut look)?;
        if let Some((key, number, known)) = wrong {
            return Err(
                format!("the store holds {number} under {key:#x}, where {known:?} was written").into()
            );
        }
        if found != left.0 {
            return Err(format!("the store says that it has {found} records, and showed {}", left.0).into());
        }
        if workload == Workload::Queue {
            // What is left and what came off, together, is what went in.
            let (count, sum) =
                expected.keys().fold((0, 0u64), |(n, sum), key| (n + 1, sum.wrapping_add(*key)));
            if (count, sum) != self.popped {
                return Err(format!(
                    "{} elements came off the queue, and {count} are missing in it",
                    self.popped.0
                )
                .into());
            }
            return Ok(());
        }
        match expected.into_iter().next() {
            Some((key, _)) => Err(missing(key)),
            None => Ok(()),
        }
    }
}

fn options<'o>(folder: &'o TempDir, shape: Shape, open: &Open) -> Options<'o> {
    Options { folder: folder.path(), durable: open.durable, shape, entries: open.entries }
}

/// CPU time of this process.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What a thread has done.
struct Done {
    began: Instant,
    ended: Instant,
    latencies: Vec<u64>,
    popped: (u64, u64),
}

fn run(session: &mut dyn Session, work: &[Operation], every: u64, len: usize) -> Result<Done> {
    let (mut latencies, mut popped) = (Vec::with_capacity(work.len() / every as usize + 1), (0, 0u64));
    let began = Instant::now();
    for (n, operation) in (1..).zip(work) {
        if n % every == 0 {
            let before = Instant::now();
            perform(session, operation, len, &mut popped)?;
            latencies.push(before.elapsed().as_nanos() as u64);
        } else {
            perform(session, operation, len, &mut popped)?;
        }
    }
    Ok(Done { began, ended: Instant::now(), latencies, popped })
}

/// One operation; an error also where the store answers something wrong.
fn perform(
    session: &mut dyn Session,
    operation: &Operation,
    len: usize,
    popped: &mut (u64, u64),
) -> Result<()> {
    match *operation {
        Operation::Put { key, number } => session.put(key, Value::new(key, number, len).bytes()),
        Operation::Get { key } => {
            let mut found = 0;
            if session.get(key, &mut |value| found = key_of(value))? && found == key {
                return Ok(());
            }
            Err(missing(key))
        }
        Operation::Scan { from, count } => {
            let (mut first, mut sum) = (None, 0u64);
            session.scan(from, count, &mut |value| {
                first.get_or_insert(key_of(value));
                sum = sum.wrapping_add(number_of(value));
            })?;
            std::hint::black_box(sum);
            if first == Some(from) { Ok(()) } else { Err(missing(from)) }
        }
        Operation::Delete { key } => {
            if session.delete(key)? {
                Ok(())
            } else {
                Err(missing(key))
            }
        }
        Operation::Modify { key, number } => session.modify(&[key], &mut |_, value| {
            value.copy_from_slice(Value::new(key_of(value), number, value.len()).bytes());
        }),
        Operation::Transfer { keys, amount } => session.modify(&keys, &mut |i, value| {
            let balance = moved(i, number_of(value), amount);
            value[..8].copy_from_slice(&balance.to_le_bytes());
        }),
        Operation::Append { key, number } => session.append(Value::new(key, number, len).bytes()),
        Operation::PushAndPop { key, number, first } => {
            session.append(Value::new(key, number, len).bytes())?;
            let mut found = None;
            session.pop(&mut |value| found = Some(key_of(value)))?;
            let found = found.ok_or("the queue is empty after a push")?;
            if first.is_some_and(|first| first != found) {
                return Err(format!("the element {found} came off the queue before {first:?}").into());
            }
            *popped = (popped.0 + 1, popped.1.wrapping_add(found));
            Ok(())
        }
    }
}

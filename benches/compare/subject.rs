//! What can be measured: operations over and over, by one thread or by several.

use super::Outcome;
use crate::{cpu_time, rounds::Work};
use pmem_map::Counters;
use std::{sync::Barrier, thread, time::Instant};

/// What a batch of operations took, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Nanoseconds by the clock.
    pub wall: u64,
    /// Nanoseconds of CPU time of all threads that worked; `None` where another process did, and did not tell.
    pub cpu: Option<u64>,
}

/// Something under measurement. Its state after a batch is as before it, or nearly so, that rounds can be compared.
pub trait Subject {
    /// Makes ready for exactly so many operations. Not timed.
    fn prepare(&mut self, operations: u64) -> Outcome<()> {
        _ = operations;
        Ok(())
    }

    /// Does and times so many.
    fn batch(&mut self, operations: u64) -> Outcome<Timing>;

    /// Does so many, and times each by itself, in nanoseconds.
    fn latencies(&mut self, operations: u64) -> Outcome<Vec<u64>>;

    /// Lines, drains and syncs so far, where somebody counts.
    fn counters(&self) -> Option<Counters>;

    /// Ends it, and checks that what all operations wrote is there.
    fn finish(self: Box<Self>) -> Outcome<()>;
}

/// Times one operation after the other, from one look at the clock to the next: the CPU may read the clock while a
/// drain still holds the stores back, and the wait would fall between the operations.
fn one_by_one(operations: u64, mut operation: impl FnMut() -> Outcome<()>) -> Outcome<Vec<u64>> {
    let mut times = Vec::with_capacity(operations as usize);
    let mut before = Instant::now();
    for _ in 0..operations {
        operation()?;
        let now = Instant::now();
        times.push((now - before).as_nanos() as u64);
        before = now;
    }
    Ok(times)
}

/// A row of the criterion benches, by the calling thread. What goes wrong in it panics.
pub struct Alone(pub Box<dyn Work>);

impl Subject for Alone {
    fn batch(&mut self, operations: u64) -> Outcome<Timing> {
        let start = Instant::now();
        let cpu = cpu_time::of(|| self.0.run(operations));
        Ok(Timing { wall: start.elapsed().as_nanos() as u64, cpu: Some(cpu) })
    }

    fn latencies(&mut self, operations: u64) -> Outcome<Vec<u64>> {
        one_by_one(operations, || {
            self.0.run(1);
            Ok(())
        })
    }

    fn counters(&self) -> Option<Counters> {
        Some(self.0.counters())
    }

    fn finish(self: Box<Self>) -> Outcome<()> {
        self.0.verify();
        Ok(())
    }
}

/// Work that threads share.
pub trait Shared: Sync {
    /// What each thread has for itself.
    type Local: Send;
    /// Makes a thread ready for exactly so many operations. Not timed.
    fn prepare(&self, local: &mut Self::Local, operations: u64) -> Outcome<()> {
        _ = (local, operations);
        Ok(())
    }
    /// Does so many.
    fn run(&self, local: &mut Self::Local, operations: u64) -> Outcome<()>;
    /// Lines, drains and syncs so far, where somebody counts.
    fn counters(&self) -> Option<Counters>;
    /// Whether what all operations wrote is there.
    fn verify(self, locals: Vec<Self::Local>) -> Outcome<()>;
}

/// Shared work, and a thread for each of the locals; the calling one, if there is one.
pub struct Threads<S: Shared> {
    shared: S,
    locals: Vec<S::Local>,
}

impl<S: Shared> Threads<S> {
    /// As many threads as `locals`.
    pub fn new(shared: S, locals: Vec<S::Local>) -> Threads<S> {
        assert!(!locals.is_empty(), "at least one thread");
        Threads { shared, locals }
    }

    /// How many of so many operations each thread does: the first ones do one more where they do not divide.
    fn shares(&self, operations: u64) -> impl Iterator<Item = u64> + use<S> {
        let threads = self.locals.len() as u64;
        (0..threads).map(move |thread| operations / threads + u64::from(thread < operations % threads))
    }

    /// Runs `work` on all threads at once. What it returned, and by the clock from the first one's start to the last one's end.
    fn at_once<R: Send>(
        &mut self,
        operations: u64,
        work: impl Fn(&S, &mut S::Local, u64) -> Outcome<R> + Sync,
    ) -> Outcome<(Vec<R>, u64)> {
        let shares: Vec<u64> = self.shares(operations).collect();
        let (shared, work, barrier) = (&self.shared, &work, &Barrier::new(self.locals.len()));
        let done: Vec<(Outcome<R>, Instant, Instant)> = thread::scope(|scope| {
            let threads: Vec<_> = self
                .locals
                .iter_mut()
                .zip(shares)
                .map(|(local, share)| {
                    scope.spawn(move || {
                        barrier.wait();
                        let start = Instant::now();
                        let result = work(shared, local, share);
                        (result, start, Instant::now())
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let start = done.iter().map(|(_, start, _)| *start).min().expect("at least one thread");
        let end = done.iter().map(|(.., end)| *end).max().expect("at least one thread");
        let results = done.into_iter().map(|(result, ..)| result).collect::<Outcome<Vec<R>>>()?;
        Ok((results, (end - start).as_nanos() as u64))
    }
}

impl<S: Shared> Subject for Threads<S> {
    fn prepare(&mut self, operations: u64) -> Outcome<()> {
        let shares = self.shares(operations);
        self.locals.iter_mut().zip(shares).try_for_each(|(local, share)| self.shared.prepare(local, share))
    }

    fn batch(&mut self, operations: u64) -> Outcome<Timing> {
        if let [local] = &mut self.locals[..] {
            let (start, cpu) = (Instant::now(), cpu_time::now());
            self.shared.run(local, operations)?;
            let cpu = cpu_time::now() - cpu;
            return Ok(Timing { wall: start.elapsed().as_nanos() as u64, cpu: Some(cpu) });
        }
        let (cpu, wall) = self.at_once(operations, |shared, local, share| {
            let cpu = cpu_time::now();
            shared.run(local, share)?;
            Ok(cpu_time::now() - cpu)
        })?;
        Ok(Timing { wall, cpu: Some(cpu.iter().sum()) })
    }

    fn latencies(&mut self, operations: u64) -> Outcome<Vec<u64>> {
        if let [local] = &mut self.locals[..] {
            return one_by_one(operations, || self.shared.run(local, 1));
        }
        let (times, _) =
            self.at_once(operations, |shared, local, share| one_by_one(share, || shared.run(local, 1)))?;
        Ok(times.concat())
    }

    fn counters(&self) -> Option<Counters> {
        self.shared.counters()
    }

    fn finish(self: Box<Self>) -> Outcome<()> {
        self.shared.verify(self.locals)
    }
}

//! Who may look and who may change: one writer, readers beside it, and no thread that waits for itself.
//!
//! The **gate** keeps readers and the application of commits apart: a read transaction holds it shared, a commit holds
//! it exclusively, and only while it applies. Waiting commits go first; but a thread that reads already is let in, or
//! it would wait for a commit that waits for it.
//!
//! The **turn** is the right to write. What the writer works with travels with it, in a box: so a write transaction
//! holds no lock guard and can move between threads.

use crate::{ErrorKind, Result};
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::{
    cell::RefCell,
    marker::PhantomData,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
};

static NEXT: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// A number of this thread that no other has.
    static THREAD: u64 = NEXT.fetch_add(1, Relaxed);
    /// Gates this thread holds shared, and how many times. Seldom more than one.
    static READS: RefCell<Vec<(u64, u32)>> = const { RefCell::new(Vec::new()) };
}

/// A number of the calling thread that no other thread has.
#[inline]
pub(crate) fn thread_number() -> u64 {
    THREAD.with(|&number| number)
}

/// Keeps readers and the application of commits apart.
pub(crate) struct Gate {
    id: u64,
    lock: RwLock<()>,
    /// A panic came while a commit was being applied: half of it may be in place.
    poisoned: AtomicBool,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        Gate { id: NEXT.fetch_add(1, Relaxed), lock: RwLock::new(()), poisoned: AtomicBool::new(false) }
    }

    /// Waits for the commit that is being applied, if any, and for those that wait, unless this thread reads already.
    pub(crate) fn read(&self) -> Reading<'_> {
        let again = READS.with_borrow_mut(|reads| match reads.iter_mut().find(|(id, _)| *id == self.id) {
            Some((_, count)) => {
                *count += 1;
                true
            }
            None => {
                reads.push((self.id, 1));
                false
            }
        });
        let guard = if again { self.lock.read_recursive() } else { self.lock.read() };
        Reading { id: self.id, _guard: guard, _not_send: PhantomData }
    }

    /// Whether the calling thread holds the gate shared.
    #[inline]
    pub(crate) fn is_read_by_this_thread(&self) -> bool {
        READS.with_borrow(|reads| reads.iter().any(|&(id, _)| id == self.id))
    }

    /// Waits for all readers.
    pub(crate) fn write(&self) -> Applying<'_> {
        Applying { gate: self, _guard: self.lock.write(), panicked_before: thread::panicking() }
    }

    /// Whether half a commit may be in place. Ask while the gate is held.
    #[inline]
    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Relaxed)
    }

    /// From now on nobody may look.
    #[cold]
    pub(crate) fn poison(&self) {
        self.poisoned.store(true, Relaxed);
    }
}

/// The gate, held exclusively while a commit is applied. A panic meanwhile poisons it before anyone is let in. (A commit
/// by a destructor that a panic runs is none: hence `panicked_before`, as in std's mutexes.)
pub(crate) struct Applying<'g> {
    gate: &'g Gate,
    _guard: RwLockWriteGuard<'g, ()>,
    panicked_before: bool,
}

impl Drop for Applying<'_> {
    fn drop(&mut self) {
        if !self.panicked_before && thread::panicking() {
            self.gate.poison();
        }
    }
}

/// The gate, held shared. Stays on its thread, so that a thread's own reads can be counted; may be shared.
pub(crate) struct Reading<'g> {
    id: u64,
    _guard: RwLockReadGuard<'g, ()>,
    _not_send: PhantomData<std::sync::MutexGuard<'static, ()>>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        READS.with_borrow_mut(|reads| {
            let at = reads.iter().position(|&(id, _)| id == self.id).expect("not Send, so counted here");
            reads[at].1 -= 1;
            if reads[at].1 == 0 {
                reads.swap_remove(at);
            }
        });
    }
}

/// The right to write, and what goes with it.
pub(crate) struct Turn<W> {
    slot: Mutex<Slot<W>>,
    returned: Condvar,
}

struct Slot<W> {
    writer: Option<Box<W>>,
    /// The thread that has the writer, while it is away.
    holder: u64,
}

impl<W> Turn<W> {
    pub(crate) fn new(writer: Box<W>) -> Turn<W> {
        Turn { slot: Mutex::new(Slot { writer: Some(writer), holder: 0 }), returned: Condvar::new() }
    }

    /// Waits for the writer before. [`ErrorKind::WouldDeadlock`] if that is this thread, or if this thread reads.
    #[inline]
    pub(crate) fn take(&self, gate: &Gate, wanted: &'static str) -> Result<Box<W>> {
        if gate.is_read_by_this_thread() {
            return Err(ErrorKind::WouldDeadlock { held: "ReadTx", wanted }.into());
        }
        let me = thread_number();
        let mut slot = self.slot.lock();
        loop {
            if let Some(writer) = slot.writer.take() {
                slot.holder = me;
                return Ok(writer);
            }
            if slot.holder == me {
                return Err(ErrorKind::WouldDeadlock { held: "WriteTx", wanted }.into());
            }
            self.returned.wait(&mut slot);
        }
    }

    /// Whether the calling thread has the writer.
    pub(crate) fn is_held_here(&self) -> bool {
        let slot = self.slot.lock();
        slot.writer.is_none() && slot.holder == thread_number()
    }

    /// The writer is with the calling thread now.
    #[cold]
    pub(crate) fn moved_here(&self) {
        self.slot.lock().holder = thread_number();
    }

    /// Hands the writer to whoever waits.
    #[inline]
    pub(crate) fn give(&self, writer: Box<W>) {
        self.slot.lock().writer = Some(writer);
        self.returned.notify_one();
    }

    /// The writer, when nobody else can have it.
    pub(crate) fn get_mut(&mut self) -> Option<&mut W> {
        self.slot.get_mut().writer.as_deref_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlock<T>(result: Result<T>) -> bool {
        matches!(result.err().unwrap().kind(), ErrorKind::WouldDeadlock { .. })
    }

    #[test]
    fn a_thread_that_reads_or_writes_is_refused_the_turn_and_others_are_not() {
        let (gate, turn) = (Gate::new(), Turn::new(Box::new(7)));
        let outer = gate.read();
        let inner = gate.read();
        assert!(deadlock(turn.take(&gate, "write")));
        drop(outer);
        assert!(deadlock(turn.take(&gate, "write")));
        std::thread::scope(|s| s.spawn(|| turn.give(turn.take(&gate, "write").unwrap())).join().unwrap());
        drop(inner);
        let writer = turn.take(&gate, "write").unwrap();
        assert!(deadlock(turn.take(&gate, "write")));
        std::thread::scope(|s| {
            let waits = s.spawn(|| turn.take(&gate, "write").map(|writer| turn.give(writer)));
            turn.give(writer);
            waits.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_panic_behind_the_gate_poisons_it_and_a_commit_during_a_panic_does_not() {
        let gate = Gate::new();
        struct CommitsWhenDropped<'g>(&'g Gate);
        impl Drop for CommitsWhenDropped<'_> {
            fn drop(&mut self) {
                drop(self.0.write());
            }
        }
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _commits = CommitsWhenDropped(&gate);
            panic!("before it is applied");
        }));
        assert!(result.is_err() && !gate.is_poisoned());
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _applying = gate.write();
            panic!("while it is applied");
        }));
        assert!(result.is_err() && gate.is_poisoned());
    }

    #[test]
    fn a_thread_that_reads_already_passes_a_waiting_commit() {
        let gate = Gate::new();
        let outer = gate.read();
        std::thread::scope(|s| {
            let commit = s.spawn(|| drop(gate.write()));
            while gate.lock.try_read().is_some() {
                std::hint::spin_loop(); // until the commit waits
            }
            drop(gate.read());
            drop(outer);
            commit.join().unwrap();
        });
    }
}

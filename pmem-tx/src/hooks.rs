//! What a program wants to happen when a transaction has ended.

use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// In a mutex that nobody locks: so that a transaction is `Sync` although hooks need not be.
type Hook = Mutex<Box<dyn FnOnce() + Send>>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Committed,
    RolledBack,
    /// Registered for a rollback, and the part in which it was registered has been.
    Ended,
}

/// Hooks of one transaction, in the order in which they were registered.
#[derive(Default)]
pub(crate) struct Hooks(Vec<(When, Hook)>);

impl Hooks {
    pub(crate) fn on_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.0.push((When::Committed, Mutex::new(Box::new(hook))));
    }

    pub(crate) fn on_abort(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.0.push((When::RolledBack, Mutex::new(Box::new(hook))));
    }

    /// How many there are, for a savepoint.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// What came after the first `len` belongs to a part that was rolled back.
    pub(crate) fn rollback_to(&mut self, len: usize) {
        let later = self.0.split_off(len.min(self.0.len()));
        let kept = later.into_iter().filter(|(when, _)| *when != When::Committed);
        self.0.extend(kept.map(|(_, hook)| (When::Ended, hook)));
    }

    /// The transaction has ended, and the journal is free: every hook that is due runs, whatever the others do. Then the first panic
    /// goes on, unless there is one already.
    #[inline]
    pub(crate) fn run(&mut self, committed: bool) {
        if !self.0.is_empty() {
            self.run_all(committed);
        }
    }

    #[cold]
    fn run_all(&mut self, committed: bool) {
        let hooks = std::mem::take(&mut self.0);
        let mut panic = None;
        let mut run = |hook: Hook| {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(hook.into_inner())) {
                panic.get_or_insert(payload);
            }
        };
        let (for_commit, mut for_abort): (Vec<_>, Vec<_>) =
            hooks.into_iter().partition(|(when, _)| *when == When::Committed);
        for_abort.retain(|(when, _)| *when == When::Ended || !committed);
        for_abort.into_iter().rev().for_each(|(_, hook)| run(hook));
        if committed {
            for_commit.into_iter().for_each(|(_, hook)| run(hook));
        }
        if let Some(payload) = panic
            && !std::thread::panicking()
        {
            resume_unwind(payload);
        }
    }
}

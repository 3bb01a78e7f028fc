use super::*;
use pmem_tx::Error;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

/// What happened, in order.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<&'static str>>>);

impl Events {
    fn hook(&self, name: &'static str) -> impl FnOnce() + Send + 'static {
        let events = self.clone();
        move || events.0.lock().unwrap().push(name)
    }

    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn register(tx: &mut impl Transaction, events: &Events) -> Result<(), Error> {
    tx.on_commit(events.hook("commit 1"));
    tx.on_abort(events.hook("abort 1"));
    tx.on_commit(events.hook("commit 2"));
    tx.on_abort(events.hook("abort 2"));
    tx.write(AT, &1u64)
}

#[test]
fn hooks_run_once_commits_in_order_aborts_in_reverse() {
    let (journal, events) = (journal(), Events::default());
    journal.write(|tx| register(tx, &events)).unwrap();
    assert_eq!(events.take(), ["commit 1", "commit 2"]);
    journal.write_undo(|tx| register(tx, &events)).unwrap();
    assert_eq!(events.take(), ["commit 1", "commit 2"]);
    let fail = || Err::<(), _>(Error::abort("no"));
    journal.write(|tx| register(tx, &events).and_then(|()| fail())).unwrap_err();
    assert_eq!(events.take(), ["abort 2", "abort 1"]);
    let mut tx = journal.begin_undo().unwrap();
    register(&mut tx, &events).unwrap();
    tx.abort();
    assert_eq!(events.take(), ["abort 2", "abort 1"]);
    // A commit that fails is a rollback; one that changes nothing is a commit.
    journal.write(|tx| register(tx, &events).and_then(|()| tx.fill(AT, 5000, 1))).unwrap_err();
    assert_eq!(events.take(), ["abort 2", "abort 1"]);
    let mut tx = journal.begin().unwrap();
    tx.on_commit(events.hook("commit"));
    tx.commit().unwrap();
    assert_eq!(events.take(), ["commit"]);
}

#[test]
fn a_hook_may_begin_a_transaction_for_the_journal_is_free() {
    let journal = Arc::new(journal());
    let inner = journal.clone();
    let mut tx = journal.begin_undo().unwrap();
    tx.write(AT, &1u64).unwrap();
    tx.on_commit(move || {
        assert_eq!(word(&inner, AT), 1, "what was committed is there");
        inner.write(|tx| tx.write(AT + 8, &2u64)).unwrap();
    });
    tx.commit().unwrap();
    assert_eq!(word(&journal, AT + 8), 2);
}

#[test]
fn going_back_to_a_savepoint_forgets_later_hooks_for_commit_and_owes_those_for_abort() {
    fn run(mut tx: impl Transaction, events: &Events, commit: bool) {
        tx.on_commit(events.hook("commit 1"));
        tx.on_abort(events.hook("abort 1"));
        let savepoint = tx.savepoint();
        tx.on_commit(events.hook("commit, undone"));
        tx.on_abort(events.hook("abort, undone"));
        tx.rollback_to(&savepoint).unwrap();
        tx.on_commit(events.hook("commit 2"));
        if commit { tx.commit().unwrap() } else { tx.abort() }
    }
    let (journal, events) = (journal(), Events::default());
    run(journal.begin().unwrap(), &events, true);
    assert_eq!(events.take(), ["abort, undone", "commit 1", "commit 2"]);
    run(journal.begin_undo().unwrap(), &events, false);
    assert_eq!(events.take(), ["abort, undone", "abort 1"]);
}

#[test]
fn a_hook_that_panics_keeps_no_other_from_running_and_undoes_nothing() {
    let (journal, events) = (journal(), Events::default());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        journal.write(|tx| {
            tx.on_commit(events.hook("commit 1"));
            tx.on_commit(|| panic!("on purpose"));
            tx.on_commit(events.hook("commit 3"));
            tx.write(AT, &1u64)
        })
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"on purpose"));
    assert_eq!(events.take(), ["commit 1", "commit 3"]);
    assert_eq!(word(&journal, AT), 1);
    // While a panic unwinds, another one would end the process.
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _ = journal.write_undo(|tx| -> Result<(), Error> {
            tx.on_abort(events.hook("abort 1"));
            tx.on_abort(|| panic!("in a hook"));
            tx.write(AT, &2u64)?;
            panic!("in the body")
        });
    }));
    assert_eq!(panicked.unwrap_err().downcast_ref::<&str>(), Some(&"in the body"));
    assert_eq!(events.take(), ["abort 1"]);
    assert_eq!(word(&journal, AT), 1);
}

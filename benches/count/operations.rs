//! What is counted: operations that are repeated, and verified afterwards.

use crate::{allocations, collections, files, transactions};
use pmem_map::{FlushMethod, MapOptions, Mapping};

/// All operations, in the table's order.
pub(crate) const ALL: &[&[Operation]] =
    &[transactions::OPERATIONS, allocations::OPERATIONS, collections::OPERATIONS, files::OPERATIONS];

/// An operation whose instructions are counted.
pub(crate) struct Operation {
    /// As tables and the kept file call it.
    pub(crate) name: &'static str,
    /// Makes a place for it: memory of its own, filled.
    pub(crate) start: fn() -> Box<dyn Work>,
}

impl Operation {
    pub(crate) fn start(&self) -> Box<dyn Work> {
        (self.start)()
    }
}

/// The operation of that name.
pub(crate) fn find(name: &str) -> Option<&'static Operation> {
    ALL.iter().flat_map(|group| group.iter()).find(|operation| operation.name == name)
}

/// An operation that can be repeated.
pub(crate) trait Work {
    /// So many times more.
    fn run(&mut self, operations: u64);
    /// Panics unless what all of them left is there.
    fn verify(self: Box<Self>);
}

/// What callgrind counts: it is told this function's name.
#[inline(never)]
pub(crate) fn count_operations(work: &mut dyn Work, operations: u64) {
    work.run(operations);
}

/// Repeats `step` on `state`, with the number of the repetition; at last `verify`, with how many there were.
pub(crate) fn repeat<S: 'static>(
    state: S,
    step: impl FnMut(&mut S, u64) + 'static,
    verify: impl FnOnce(S, u64) + 'static,
) -> Box<dyn Work> {
    Box::new(Repeated { state, done: 0, step, verify })
}

struct Repeated<S, F, V> {
    state: S,
    done: u64,
    step: F,
    verify: V,
}

impl<S, F: FnMut(&mut S, u64), V: FnOnce(S, u64)> Work for Repeated<S, F, V> {
    fn run(&mut self, operations: u64) {
        for number in self.done..self.done + operations {
            (self.step)(&mut self.state, number);
        }
        self.done += operations;
    }

    fn verify(self: Box<Self>) {
        (self.verify)(self.state, self.done);
    }
}

/// Memory that is flushed by `clflush`, line by line: valgrind does not know `clwb`, and one flush is one instruction whatever it
/// is called.
pub(crate) fn memory(len: u64) -> Mapping {
    let options = MapOptions::new().len(len);
    let options =
        if FlushMethod::Clflush.is_available() { options.flush_with(FlushMethod::Clflush) } else { options };
    options.anonymous().expect("memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_operation_leaves_what_it_should() {
        for operation in ALL.iter().flat_map(|group| group.iter()) {
            println!("{}", operation.name);
            let mut work = operation.start();
            work.run(crate::WARM_UP);
            count_operations(&mut *work, 100);
            work.verify();
        }
    }

    #[test]
    fn names_are_found_and_there_is_one_operation_of_each() {
        let names: Vec<&str> =
            ALL.iter().flat_map(|group| group.iter()).map(|operation| operation.name).collect();
        assert!(names.iter().all(|name| find(name).is_some_and(|found| found.name == *name)));
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert!(find("none").is_none());
    }
}

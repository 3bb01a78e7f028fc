//! Stores that were traced, taken in one by one.

use super::{Shadow, lines};
use crate::{
    line::{self, Group, How},
    trace::{self, Code, Entry},
};
use pmem_map::{Event, Granularity, LINE, PAGE};
use std::{panic::Location, sync::Arc};

/// The call of the region's during which stores were traced that were not taken in yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) caller: &'static Location<'static>,
    /// Who called, and which bytes it stored, if it stored any.
    stored: Option<(i32, u64, u64)>,
}

impl Call {
    /// One that stores nothing.
    pub(crate) fn at(caller: &'static Location<'static>) -> Call {
        Call { caller, stored: None }
    }

    pub(crate) fn of(event: &Event<'_>) -> Call {
        match *event {
            Event::Store { offset, bytes, caller } | Event::StoreNontemporal { offset, bytes, caller } => {
                let stored = Some((trace::thread_id(), offset, offset + bytes.len() as u64));
                Call { caller, stored }
            }
            Event::Flush { caller, .. } | Event::BeforeDrain { caller } | Event::Drain { caller } => {
                Call::at(caller)
            }
            _ => Call::at(Location::caller()),
        }
    }

    /// Whether it was this call that stored.
    fn did(&self, entry: &Entry) -> bool {
        self.stored.is_some_and(|(thread, start, end)| {
            thread == entry.thread && start <= entry.offset && entry.offset + entry.len <= end
        })
    }
}

impl Shadow {
    /// Takes in a store. `call` is the region's method that was called last.
    pub(crate) fn store_traced(&mut self, entry: &Entry, bytes: &[u8], call: &Call) {
        // What one instruction stores to several places comes one after the other.
        if entry.instruction != self.instruction.0 {
            self.instruction = (entry.instruction, self.sequence + 1);
            if self.granularity == Granularity::Byte && !entry.nontemporal {
                self.retire(self.pending.keys().copied().collect(), |_, group| group.how.is_cached());
            }
        }
        let thread = self.thread_of(entry.thread);
        let how = if entry.nontemporal { How::Nontemporal(thread) } else { How::Store };
        let (caller, code) = (call.caller, if call.did(entry) { None } else { Some(Code::of(entry)) });
        let end = entry.offset + bytes.len() as u64;
        for line in lines(entry.offset, bytes.len() as u64) {
            if entry.nontemporal {
                self.threads[thread].nontemporal.insert(line);
                if self.granularity == Granularity::Page {
                    self.threads[thread].pages.insert(line / PAGE);
                }
                self.linter.stored_nontemporal_by(entry.thread, line, caller);
            } else {
                self.linter.stored_by(line, caller, code);
            }
            if self.granularity == Granularity::Page {
                self.dirtied.insert(line / PAGE);
            }
            let (first, last) = (entry.offset.max(line), end.min(line + LINE));
            let part = &bytes[(first - entry.offset) as usize..(last - entry.offset) as usize];
            let pieces = line::pieces((first - line) as usize, part);
            let groups = &mut Arc::make_mut(self.pending.entry(line).or_default()).groups;
            match groups.last_mut() {
                Some(group) if group.sequence >= self.instruction.1 => group.pieces.extend(pieces),
                _ => {
                    self.sequence += 1;
                    groups.push(Group { sequence: self.sequence, how, caller, code, pieces });
                }
            }
        }
    }

    /// A store past the caches, whose parts were taken in already: its unaligned ends were ordinary stores, and flushed.
    pub(super) fn flush_ends(&mut self, offset: u64, len: u64, caller: &'static Location<'static>) {
        let (thread, stores) = (self.thread(), self.sequence);
        let by_it = |group: &Group| group.how.is_cached() && group.code.is_none() && group.caller == caller;
        for line in lines(offset, len) {
            if self.pending.get(&line).is_some_and(|pending| pending.groups.iter().any(by_it)) {
                match self.granularity {
                    Granularity::Byte => {}
                    Granularity::CacheLine => _ = self.threads[thread].flushed.insert(line, stores),
                    Granularity::Page => _ = self.threads[thread].pages.insert(line / PAGE),
                }
            }
            self.linter.flushed_an_end(line, caller);
        }
    }

    /// This thread is about to flush: what is stored from now on may miss it.
    pub(crate) fn begin_flush(&mut self) {
        let (thread, stores) = (self.thread(), self.sequence);
        self.threads[thread].flush_began = Some(stores);
    }
}
